"""Why a pod has no address, or no traffic: one cause, with the message of the object that says so.

Of several things that are true the first in this order is named: what ended or never needed an address, the scheduler,
an agent that is away, the pool's Ready condition (which its agent renews as long as it runs), the pod's newest event
about its sandbox, and at last what is not azure-cni's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from azure_cni.api.conditions import PoolKind
from azure_cni.api.introspection import NodeReport
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import text
from azure_cni.diagnose.causes import in_words, unchained
from azure_cni.diagnose.evidence import ENDED, TAINT, ClusterEvidence, EventFacts, PodFacts, condition_of
from azure_cni.diagnose.findings import cause_in, names_in
from azure_cni.diagnose.next_steps import next_step
from azure_cni.diagnose.pod_events import FoundCause, newest_first, newest_of_network, not_ours
from azure_cni.diagnose.pod_features import lacks, vnet_notes
from azure_cni.model.text import counted, few, seconds_of, time_text

EXPECTED: Final = frozenset({"Addressed", "Ended", "HostNetwork", "Starting"})
"""Causes of which nothing is wrong."""
PLACED_S: Final = 10.0
"""A pod that was placed this short a time ago is not late."""
LAG_S: Final = 60.0
"""How far a pool's status and the pods' may be apart: the kubelet and the agent both write after a while."""
_OWN: Final = (
    *(PoolKind.AT_LIMIT, PoolKind.QUOTA_EXCEEDED, PoolKind.SUBNET_FULL, PoolKind.THROTTLED),
    PoolKind.PERMISSION_MISSING,
)
"""Conditions that a reason of Ready has for itself; the last one says more than Ready: the command that mends it."""
_OF_STATUS: Final = frozenset({"status", "request"})
"""Activities of an agent that write its pool."""


class PodDiagnosis(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `why`. Times are RFC 3339; `next_step` says what is tried next, and when."""

    pod: str
    node: str
    addresses: list[str]
    healthy: bool
    cause: str
    meaning: str
    since: str
    message: str
    next_step: str
    actor: str
    do: str
    command: str
    page: str
    notes: list[str]
    """What else is known, and what could not be read."""


def explain_pod(
    pod: PodFacts,
    evidence: ClusterEvidence,
    events: Sequence[EventFacts],
    *,
    now_s: float,
    report: NodeReport | None = None,
    unread: str = "",
) -> PodDiagnosis:
    """The one cause. `events` are the pod's own, and `unread` is why they could not be read; `report` is its node's
    agent's answer, where it could be asked.
    """
    found = _found(pod, evidence, events, now_s)
    if unread and found.reason == "NotOurs":
        found = FoundCause("NotOurs", f"nothing else says why it waits, and {unread}")
    if pod.node and not pod.addresses and report is not None:
        found = _of_unwritten(found, events, report) or found
    if found.reason in {"Addressed", "HostNetwork"} and (lacking := lacks(pod, events, report)) is not None:
        found = FoundCause(lacking.reason, f"{lacking.message}; the pod runs, and its address works", found.since_s)
    pool = evidence.pool(pod.node)
    cause = cause_in(found.reason, evidence, pool)
    names = names_in(evidence, pod.node) | {"pod": pod.name, "namespace": pod.namespace}
    since_s = found.since_s if found.since_s is not None else pod.scheduled_s or pod.created_s
    return PodDiagnosis(
        pod=pod.full_name,
        node=pod.node,
        addresses=list(pod.addresses),
        healthy=found.reason in EXPECTED,
        cause=found.reason,
        meaning=cause.meaning,
        since="" if since_s is None else time_text(since_s),
        message=found.message,
        next_step="" if found.reason in EXPECTED else next_step(found.reason, pod, pool, report, now_s=now_s),
        actor=cause.actor.value,
        do=cause.do,
        command=in_words(
            found.command or cause.command,
            **names,
            setting=unchained(found.message),
            address=pod.addresses[0] if pod.addresses else "",
        ),
        page=cause.page,
        notes=[*_notes(pod, evidence, report), *([unread] if unread else []), *vnet_notes(pod, events, report)],
    )


