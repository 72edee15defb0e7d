"""Reads what a command needs of a cluster, at once; what the person may not see is noted, and the rest is used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from azure_cni.api import audit_reports, introspection, node_ip_pool, vnet_quota
from azure_cni.api.audit_reports import (
    WRITES_PATH,
    AuditReport,
    TenureReport,
    UsageReport,
    WritesReport,
    decode_writes_report,
)
from azure_cni.api.introspection import NodeReport
from azure_cni.api.reading import mapping, text
from azure_cni.api.trace_reports import TraceReport
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.http_access import Keep
from azure_cni.commands.output import progress
from azure_cni.diagnose import object_parsing
from azure_cni.diagnose.component_settings import SYSTEM, KubeProxyFacts, defined_fields, parse_kube_proxy
from azure_cni.diagnose.definition_checks import FIELDS
from azure_cni.diagnose.evidence import ClusterEvidence, EventFacts, PodFacts, ProcessFacts
from azure_cni.diagnose.pauses import parse_pauses
from azure_cni.errors import AzureCniError, ConfigInvalid, DecodeFailed, KubeDenied, KubeError, KubeNotFound
from azure_cni.model.text import legible

GROUP: Final = f"/apis/{node_ip_pool.GROUP}/{node_ip_pool.VERSION}"
POOLS: Final = f"{GROUP}/{node_ip_pool.PLURAL}"
QUOTAS: Final = f"{GROUP}/{vnet_quota.PLURAL}"
PODS: Final = "/api/v1/pods"
NODES: Final = "/api/v1/nodes"
KUBE_PROXY: Final = f"/api/v1/namespaces/{SYSTEM}/configmaps/kube-proxy"
"""As kubeadm names it."""
DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ON_LINUX: Final = ("azure-cni",)
ON_WINDOWS: Final = (r"%CONTAINER_SANDBOX_MOUNT_POINT%\azure-cni\python.exe", "-m", "azure_cni")
"""The command line in an agent's container. On Windows the runtime puts the image's directory in the variable's place,
in commands that are run later as well (hcsshim, jobcontainers).
"""
OURS: Final = "app.kubernetes.io/name=azure-cni,app.kubernetes.io/component={}"
ACCESS: Final = "docs/command-line.md#who-may-use-it"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Of any object here. Whether the API server has one, and of its case and length, it says itself."""
AT_ONCE: Final = 16
"""Agents that are asked at a time: each answer is a process on its node, and a stream through the API server."""

T = TypeVar("T")
Report = TypeVar("Report", NodeReport, AuditReport, UsageReport, WritesReport, TraceReport)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was listed, or why it could not be."""

    items: Sequence[Any]
    denied: str = ""


def read_cluster(access: ClusterAccess, *, pods: bool = True, settings: bool = False) -> ClusterEvidence:
    """Pools, quotas, nodes, azure-cni's own pods and, if wanted, all `pods` and the `settings` of kube-proxy.

    KubeError when nobody answers.
    """
    queries: dict[str, tuple[Any, ...]] = {
        "pools": (POOLS, {}),
        "quotas": (QUOTAS, {}),
        "nodes": (NODES, {}, object_parsing.parse_node),
        "agents": _own_pods(access, "agent"),
        "controllers": _own_pods(access, "controller"),
        **({"pods": (PODS, {}, object_parsing.parse_pod)} if pods else {}),
    }
    with progress("reading the cluster"):
        found = dict(zip(queries, at_once(lambda one: _listed(access, *one), queries.values()), strict=True))
    kube_proxy, denied = _read_kube_proxy(access) if settings else (None, "")
    definitions, undefined = _read_definitions(access) if settings else ({}, "")
    denials = {name: one.denied for name, one in found.items()} | {"kubeProxy": denied, "definitions": undefined}
    return ClusterEvidence(
        pools=object_parsing.parse_pools(found["pools"].items),
        quotas=object_parsing.parse_quotas(found["quotas"].items),
        nodes=tuple(found["nodes"].items),
        agents=object_parsing.parse_processes(found["agents"].items, "agent"),
        controllers=object_parsing.parse_processes(found["controllers"].items, "controller"),
        pods=tuple(found["pods"].items) if pods else (),
        pauses=parse_pauses(found["pools"].items),
        missing={name: f"{name} could not be read: {why}" for name, why in denials.items() if why},
        kube_proxy=kube_proxy,
        definitions=definitions,
        system=access.system_namespace,
    )


def _read_definitions(access: ClusterAccess) -> tuple[Mapping[str, frozenset[str]], str]:
    """Those that are there, and why one of them could not be read, "" where none was refused."""
    found = {}
    for plural in FIELDS:
        try:
            found[plural] = defined_fields(access.read_object(f"{DEFINITIONS}/{plural}.{node_ip_pool.GROUP}"))
        except KubeNotFound:
            continue
        except KubeDenied as error:
            return {}, str(error)
    return found, ""


def _read_kube_proxy(access: ClusterAccess) -> tuple[KubeProxyFacts | None, str]:
    """What kubeadm's ConfigMap says, or why it could not be read; neither where there is none."""
    from azure_cni.commands.located_yaml import parse_located

    try:
        written = text(mapping(access.read_object(KUBE_PROXY).get("data")).get("config.conf"))
    except KubeNotFound:
        return None, ""
    except KubeDenied as error:
        return None, str(error)
    documents = parse_located(written)
    faults = [words for document in documents for _, words in document.faults]
    if faults or len(documents) != 1:
        return None, f"cannot read {KUBE_PROXY}: {faults[0] if faults else 'config.conf is not one document'}"
    return parse_kube_proxy(mapping(documents[0].value), written), ""


