"""What is wrong with nodes by their NodeIPPools, and by what agents add that were asked.

A condition says what is so; what mends it is a command with the names of this case. Commands for the node itself are
the agent's. All others are put together here, of what the agent says and only where that is an ID as Azure has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from azure_cni.api.conditions import PoolKind, ProblemReport
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import mappings, text
from azure_cni.diagnose.causes import PAGE, READ_NOW, Actor, in_words
from azure_cni.diagnose.evidence import ClusterEvidence, condition_of
from azure_cni.diagnose.findings import ERROR, WARNING, Finding, finding_of, of_condition, of_near_limit
from azure_cni.diagnose.pauses import NodePause
from azure_cni.diagnose.pod_diagnosis import listed_addresses
from azure_cni.ipam.near_limit import was_near
from azure_cni.model.identity import role_assignment
from azure_cni.model.text import seconds_of

NOT_WELL: Final = ("Drifted", "HostConflict", "ModeChangePending", "NicChangePending", "PermissionMissing")
"""Conditions of a pool that are worth a line although it is Ready, when True."""
SECTIONS: Final = {
    "Drifted": "a-pod-has-an-address-but-no-traffic",
    "HostConflict": "a-pod-has-an-address-but-no-traffic",
    "ModeChangePending": "changing-the-mode-of-a-node",
    "NicChangePending": "a-pod-subnet-on-a-second-nic",
    "PermissionMissing": "a-permission-is-missing",
}
NAMED_BY_AGENTS: Final = (PoolKind.HOST_CONFLICT, PoolKind.PERMISSION_MISSING)
"""Conditions of which the node's agent knows each problem, with the command that ends it."""
Problems = Mapping[str, Sequence[ProblemReport]]
"""What the agents that were asked say of their nodes, by node."""


def of_pools(evidence: ClusterEvidence, problems: Problems) -> Iterator[Finding]:
    """Of each pool."""
    for pool in evidence.pools:
        pause = evidence.pauses.get(pool.name)
        if pause is not None:
            yield _of_pause(pause, evidence.system)
        if was_near(pool.status, PoolKind.AT_LIMIT):
            near = condition_of(pool.status, PoolKind.AT_LIMIT)
            yield of_near_limit(f"node {pool.name}", near, system=evidence.system)
        for condition in mappings(pool.status.get("conditions")):
            kind, holds = text(condition.get("type")), condition.get("status") == "True"
            if kind == "Ready" and not holds and not _is_explained(pool, condition):
                yield finding_of(
                    ERROR,
                    text(condition.get("reason")),
                    f"node {pool.name}",
                    text(condition.get("message")),
                    evidence,
                    since=text(condition.get("lastTransitionTime")),
                    node=pool.name,
                )
            elif kind in NOT_WELL and holds:
                yield from _of_not_well(pool, condition, evidence, problems.get(pool.name, ()))


def _of_pause(pause: NodePause, system: str) -> Finding:
    """Whether or not pods wait already: a pause is easily forgotten."""
    return Finding(
        severity=WARNING,
        code="Paused",
        about=f"node {pause.node}",
        since=pause.since,
        message=f"{pause.in_words}; its NIC is not written, and pods start only while an address is free",
        actor=Actor.CLUSTER.value,
        do="end the pause when the work is done",
        command=in_words("azure-cni resume NODE", node=pause.node, system=system),
        page=f"{PAGE}#work-on-a-nic-by-hand",
    )


def _is_explained(pool: NodeIPPool, ready: Mapping[str, Any]) -> bool:
    """Another condition says the same, and more."""
    others = (condition_of(pool.status, kind) for kind in (PoolKind.PERMISSION_MISSING, PoolKind.NIC_CHANGE_PENDING))
    return any(one.get("status") == "True" and one.get("reason") == ready.get("reason") for one in others)


def _of_not_well(
    pool: NodeIPPool, condition: Mapping[str, Any], evidence: ClusterEvidence, problems: Sequence[ProblemReport]
) -> Iterator[Finding]:
    """What a condition says; each problem by itself, with its command, where the agent was asked."""
    kind = text(condition.get("type"))
    ready = condition_of(pool.status, "Ready")
    same = kind == PoolKind.PERMISSION_MISSING or condition.get("reason") == ready.get("reason")
    stops = ready.get("status") == "False" and same
    found = of_condition(
        ERROR if stops else WARNING,
        f"node {pool.name}",
        condition,
        do="do what the message says",
        command=_for_lost(pool, condition, evidence)
        if kind == PoolKind.DRIFTED
        else f"kubectl describe nodeippool {pool.name}",
        section=SECTIONS[kind],
    )
    told = [one for one in problems if one.kind == kind]
    for one in told:
        command, node = one.command, pool.name if one.command else ""
        if kind == PoolKind.PERMISSION_MISSING:
            assign, node = role_assignment(identity=one.identity, scope=one.scope), ""
            command = f"{assign} && {in_words(READ_NOW, node=pool.name)}" if assign else ""
        yield msgspec.structs.replace(
            found, code=one.reason, message=one.message, command=command or found.command, node=node
        )
    if not told:
        yield found


def _for_lost(pool: NodeIPPool, drifted: Mapping[str, Any], evidence: ClusterEvidence) -> str:
    """The command that deletes the pods whose addresses the NIC has lost, as far as they are known.

    A pod that was placed since then may have an address that the pool does not list yet, and is well.
    """
    listed, since_s = listed_addresses(pool), seconds_of(drifted.get("lastTransitionTime"))
    lost = [
        pod
        for pod in evidence.pods_on(pool.name)
        if (pod.holds_address and not pod.ending and pod.addresses[0] not in listed)
        and (pod.scheduled_s is None or since_s is None or pod.scheduled_s <= since_s)
    ]
    commands = [f"kubectl delete pod -n {pod.namespace} {pod.name}" for pod in lost]
    return "; ".join(commands) or f"kubectl describe nodeippool {pool.name}"
