"""What `report` reads: azure-cni's own objects, pods, events and logs, and what agents say of their nodes.

Of objects only known fields are kept, and of other people's objects nothing but the names, to replace them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from azure_cni import __version__
from azure_cni.api.reading import mapping, mappings, metadata_of, spec_of, text
from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.diagnose.check_results import CheckList
from azure_cni.diagnose.checks import check_all
from azure_cni.diagnose.evidence import WORKLOADS, ClusterEvidence, ProcessFacts
from azure_cni.diagnose.overview import Overview, survey
from azure_cni.diagnose.redaction import LEFT_OUT, Redactor
from azure_cni.errors import KubeDenied, KubeError, KubeNotFound
from azure_cni.model.text import counted, few

EVENTS: Final = "/api/v1/events"
OUR_KINDS: Final = ("NodeIPPool", "VNetQuota")
SETTING: Final = "AZURE_CNI_"
ABOUT_TENANTS: Final = frozenset({"AZURE_CNI_EGRESS_NAMESPACES", "AZURE_CNI_POD_NETWORKING_ALLOWED"})
"""Settings that list tenants' namespaces."""
MOST_NODES: Final = 20
"""Whose agents are asked, and whose logs are read; those with something wrong first."""
LOG_LINES: Final = 3000
LOG_BYTES: Final = 1 << 20
"""Of one log; the newest are kept."""
ASKED_BYTES: Final = 8 << 20
"""Of an answer with a log, whose lines may be long."""


@dataclass
class Gathered:
    """Documents and logs by file name, each with what it is; which logs were `cut`; and what could not be read."""

    documents: dict[str, tuple[Any, str]] = field(default_factory=dict)
    logs: dict[str, tuple[str, str]] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def gather(access: ClusterAccess, evidence: ClusterEvidence, nodes: tuple[str, ...]) -> Gathered:
    """All of it. KubeNotFound for a node that is not there, KubeError when nobody answers."""
    overview = survey(evidence, version=__version__)
    found = Gathered(unread=list(evidence.unread))
    checks = check_all(evidence, overview, version=__version__, now_s=time.time())
    found.documents["status.json"] = (msgspec.to_builtins(overview), "as azure-cni status -o json")
    found.documents["check.json"] = (msgspec.to_builtins(CheckList(checks, [])), "as azure-cni check -o json")
    found.documents["nodes.json"] = (msgspec.to_builtins(evidence.nodes), "what concerns azure-cni of Nodes")
    for name, collection in (("nodeippools", reads.POOLS), ("vnetquotas", reads.QUOTAS)):
        objects = _listed(access, collection, found)
        found.documents[f"{name}.json"] = ([_own_object(one) for one in objects], "spec and status")
    own = [one for component in WORKLOADS for one in _own_pods(access, component, found)]
    found.documents["processes.json"] = (list(map(_process, own)), "azure-cni's own pods, and their settings")
    events = [
        one for kind in OUR_KINDS for one in _listed(access, EVENTS, found, fieldSelector=f"involvedObject.kind={kind}")
    ]
    found.documents["events.json"] = (list(map(_event, events)), "events of NodeIPPools and VNetQuotas")
    agents = _chosen(evidence, overview, nodes, found)
    reports, unasked = reads.ask_agents(access, agents)
    found.unread += unasked
    for one in reports:
        found.documents[f"agents/{one.node}.json"] = (msgspec.to_builtins(one), "what the agent says of its node")
    _read_logs(access, [*evidence.controllers, *agents], found)
    return found


def _listed(access: ClusterAccess, path: str, found: Gathered, **query: str) -> Sequence[Mapping[str, Any]]:
    return _read(lambda: access.list_objects(path, **query), found)


def _read(read: Callable[[], Sequence[Mapping[str, Any]]], found: Gathered) -> Sequence[Mapping[str, Any]]:
    try:
        return read()
    except (KubeDenied, KubeNotFound) as error:
        if str(error) not in " ".join(found.unread):  # read_cluster asks for the same lists
            found.unread.append(str(error))
        return ()


def _own_pods(access: ClusterAccess, component: str, found: Gathered) -> Sequence[Mapping[str, Any]]:
    return _read(lambda: reads.list_processes(access, component), found)


