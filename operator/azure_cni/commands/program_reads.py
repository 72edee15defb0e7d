"""Reads what `check` needs of `diagnose.other_programs`: NetworkPolicies, and settings of those that run.

What only matters beside a program is read only where that program runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from azure_cni.api.reading import mapping, metadata_of, spec_of, text
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.reads import at_once
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.other_programs import OtherProgram, Program, ProgramObjects, engine_fault
from azure_cni.errors import KubeDenied, KubeError, KubeNotFound
from azure_cni.model.text import NOT_JSON, counted

POLICIES: Final = "/apis/networking.k8s.io/v1/networkpolicies"
NODE_POOLS: Final = "/apis/karpenter.sh/v1/nodepools"
FELIX: Final = "/apis/crd.projectcalico.org/v1/felixconfigurations/default"
CONFIGMAP: Final = "/api/v1/namespaces/{}/configmaps/{}"
MOST_LOGS: Final = 20
"""Engines whose logs are read; those that are not ready first."""
FIRST_BYTES: Final = 1 << 16
NEWEST_LINES: Final = 200
"""Of an engine's log: how it began, and what it does now."""
NO_LOG_YET = "is waiting to start"
"""As the API server says it of a container: one that was never started, and has no log."""


class _Reader:
    """Notes what may not be read. What is not there is None."""

    def __init__(self, access: ClusterAccess) -> None:
        self._access = access
        self.missing: dict[str, str] = {}

    def read(self, name: str, what: str, read: Callable[[ClusterAccess], Any]) -> Any:
        try:
            return read(self._access)
        except KubeNotFound:
            return None
        except KubeDenied as error:
            self.missing[name] = f"{what} could not be read: {error}"
            return None


def with_programs(access: ClusterAccess, evidence: ClusterEvidence) -> ClusterEvidence:
    """The same evidence, with what other programs are set to. KubeError when nobody answers."""
    reader = _Reader(access)
    found = ProgramObjects(
        policies=tuple(reader.read("networkPolicies", "NetworkPolicies", _policies) or ()),
        node_pools=_node_pools(reader) if evidence.programs(Program.KARPENTER) else {},
        felix=_felix(reader) if evidence.programs(Program.CALICO) else None,
        cilium=_of_configmap(reader, evidence, Program.CILIUM, "cilium-config"),
        multus=_multus(reader, evidence),
        engine_faults=_engine_faults(access, evidence, reader.missing),
    )
    return replace(evidence, beside=found, missing={**evidence.missing, **reader.missing})


def _policies(access: ClusterAccess) -> list[str]:
    def name(body: Mapping[str, Any]) -> str:
        meta = metadata_of(body)
        return f"{text(meta.get('namespace'))}/{text(meta.get('name'))}"

    return list(access.list_objects(POLICIES, name))


def _node_pools(reader: _Reader) -> Mapping[str, Mapping[str, Any]]:
    def specs(access: ClusterAccess) -> Mapping[str, Mapping[str, Any]]:
        pools = access.list_objects(NODE_POOLS)
        return {text(metadata_of(one).get("name")): spec_of(mapping(spec_of(one).get("template"))) for one in pools}

    return reader.read("nodePools", "NodePools of Karpenter", specs) or {}


def _felix(reader: _Reader) -> Mapping[str, Any] | None:
    found = reader.read("felixConfiguration", "Calico's FelixConfiguration", lambda access: access.read_object(FELIX))
    return None if found is None else spec_of(found)


def _of_configmap(reader: _Reader, evidence: ClusterEvidence, program: Program, name: str) -> Mapping[str, Any] | None:
    """Its data, in the namespace of the program's pods."""
    pods = evidence.programs(program)
    if not pods:
        return None
    path = CONFIGMAP.format(pods[0].namespace, name)
    found = reader.read(name, f"the ConfigMap {name}", lambda access: access.read_object(path))
    return None if found is None else mapping(found.get("data"))


def _multus(reader: _Reader, evidence: ClusterEvidence) -> Mapping[str, Any] | None:
    data = _of_configmap(reader, evidence, Program.MULTUS, "multus-daemon-config")
    try:
        return None if data is None else mapping(msgspec.json.decode(text(data.get("daemon-config.json"))))
    except NOT_JSON:
        return None


def _engine_faults(access: ClusterAccess, evidence: ClusterEvidence, missing: dict[str, str]) -> dict[str, str]:
    """By node. An engine whose rules the kernel refuses stays Ready, and only its log says so."""
    engines = sorted(evidence.programs(Program.ENGINE), key=lambda one: (one.ready, one.node))
    said = list(at_once(lambda one: _read_log(access, one), engines[:MOST_LOGS]))
    unread = [why for _, why in said if why]
    if unread:
        missing["engineLogs"] = f"logs of the policy engine could not be read: {unread[0]}"
    elif engines[MOST_LOGS:]:
        missing["engineLogs"] = f"logs of {counted(len(engines) - MOST_LOGS, 'policy engine')} were not read"
    faults = {one.node: fault for one, (fault, _) in zip(engines, said, strict=False)}
    return {node: fault for node, fault in faults.items() if fault}


def _read_log(access: ClusterAccess, one: OtherProgram) -> tuple[str, str]:
    """Its fault, and why its log could not be read; "" for neither."""
    path = f"/api/v1/namespaces/{one.namespace}/pods/{one.pod}/log"
    try:
        first = access.read_text(path, limitBytes=str(FIRST_BYTES))
        return engine_fault(first, access.read_text(path, tailLines=str(NEWEST_LINES))), ""
    except KubeError as error:
        return "", "" if NO_LOG_YET in str(error) else str(error)
