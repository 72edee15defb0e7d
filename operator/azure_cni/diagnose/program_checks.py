"""Whether Multus, autoscalers and limits of pods' traffic are set as azure-cni needs it (docs/works-beside.md)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from azure_cni.api.reading import mapping, mappings, text
from azure_cni.diagnose.check_results import CheckResult, ClusterCheck, SettingFault, fault_checks
from azure_cni.diagnose.evidence import ENDED, TAINT, ClusterEvidence
from azure_cni.diagnose.other_programs import CHAIN_BANDWIDTH, CONF_NAME, OtherProgram, Program
from azure_cni.diagnose.policy_checks import (
    IF_MADE,
    check_policies,
    extra_plugins,
    patched,
    unless_unread,
    upgraded,
    with_extra_plugins,
)
from azure_cni.model.text import few, legible

MULTUS_PAGE: Final = "docs/works-beside.md#networks"
SCALING_PAGE: Final = "docs/works-beside.md#autoscalers"
LIMITS_PAGE: Final = "docs/works-beside.md#limits-of-a-pods-traffic"
LIMITS: Final = "bandwidth"
"""The reference plugin's name, and its capability's."""
MASTER: Final = "multus-master-cni-file-name"
KNOWS_STATUS_TAINTS: Final = (1, 29)
"""Of cluster-autoscaler."""
DEFAULT_CONF: Final = "10-azure-cni.conflist"


def check_programs(evidence: ClusterEvidence) -> list[ClusterCheck]:
    """What is here of what docs/works-beside.md speaks of. A program that is not here has no check."""
    found = check_policies(evidence)
    limited = [pod for pod in evidence.pods if pod.limited and not pod.host_network and pod.phase not in ENDED]
    if limited and evidence.agents:
        well = "limits of pods' traffic are obeyed"
        faults = _of_limits(evidence, [pod.full_name for pod in limited])
        found += fault_checks("LimitsIgnored", LIMITS_PAGE, well, faults)
    if evidence.programs(Program.MULTUS):
        well = "Multus delegates to azure-cni"
        checks = fault_checks("MultusSettings", MULTUS_PAGE, well, _of_multus(evidence))
        found += unless_unread(evidence, "multus-daemon-config", checks)
    if evidence.programs(Program.AUTOSCALER):
        well = f"cluster-autoscaler knows the taint {TAINT}"
        faults = (fault for one in evidence.programs(Program.AUTOSCALER) for fault in _of_autoscaler(one))
        found += fault_checks("AutoscalerSettings", SCALING_PAGE, well, faults)
    if evidence.programs(Program.KARPENTER):
        well = f"Karpenter starts no node with the taint {TAINT}"
        checks = fault_checks("KarpenterSettings", SCALING_PAGE, well, _of_karpenter(evidence))
        found += unless_unread(evidence, "nodePools", checks)
    return found


def _of_limits(evidence: ClusterEvidence, pods: list[str]) -> Iterator[SettingFault]:
    if evidence.agent_setting(CHAIN_BANDWIDTH).lower() in {"true", "1"}:
        return
    entries = extra_plugins(evidence)  # the plugin may be one of these, with settings of its own
    if any(mapping(one.get("capabilities")).get(LIMITS) is True for one in entries):
        return
    message = f"the annotations that limit the traffic of these pods have no effect: {few(pods)}"
    if any(one.get("type") == LIMITS for one in entries):
        command = with_extra_plugins(evidence, [_declaring_limits(one) for one in entries])
        do = "declare the plugin's capability, without which the runtime passes no annotation on; restart these pods"
        yield SettingFault(message, do, command, CheckResult.WARNING)
        return
    do = "put the reference plugin bandwidth into cni.binDir of each node, set the value, and restart these pods"
    yield SettingFault(message, do, upgraded(evidence, "cni.chainBandwidth=true"), CheckResult.WARNING)


def _declaring_limits(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    if entry.get("type") != LIMITS:
        return entry
    return {**entry, "capabilities": {**mapping(entry.get("capabilities")), LIMITS: True}}


def _of_multus(evidence: ClusterEvidence) -> Iterator[SettingFault]:
    """Of the kind whose pods say it all (thin), and of the kind that a ConfigMap configures (thick).

    Both write a configuration unless somebody names another one. The thick kind's daemon sets `clusterNetwork` in it
    itself, whatever the ConfigMap has for that (Multus v4.2.2, pkg/server/config).
    """
    pod, settings = evidence.programs(Program.MULTUS)[0], evidence.beside.multus
    conflist = evidence.agent_setting(CONF_NAME) or DEFAULT_CONF
    given = pod.values("multus-conf-file")[-1:]
    if given == ["auto"] or (not given and any(word.endswith("thin_entrypoint") for word in pod.words)):
        named, add = pod.values(MASTER)[-1:], f"--{MASTER}={conflist}"
        patch = f'[{{"op":"add","path":"{pod.place}","value":"{add}"}}]'
        command = patched(pod, patch) if pod.place and not named else edited(pod)
    elif settings is not None and text(settings.get("multusConfigFile", "auto")) == "auto":
        named = [one] if (one := text(settings.get("multusMasterCNI"))) else []
        add = f'"multusMasterCNI": "{conflist}" in daemon-config.json'
        command = f"kubectl -n {pod.namespace} edit configmap multus-daemon-config"
    else:
        return  # somebody has written its configuration, which is only on the nodes
    if named and named != [conflist]:
        message = f"Multus delegates to {legible(few(named))}, not to azure-cni's {conflist}"
        yield SettingFault(message, f"set {add}; {IF_MADE}", command, CheckResult.WARNING)
    elif not named:
        message = "Multus delegates to whatever configuration sorts first in the directory as it starts"
        yield SettingFault(message, f"set {add}; {IF_MADE}", command, CheckResult.WARNING)


def edited(one: OtherProgram) -> str:
    """The command by which a person changes its workload."""
    what, name = one.workload
    return f"kubectl -n {one.namespace} edit {what.lower()} {shlex.quote(name)}"


def _of_autoscaler(one: OtherProgram) -> Iterator[SettingFault]:
    status, startup = one.values("status-taint"), one.values("startup-taint", "ignore-taint")
    name = f"cluster-autoscaler {one.namespace}/{one.workload[1]}"
    if TAINT in startup:
        message = f"{name} has {TAINT} as a startup taint: full nodes count as not ready, and many of them stop scaling"
        yield SettingFault(message, "give it as --status-taint instead", edited(one), CheckResult.WARNING)
    elif TAINT not in status and any("$" in one for one in status):
        message = f"what {name} has as --status-taint is not in its pod: {legible(few(status))}"
        yield SettingFault(message, f"see that it is {TAINT}", edited(one), CheckResult.UNKNOWN)
    elif TAINT not in status:
        message = (
            f"{name} does not know {TAINT}: where it sees that taint on a node of a group, it expects it on all new "
            "ones, and makes none for pods that wait"
        )
        if _version(one.image) < KNOWS_STATUS_TAINTS:
            do = "upgrade it to 1.29 or later, which knows --status-taint, and set that"
            yield SettingFault(message, do, edited(one), CheckResult.WARNING)
            return
        patch = f'[{{"op":"add","path":"{one.place}","value":"--status-taint={TAINT}"}}]'
        do = f"add --status-taint={TAINT}; {IF_MADE}"
        yield SettingFault(message, do, patched(one, patch) if one.place else edited(one), CheckResult.WARNING)


def _version(image: str) -> tuple[int, ...]:
    """By its tag; an image without one in numbers is taken as new."""
    found = re.search(r":v?(\d{1,4})\.(\d{1,4})", image, re.ASCII)
    return tuple(map(int, found.groups())) if found else KNOWS_STATUS_TAINTS


def _of_karpenter(evidence: ClusterEvidence) -> Iterator[SettingFault]:
    for name, spec in sorted(evidence.beside.node_pools.items()):
        for key in ("startupTaints", "taints"):
            places = [at for at, one in enumerate(mappings(spec.get(key))) if one.get("key") == TAINT]
            if not places:
                continue
            message = (
                f"NodePool {legible(name)} starts each node with {TAINT} ({key}): only the node's agent removes it, "
                "which may take an hour, and until then no pod starts there"
            )
            steps = ",".join(f'{{"op":"remove","path":"/spec/template/spec/{key}/{at}"}}' for at in reversed(places))
            command = f"kubectl patch nodepools.karpenter.sh {shlex.quote(name)} --type=json -p '[{steps}]'"
            yield SettingFault(message, "remove it", command, CheckResult.WARNING)