def _chosen(
    evidence: ClusterEvidence, overview: Overview, nodes: tuple[str, ...], found: Gathered
) -> list[ProcessFacts]:
    """The agents to ask: of these nodes, or of at most `MOST_NODES`, those with something wrong first."""
    reads.require_nodes(evidence, nodes)
    known = {agent.node for agent in evidence.agents} | {pool.name for pool in evidence.pools}
    wrong = {one.about.removeprefix("node ") for one in overview.findings}
    order = list(nodes) or sorted(known, key=lambda node: (node not in wrong, node))
    if order[MOST_NODES:]:
        found.left_out.append(
            f"agents and logs of {counted(len(order) - MOST_NODES, 'node')}: {few(order[MOST_NODES:])}; name nodes "
            "with --node"
        )
    agents = {node: evidence.agent(node) for node in order[:MOST_NODES]}
    found.unread += [f"node {node}: there is no pod of an agent" for node, agent in agents.items() if agent is None]
    return [agent for agent in agents.values() if agent is not None]


def _read_logs(access: ClusterAccess, processes: Iterable[ProcessFacts], found: Gathered) -> None:
    """Of each, and of its container before the last restart."""
    wanted = [(one, previous) for one in processes for previous in (False, True)[: 2 if one.restarts else 1]]

    def read(one: tuple[ProcessFacts, bool]) -> tuple[str, str]:
        process, previous = one
        query = {
            "tailLines": str(LOG_LINES),
            "limitBytes": str(ASKED_BYTES),
            **({"previous": "true"} if previous else {}),
        }
        path = f"/api/v1/namespaces/{process.namespace}/pods/{process.name}/log"
        try:
            return access.read_text(path, **query), ""
        except KubeError as error:
            return "", str(error)

    for (process, previous), (log, why) in zip(wanted, reads.at_once(read, wanted), strict=True):
        name = f"logs/{process.name}{'-previous' if previous else ''}.log"
        if why:
            found.unread.append(why)
            continue
        kept = _newest(log)
        if len(kept) < len(log) or log.count("\n") >= LOG_LINES:
            found.cut.add(name)
        where = f"on {process.node}" + (", before its last restart" if previous else "")
        found.logs[name] = (kept, where)


def _newest(log: str) -> str:
    """Its last lines, whole ones: what is left of a credential or a name that was cut in two could not be known."""
    if len(log) <= LOG_BYTES:
        return log
    return log[-LOG_BYTES:].partition("\n")[2]


def _own_object(body: Mapping[str, Any]) -> dict[str, Any]:
    """A NodeIPPool or VNetQuota without what others put on it."""
    meta = metadata_of(body)
    kept = {
        key: meta[key] for key in ("name", "uid", "generation", "creationTimestamp", "deletionTimestamp") if key in meta
    }
    return {"metadata": kept, "spec": spec_of(body), "status": body.get("status")}


def _process(body: Mapping[str, Any]) -> dict[str, Any]:
    containers = mappings(spec_of(body).get("containers"))
    settings = {
        (name := text(one.get("name"))): LEFT_OUT if name in ABOUT_TENANTS else text(one.get("value"))
        for container in containers
        for one in mappings(container.get("env"))
        if text(one.get("name")).startswith(SETTING) and "value" in one
    }
    status = mapping(body.get("status"))
    return {
        "name": text(metadata_of(body).get("name")),
        "node": text(spec_of(body).get("nodeName")),
        "images": [text(one.get("image")) for one in containers],
        "settings": settings,
        "phase": status.get("phase"),
        "conditions": status.get("conditions"),
        "containerStatuses": status.get("containerStatuses"),
    }


def _event(body: Mapping[str, Any]) -> dict[str, Any]:
    about = mapping(body.get("involvedObject"))
    kept = ("type", "reason", "message", "count", "firstTimestamp", "lastTimestamp", "eventTime", "series")
    return {"kind": about.get("kind"), "name": about.get("name")} | {key: body[key] for key in kept if key in body}


def redactor_for(evidence: ClusterEvidence, found: Gathered) -> Redactor:
    """It knows every name that any of the texts may have."""
    own = {one.namespace for one in (*evidence.agents, *evidence.controllers)}
    names = {node.name for node in evidence.nodes} | {pool.name for pool in evidence.pools}
    redactor = Redactor(open_namespaces=own, kept=names)
    for pod in evidence.pods:
        redactor.learn(pod.namespace, pod.name)
    for namespace, _, name in (policy.partition("/") for policy in evidence.beside.policies):
        redactor.learn(namespace, name)
    for one in (one for document, _ in found.documents.values() for one in _of_pods(document)):
        redactor.learn(text(one.get("namespace")), text(one.get("pod")))
    for log, _ in found.logs.values():
        redactor.learn_from(log)
    for document, _ in found.documents.values():
        redactor.learn_from(msgspec.json.encode(document).decode())
    return redactor


def _of_pods(document: Any) -> Sequence[Mapping[str, Any]]:
    """What an agent says of pods: who has its addresses, and who asks for attachments. Other documents have none."""
    if not isinstance(document, Mapping):
        return ()
    return [*mappings(document.get("slots")), *mappings(document.get("attachments"))]
