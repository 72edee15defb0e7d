"""Whose idle addresses are taken back for pods that wait on other nodes of the same subnet, once that is full. Pure.

The wish is the same as for the quota (`recalls`): a node is to hold no more than so many addresses, and gives what its
own pods do not need. What differs is how scarcity shows, and what helps:

- Only Azure knows whether a subnet has room, and says so by refusing a write. A node that was refused addresses for
  pods that wait says when (`status.subnetRefusedTime`), rests, and tries again. So a node lacks addresses while that
  stands, as many as its pods wait for and the ledger has for it already: the quota is not what keeps them from it.
- Only what leaves the NIC of a node in that subnet helps. What the ledger has for it beyond that does not.
- What was given is on no NIC and in no count that is known here, until the node that waits has tried again. So each
  refusal is answered once: what has been asked for because of it counts until the node has tried since. A node that is
  told that less is coming than before tries at once (`node.pool.pool_task`), because that much was given.

A node that never tries again, because it is gone, takes nothing more after that, and soon counts no more
(`recall_tracker`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from azure_cni.api.node_ip_pool import Recall, WriteIntent
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.quota import ledger_changes
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recalls import RecallPlan, idle, may_give, shared, takes


@dataclass(frozen=True, slots=True)
class Answered:
    """What other nodes were asked to give because a subnet refused a node."""

    refused: str
    """When it did: `NodeRecord.subnet_refused`."""
    count: int
    since_s: float = 0.0
    """Monotonic time from which that is known."""
    held: int = 0
    """How many addresses the node held then."""
    vain_s: tuple[float, ...] = ()
    """The same of those refusals before it that were answered, and it got nothing."""


def with_subnets(
    plan: RecallPlan,
    quota: VNetQuota,
    nodes: Sequence[NodeRecord],
    *,
    counted: Callable[[NodeRecord], bool],
    number: int,
    answered: Mapping[str, Answered],
    slowed: Collection[str] = (),
    halted: bool = False,
) -> RecallPlan:
    """The plan for the quota, with what is recalled in each subnet beside it. `answered` is by node; the rest as in
    `recalls.plan_recalls`.
    """
    for subnet, here in _by_subnet(node for node in nodes if node.name not in slowed).items():
        # Who waits for the quota first is counted there, and tries again by the grant that it waits for.
        lacking = {node: count for node in here if node.name not in plan.starving and (count := lack(quota, node))}
        if lacking:
            reliable = [node for node in here if counted(node)]
            plan = _in_subnet(
                plan, quota, subnet, reliable, lacking=lacking, number=number, answered=answered, halted=halted
            )
    return plan


def lack(quota: VNetQuota, node: NodeRecord) -> int:
    """How many addresses its pods wait for that its subnet refused it."""
    tries = node.write_intent in {WriteIntent.NONE, WriteIntent.GROW}
    if not node.subnet_refused or not node.subnet or not tries:
        return 0
    entry = ledger_changes.entry_of(quota.entries, node)
    return max(0, min(node.waiting, entry.count - node.view.allocated))


def to_give(node: NodeRecord) -> int:
    """How many addresses are still to leave its NIC for its wish; 0 without one."""
    if node.recall is None or node.recall_met == node.recall.number:
        return 0
    beyond = max(0, node.view.allocated - node.recall.hold)
    # While it writes, what leaves is idle no more.
    return beyond if node.write_intent is WriteIntent.SHRINK else min(beyond, node.releasable)


def _by_subnet(nodes: Iterable[NodeRecord]) -> dict[str, list[NodeRecord]]:
    found: dict[str, list[NodeRecord]] = {}
    for node in nodes:
        found.setdefault(node.subnet, []).append(node)
    return found


def _in_subnet(
    plan: RecallPlan,
    quota: VNetQuota,
    subnet: str,
    reliable: Sequence[NodeRecord],
    *,
    lacking: Mapping[NodeRecord, int],
    number: int,
    answered: Mapping[str, Answered],
    halted: bool,
) -> RecallPlan:
    """The plan with one subnet more, in which `lacking` have too few; `reliable` may be counted on to give."""
    asked, under_way = dict(plan.asked), dict(plan.under_way)
    coming = {node.name: count for node in reliable if (count := to_give(node))}
    coming |= {node.name: under_way[node.name] for node in reliable if node.name in plan.asked}
    known = {node.name: min(count, _answered(node, answered)) for node, count in lacking.items()}
    served = max(sum(known.values()), sum(coming.values()))
    missing = sum(lacking.values()) - served
    able = [node for node in reliable if node.name not in coming and may_give(quota, node)]
    givers = {node: spare for node in able if (spare := idle(node))}
    new: dict[str, int] = {}
    for node, count in takes(givers, missing).items() if not halted else ():
        last = node.recall.number if node.recall is not None else 0
        asked[node.name] = Recall(max(number, last + 1), hold=node.view.allocated - count)
        coming[node.name] = new[node.name] = count
    have = {node.name: node.view.allocated for node in lacking}
    short = {node.name: count for node, count in lacking.items()}
    return replace(
        plan,
        asked=asked,
        under_way={**coming, **under_way, **new},
        starving={**plan.starving, **shared(have, short, sum(coming.values()))},
        in_subnets={**plan.in_subnets, **dict.fromkeys(short, subnet)},
        answers={**plan.answers, **_answers(lacking, known, served + sum(new.values()))},
    )


def _answers(lacking: Mapping[NodeRecord, int], known: Mapping[str, int], served: int) -> dict[str, int]:
    """How many of the `served` were asked for because of each node: those beyond what is `known` are for who had less.

    None for a node that tries again: what comes of it is known soon.
    """
    unserved = {node.name: count - known[node.name] for node, count in lacking.items()}
    more = shared(known, unserved, served - sum(known.values()))
    rests = [node.name for node in lacking if node.write_intent is not WriteIntent.GROW]
    return {name: known[name] + more[name] for name in rests}


def _answered(node: NodeRecord, answered: Mapping[str, Answered]) -> int:
    """How many were asked for already because of its last refusal; all that it lacks while it tries again."""
    if node.write_intent is WriteIntent.GROW:
        return node.waiting
    known = answered.get(node.name)
    return known.count if known is not None and known.refused == node.subnet_refused else 0