def require_nodes(evidence: ClusterEvidence, nodes: Iterable[str]) -> None:
    """KubeNotFound for a node that is not there, KubeDenied where nobody could see whether it is."""
    known = {pool.name for pool in evidence.pools} | {agent.node for agent in evidence.agents}
    for node in nodes:
        if node in known:
            continue
        if unread := _unread(evidence, "pools", "agents"):
            raise KubeDenied(f"cannot say whether there is a node {node}: {unread}")
        raise KubeNotFound(f"cannot find node {node}: it has no NodeIPPool and no agent; kubectl get nodeippools")


def require_agent(evidence: ClusterEvidence, node: str) -> ProcessFacts:
    """That node's. KubeNotFound where there is none, KubeDenied where nobody could see whether there is."""
    require_nodes(evidence, (node,))
    agent = evidence.agent(node)
    if agent is None:
        if unread := _unread(evidence, "agents"):
            raise KubeDenied(f"cannot ask the agent of node {node}: {unread}")
        raise KubeNotFound(f"cannot ask the agent of node {node}: there is no pod of one; see azure-cni status")
    return agent


def _unread(evidence: ClusterEvidence, *fields: str) -> str:
    """Why these were not read, and which right lets them be; "" where all were."""
    why = [evidence.missing[name] for name in fields if not evidence.knows(name)]
    return f"{'; '.join(why)}; the chart's ClusterRole azure-cni-cli lets you list them ({ACCESS})" if why else ""


def list_processes(access: ClusterAccess, component: str) -> list[Mapping[str, Any]]:
    """Pod objects of the agents or controllers."""
    path, query = _own_pods(access, component)
    return [one for one in access.list_objects(path, **query) if object_parsing.is_process(one, component)]


def _own_pods(access: ClusterAccess, component: str) -> tuple[str, dict[str, str]]:
    """Where they are looked for: a label is anybody's, a namespace is not."""
    return f"/api/v1/namespaces/{access.system_namespace}/pods", {"labelSelector": OURS.format(component)}


def _listed(access: ClusterAccess, path: str, query: Mapping[str, str], keep: Keep = dict) -> _Reading:
    """Of each object what `keep` makes of it."""
    try:
        return _Reading(access.list_objects(path, keep, **query))
    except (KubeDenied, KubeNotFound) as error:
        return _Reading((), str(error))


def require_names(**names: str) -> None:
    """ConfigInvalid where no object can be called so: by `web/log` one would reach another path of the API server.

    Each by what it is the name of, for people.
    """
    for kind, name in names.items():
        if not _NAME.fullmatch(name):
            raise ConfigInvalid(f"cannot look for the {kind} {legible(name)!r}: no {kind} can be called that")


@dataclass(frozen=True, slots=True)
class PodReading:
    """A pod with its own events. `unread`: why these could not be read, in words; "" where they were."""

    pod: PodFacts
    events: tuple[EventFacts, ...]
    unread: str = ""