def _found(pod: PodFacts, evidence: ClusterEvidence, events: Sequence[EventFacts], now_s: float) -> FoundCause:
    if pod.phase in ENDED:
        return FoundCause("Ended", f"its phase is {pod.phase}")
    if not pod.node:
        return _unscheduled(pod, evidence)
    if pod.host_network:
        return FoundCause("HostNetwork", "spec.hostNetwork is true")
    if pod.addresses:
        return _addressed(pod, evidence, now_s)
    return _waiting(pod, evidence, events, now_s)


def _unscheduled(pod: PodFacts, evidence: ClusterEvidence) -> FoundCause:
    full = [node.name for node in evidence.nodes if node.tainted]
    # Older schedulers name the taint, in braces; that of 1.36 only counts the nodes that have some.
    others = "taint {" in pod.scheduling and TAINT not in pod.scheduling
    if not full or others or (pod.scheduling and "taint" not in pod.scheduling):
        return FoundCause("Unschedulable", pod.scheduling or "the scheduler has not said anything yet", pod.created_s)
    why = [f"{name}: {_ready_words(evidence.pool(name))}" for name in full]
    return FoundCause("NoFreeAddresses", f"{pod.scheduling}; {few(why, between='; ', last='; and ')}", pod.created_s)


def _ready_words(pool: NodeIPPool | None) -> str:
    if pool is None:
        return "it has no NodeIPPool"
    ready = condition_of(pool.status, "Ready")
    return f"{text(ready.get('reason'))}, {text(ready.get('message'))}"


def _addressed(pod: PodFacts, evidence: ClusterEvidence, now_s: float) -> FoundCause:
    address = pod.addresses[0]
    others = [one for one in evidence.pods if one.uid != pod.uid and one.holds_address and address in one.addresses]
    if others:
        return _twice(pod, others, evidence)
    pool = evidence.pool(pod.node)
    if pool is None:
        return FoundCause("Addressed", f"{address}; no NodeIPPool of node {pod.node} could be read")
    settled = pod.scheduled_s is None or now_s - pod.scheduled_s > LAG_S
    listed, agent = address in listed_addresses(pool), evidence.agent(pod.node)
    drifted, conflict = condition_of(pool.status, "Drifted"), condition_of(pool.status, "HostConflict")
    if settled and not listed and drifted.get("status") == "True":
        return FoundCause("AddressesLost", text(drifted.get("message")), _since(drifted))
    if settled and not listed and agent is not None and agent.ready:
        return FoundCause(
            "AddressesLost", f"{address} is not on the NIC of node {pod.node}, as last read {_read(pool)}"
        )
    if conflict.get("status") == "True":
        reason, message = text(conflict.get("reason")), text(conflict.get("message"))
        return FoundCause("HostConflict", f"{reason}: {message}", _since(conflict))
    is_there = "is on" if listed else "is not yet seen on"
    return FoundCause("Addressed", f"{address} {is_there} the NIC of node {pod.node}, as last read {_read(pool)}")


def _twice(pod: PodFacts, others: Sequence[PodFacts], evidence: ClusterEvidence) -> FoundCause:
    """The pod to delete is the one whose node's NIC has not got the address, whichever was asked about."""
    address = pod.addresses[0]
    message = f"{address} is also the address of {few([one.full_name for one in others])}"
    pools = ((one, evidence.pool(one.node)) for one in (pod, *others))
    lost = [one for one, pool in pools if pool is not None and address not in listed_addresses(pool)]
    if not lost:
        return FoundCause("AddressTwice", message, command="azure-cni who ADDRESS")
    message += f"; the NIC of node {lost[0].node}, where {lost[0].full_name} is, has not got it"
    return FoundCause("AddressTwice", message, command=f"kubectl delete pod -n {lost[0].namespace} {lost[0].name}")


