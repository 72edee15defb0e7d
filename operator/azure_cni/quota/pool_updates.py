"""What is written to the pools after the ledger: answers, what is taken back, and why a node has to wait. Pure.

Each update is one compare-and-swap on the version of the pool from which it was decided. It is decided from the ledger
as it was written, never from what was planned: an entry that could not be written is not answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.pool_entries import recall_document
from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota
from azure_cni.ipam.grants import Answer, QuotaEntry, Reserve, TakeBack, Unchanged, decide
from azure_cni.quota import ledger_changes, messages
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.pacing import ReservationPlan
from azure_cni.quota.recalls import RecallPlan

GRANT_EXPLANATION_DELAY_S: Final = 5.0
"""A node whose pods wait learns the reason when its answer takes longer than this."""

NEWS_SHARE: Final = 4
"""A count of what comes for a node's pods is told again when it has changed by so much of it: a quarter."""
NEXT_STEP_S: Final = 0.3
"""The pause before the next step of a recall: the controller's own writes wake nobody."""


@dataclass(frozen=True, slots=True)
class PoolUpdate:
    """One write of a pool, and what it means for the ledger."""

    node: NodeRecord
    status: Mapping[str, Any]
    result: str
    """As `cluster.ports.ControllerObserver.granted` has it."""
    lowers: LedgerEntry | None = None
    """The ledger's entry once this has been written, and only then."""

    @property
    def urgent(self) -> bool:
        """A NIC is written by it, or addresses go to somebody else; of all else a node only learns something."""
        return "granted" in self.status


def in_order(updates: Iterable[PoolUpdate]) -> list[PoolUpdate]:
    """Urgent ones first, then wishes to give back. Then nodes with waiting pods, which have news in every round."""
    return sorted(
        updates, key=lambda update: (not update.urgent, "recall" not in update.status, not update.node.waiting)
    )


def answers(quota: VNetQuota, nodes: Iterable[NodeRecord]) -> Iterator[PoolUpdate]:
    """What the ledger as it stands allows to answer: a share of less than there is room for is an answer too."""
    former = ledger_changes.held_by_former(quota.entries)
    for node in nodes:
        entry = ledger_changes.entry_of(quota.entries, node)
        match decide(node.view, QuotaEntry(entry.count, entry.request_id), ceiling=entry.count):
            case Answer(granted=count, granted_for=number):
                explanation = messages.on_answer(quota, node, count, former=former[node.name])
                status = {"granted": count, "grantedFor": number, **explanation.status()}
                yield PoolUpdate(node, status, result="short" if explanation.reason else "full")
            case TakeBack(granted=count, entry=lowered):
                lower = replace(entry, count=lowered.count)
                yield PoolUpdate(node, {"granted": count}, result="taken_back", lowers=lower)
            case Unchanged() | Reserve():
                pass


def delays(
    quota: VNetQuota, nodes: Iterable[NodeRecord], plan: ReservationPlan, *, monotonic_s: float
) -> Iterator[PoolUpdate]:
    """Why nodes wait whose pods wait: once for each cause, and again when Azure names another time."""
    for node in nodes:
        waits = node.name in plan.delayed and node.waiting
        if not waits or monotonic_s - node.asking_since_s < GRANT_EXPLANATION_DELAY_S:
            continue
        explanation = _why_delayed(quota, node.name, plan)
        if messages.is_news(node, explanation):
            yield PoolUpdate(node, explanation.status(), result="delayed")


def refusals(nodes: Iterable[NodeRecord], refused: Mapping[str, Explanation]) -> Iterator[PoolUpdate]:
    """Why nodes are granted nothing: once for each cause."""
    for node in nodes:
        explanation = refused.get(node.name)
        if explanation is not None and messages.is_news(node, explanation):
            yield PoolUpdate(node, explanation.status(), result="refused")