def read_pod(access: ClusterAccess, namespace: str, name: str) -> PodReading:
    """KubeNotFound where there is none of that name."""
    require_names(namespace=namespace, pod=name)
    try:
        body = access.read_object(f"/api/v1/namespaces/{namespace}/pods/{name}")
    except KubeNotFound as error:
        raise KubeNotFound(
            f"cannot find pod {name} in namespace {namespace}: name it as NAMESPACE/NAME, or its namespace with -n; "
            "kubectl get pods -A"
        ) from error
    pod = object_parsing.parse_pod(body)
    reading = _listed(
        access, f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": f"involvedObject.uid={pod.uid}"}
    )
    unread = f"its events could not be read: {reading.denied}" if reading.denied else ""
    return PodReading(pod, tuple(map(object_parsing.parse_event, reading.items)), unread)


def ask_agent(access: ClusterAccess, agent: ProcessFacts) -> NodeReport:
    """What that agent says of its node. KubeError where the person may not ask, or it does not answer."""
    return answer_of(access, agent, introspection.NODE_PATH, introspection.decode_node_report)


def ask_agents(access: ClusterAccess, agents: Iterable[ProcessFacts]) -> tuple[tuple[NodeReport, ...], tuple[str, ...]]:
    """What they say, and about each that could not be asked why."""
    return _all_answers(lambda agent: ask_agent(access, agent), agents)


def ask_trails(
    access: ClusterAccess, agents: Iterable[ProcessFacts], address: str
) -> tuple[tuple[AuditReport, ...], tuple[str, ...]]:
    """What the audit trails of their nodes know of an address, and about each that could not be asked why."""
    path = f"{audit_reports.AUDIT_PATH}?address={address}"

    def ask(agent: ProcessFacts) -> AuditReport:
        found = answer_of(access, agent, path, audit_reports.decode_audit_report)
        tenures = [_said_by(agent.node, one) for one in found.tenures]
        return msgspec.structs.replace(found, address=address, tenures=tenures)

    return _all_answers(ask, agents)


def _said_by(node: str, one: TenureReport) -> TenureReport:
    """What that node's agent says is of that node, whatever its records name: which other node that is stands apart."""
    other = one.node if one.node not in {"", node} else ""
    return msgspec.structs.replace(one, node=node, recorded_by=other)


def ask_usage(access: ClusterAccess, agents: Iterable[ProcessFacts]) -> tuple[tuple[UsageReport, ...], tuple[str, ...]]:
    """How many addresses pods of their nodes had so far, and about each that could not be asked why."""
    return _all_answers(
        lambda agent: answer_of(access, agent, audit_reports.USAGE_PATH, audit_reports.decode_usage_report), agents
    )


def ask_writes(
    access: ClusterAccess, agents: Iterable[ProcessFacts]
) -> tuple[tuple[WritesReport, ...], tuple[str, ...]]:
    """The writes of their nodes' NICs, and about each that could not be asked why."""
    return _all_answers(lambda agent: answer_of(access, agent, WRITES_PATH, decode_writes_report), agents)


def answer_of(access: ClusterAccess, agent: ProcessFacts, path: str, decode: Callable[[bytes], Report]) -> Report:
    """What it says of its own node: whoever took a node over must not speak for another.

    KubeError also for an answer that cannot be read: not the caller's command is wrong, but what came.
    """
    program: Sequence[str] = ON_WINDOWS if agent.windows else ON_LINUX
    body = access.run_in_pod(agent.namespace, agent.name, [*program, "introspect", path])
    try:
        found = decode(body)
    except DecodeFailed as error:
        raise KubeError(f"cannot ask the agent {agent.full_name}: {error}") from error
    if found.node not in {"", agent.node}:
        raise KubeError(
            f"cannot believe the agent {agent.full_name}: it runs on node {agent.node} and answers for "
            f"{legible(found.node)!r}; was that node taken over?"
        )
    return msgspec.structs.replace(found, node=agent.node)


def _all_answers(
    ask: Callable[[ProcessFacts], T], agents: Iterable[ProcessFacts]
) -> tuple[tuple[T, ...], tuple[str, ...]]:
    def answer(agent: ProcessFacts) -> tuple[T | None, str]:
        try:
            return ask(agent), ""
        except AzureCniError as error:
            return None, f"node {agent.node}: {error}"

    answers = at_once(answer, agents)
    return tuple(one for one, _ in answers if one is not None), tuple(why for _, why in answers if why)


def at_once(work: Callable[[T], Any], things: Iterable[T]) -> list[Any]:
    """The results in the things' order, worked out in several threads."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, things))