def _waiting(pod: PodFacts, evidence: ClusterEvidence, events: Sequence[EventFacts], now_s: float) -> FoundCause:
    newest = newest_first(events)
    agent, pool = evidence.agent(pod.node), evidence.pool(pod.node)
    if evidence.agents and (agent is None or agent.state not in {"Running", ""}):
        state = "there is none" if agent is None else f"{agent.full_name} is {agent.state}"
        return FoundCause("AgentAway", f"the agent's pod of node {pod.node}: {state}")
    said = newest_of_network(events)
    if said is not None and said.reason == "AgentAway" and (agent is None or not agent.ready):
        return said  # the pool says what was so when its agent was last there
    if (known := _of_pool(pool, evidence) or said) is not None:
        return known
    if pod.scheduled_s is not None and now_s - pod.scheduled_s < PLACED_S:
        return FoundCause("Starting")
    if pool is None and evidence.pools:
        return FoundCause("NoPool", f"there is no NodeIPPool {pod.node}")
    return not_ours(newest[0]) if newest else FoundCause("NotOurs", "no event says why it waits")


def _of_pool(pool: NodeIPPool | None, evidence: ClusterEvidence) -> FoundCause | None:
    """Why no pod can start on the node, by its Ready condition.

    That condition may be False for longer than for its present reason, so where a reason has a condition of its own, or
    the pause has its time, that counts.
    """
    ready: Mapping[str, Any] = condition_of(pool.status, PoolKind.READY) if pool else {}
    if pool is None or ready.get("status") != "False":
        return None
    reason, message, since_s = text(ready.get("reason")), text(ready.get("message")), _since(ready)
    own = next((one for one in map(partial(condition_of, pool.status), _OWN) if _is_true(one, reason)), None)
    if own is not None:
        since_s = _since(own)
        message = text(own.get("message")) if own.get("type") == PoolKind.PERMISSION_MISSING else message
    pause = evidence.pauses.get(pool.name)
    if reason == "PoolPaused" and pause is not None:
        since_s = seconds_of(pause.since) or since_s
    return FoundCause(reason, message, since_s)


def _of_unwritten(found: FoundCause, events: Sequence[EventFacts], report: NodeReport) -> FoundCause | None:
    """The cause where the agent cannot write its pool, which then says what was so before; None where it can, or where
    the pool says nothing of that pod.
    """
    failure = next((one for one in report.failures if one.activity in _OF_STATUS), None)
    if failure is None or found.reason in {"AgentAway", "Ended", "HostNetwork"}:
        return None
    said = newest_of_network(events)
    if said is not None and said.reason != failure.reason:
        return said
    return FoundCause(failure.reason, failure.message, said.since_s if said else None)


def _is_true(condition: Mapping[str, Any], reason: str) -> bool:
    return condition.get("status") == "True" and condition.get("reason") == reason


def _notes(pod: PodFacts, evidence: ClusterEvidence, report: NodeReport | None) -> list[str]:
    notes = list(evidence.unread)
    pool, agent = evidence.pool(pod.node), evidence.agent(pod.node)
    if agent is not None and not agent.ready and agent.state == "Running":
        notes.append(f"the agent {agent.full_name} runs and is not ready")
    if pool is not None and pool.waiting:
        notes.append(f"{counted(pool.waiting, 'pod waits', 'pods wait')} for an address on node {pool.name}")
    if pause := evidence.pauses.get(pod.node):
        notes.append(f"the pool of node {pod.node} is {pause.in_words}")
    if report is not None:
        notes += [f"{one.activity} fails: {one.reason}: {one.message}" for one in report.failures]
    return notes


def listed_addresses(pool: NodeIPPool) -> dict[str, str]:
    """`status.vnetAddresses` taken apart: address to ipConfiguration."""
    entries = pool.status.get("vnetAddresses")
    lines = [text(entry) for entry in entries] if isinstance(entries, list) else []
    return {address: config for address, _, config in (line.partition(" ") for line in lines) if address}


def _read(pool: NodeIPPool) -> str:
    last = pool.status.get("lastRead")
    return f"at {text(last.get('time'))}" if isinstance(last, Mapping) else "by its agent"


def _since(condition: Mapping[str, Any]) -> float | None:
    return seconds_of(condition.get("lastTransitionTime"))