def with_recalls(
    quota: VNetQuota, nodes: Iterable[NodeRecord], plan: RecallPlan, updates: Iterable[PoolUpdate]
) -> list[PoolUpdate]:
    """The updates, with what nodes are told about idle addresses: to give them back, or that others do.

    A pool is written once in a round, so this becomes a part of what is written to it anyway.
    """
    former = ledger_changes.held_by_former(quota.entries)
    by_name = {update.node.name: update for update in updates}
    for node in nodes:
        status: dict[str, Any] = {}
        recalling = plan.starving.get(node.name, 0)
        if node.name in plan.asked:
            status["recall"] = recall_document(plan.asked[node.name])
        elif node.name in plan.ended:
            status["recall"] = None
        if recalling != node.recalling and (node.name in by_name or _is_news(node, recalling, plan)):
            status["recalling"] = recalling or None
        update = by_name.get(node.name) or PoolUpdate(node, {}, result="recalled" if status.get("recall") else "told")
        answered = "grantedFor" in update.status
        shown = update.status.get("grantReason", node.reason)
        if (answered and recalling) or ("recalling" in status and shown == messages.QUOTA_EXCEEDED):
            granted = update.status.get("granted", node.view.granted)
            words = messages.on_answer(quota, node, granted, former=former[node.name], recalling=recalling)
            status |= words.status()
        elif (rests := _while_recalled(quota, node, plan, update)) is not None:
            status |= rests.status()
        if status:
            by_name[node.name] = replace(update, status={**update.status, **status})
    return list(by_name.values())


def _is_news(node: NodeRecord, recalling: int, plan: RecallPlan) -> bool:
    """Whether another count of what comes for a node's pods is worth a write of its pool.

    With hundreds of nodes that give, it is another one in each round for each that starves. In a full subnet each count
    is news: as soon as less is coming than before, the node tries again.
    """
    told, wanted = node.recalling, max(1, node.waiting)
    in_subnet = node.name in plan.in_subnets or node.subnet_refused
    covers = (recalling >= wanted) != (told >= wanted)
    return bool(in_subnet) or not (told and recalling) or covers or abs(recalling - told) * NEWS_SHARE >= told


def next_step_s(written: Iterable[PoolUpdate], *, starving: bool) -> float:
    """Seconds until a round can go on with a recall, infinite where none can: to ask for what a node lacks that has
    just heard that there is no room, to take back what one gave that has just been answered, or to grant what was.

    Each of these follows a step forward, so rounds do not go on like that without end.
    """
    for update in written:
        node, answered = update.node, "grantedFor" in update.status
        refused = node.waiting and update.status.get("grantReason")
        if (answered and (node.recall is not None or refused)) or (update.lowers is not None and starving):
            return NEXT_STEP_S
    return float("inf")


def _while_recalled(quota: VNetQuota, node: NodeRecord, plan: RecallPlan, update: PoolUpdate) -> Explanation | None:
    """What a node learns that asks for no spare addresses and is granted all that it asks for: else it would promise
    addresses to pods that it cannot have. None where its pool says so already, or something else counts.
    """
    granted = update.status.get("granted", node.view.granted)
    at_rest = node.answered or "grantedFor" in update.status
    if not at_rest or granted < node.view.request.count or update.status.get("grantReason"):
        return None
    modest = node.recall is not None and node.name not in plan.ended and node.write_intent is not WriteIntent.GROW
    shown = update.status.get("grantReason", node.reason)
    if modest and (plan.quota_starves or quota.granted + plan.short >= quota.grantable):  # the rest is for their pods
        return messages.while_recalled(quota) if shown != messages.QUOTA_EXCEEDED else None
    return messages.NOTHING if shown == messages.QUOTA_EXCEEDED else None


def _why_delayed(quota: VNetQuota, name: str, plan: ReservationPlan) -> Explanation:
    """Why this node waits for its grant: first what only it can change."""
    if name in plan.spent:
        return messages.while_spent()
    if plan.throttled_until_s:
        return messages.while_throttled(quota, plan.throttled_until_s)
    if name in plan.slowed:
        return messages.while_slowed(plan.slowed[name])
    if name in plan.instances:
        return messages.while_instances_wait()
    return messages.while_paced(quota)
