"""Whose idle addresses are taken back for pods that wait on other nodes, once the quota has no more. Pure.

A node keeps some addresses ready for its next pods. When the VNet's quota has no more, a pod may wait on one node while
others keep idle ones. Then the controller writes a wish into the pools of the richest (`Recall`): to hold no more than
so many addresses. The node shrinks by its own plan, with a grant for that write like any other, and never below what
its pods have, wait for or gave back a moment ago. What it gives leaves its entry by the usual way (`ipam.grants`,
rule 4), and the node whose pods wait gets it in its turn. So a recall is no right: it changes what a node asks for, and
whatever comes of it keeps the rules of the ledger. A node that does not obey keeps what it has.

What keeps addresses from going back and forth:

- Only pods that wait count, and only as many as wait: nobody's reserve is filled from the reserves of others.
- A node from which something was recalled asks for no spare addresses until no pod has waited anywhere in the VNet for
  `REST_S`, or until the quota is no longer near its limit; for its own pods it may ask at any time.
- A node shrinks once for each wish, and only to what was named. Few nodes give much, because each gives by a NIC write:
  the richest half of what it has idle, and all of it only when such halves are not enough.

Nothing is recalled that would help nobody: not while Azure asks all to wait, not for or from a node that it asks to
wait, not beyond what waits, and not if all that is idle would not bring the ledger below its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from azure_cni.api.node_ip_pool import Recall, WriteIntent
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.ipam.near_limit import is_near
from azure_cni.quota import ledger_changes
from azure_cni.quota.node_record import NodeRecord

REST_S: Final = 300.0
"""For how long no pod may have waited before nodes may fill their reserves again: as long as a node keeps a surplus."""
OBEYS_S: Final = 15.0
"""Within this a node asks for the write by which it gives back, or it is not counted on."""
GIVES_S: Final = 180.0
"""Within this it has given back: Azure takes 10 s or more over a write, and the write may wait for its turn."""
DEAF_S: Final = 3600.0
"""How long a node that did nothing about its wish is not asked again, unless it gives something after all."""
TOO_LATE_S: Final = 60.0
"""How long one that had nothing left to give is not: its pods took what it had, or it is no node to count on."""
KEPT: Final = 1
"""Addresses that a node without pods keeps: without any it could not become Ready after a restart."""


@dataclass(frozen=True, slots=True)
class RecallPlan:
    """What a round does about it. Counts are addresses."""

    asked: Mapping[str, Recall] = field(default_factory=dict)
    """New wishes, by node."""
    starving: Mapping[str, int] = field(default_factory=dict)
    """Nodes whose pods wait because there is no room, and how many of the recalled addresses each may expect."""
    under_way: Mapping[str, int] = field(default_factory=dict)
    """Nodes that are to give back, those newly asked included, and how many each."""
    ended: Collection[str] = ()
    """Nodes whose wish is withdrawn."""
    short: int = 0
    """How many addresses pods wait for, whether there is room for them or not."""


NO_RECALLS: Final = RecallPlan()


def plan_recalls(
    quota: VNetQuota,
    nodes: Sequence[NodeRecord],
    *,
    counted: Callable[[NodeRecord], bool],
    number: int,
    slowed: Collection[str] = (),
) -> RecallPlan:
    """Decide from one read of everything.

    `counted`: whether a node may be counted on. New wishes get `number`, or a higher one. `slowed`: nodes that Azure
    asked to wait: they write no NIC for now, so they neither give nor use what others give.
    """
    able = [node for node in nodes if node.name not in slowed]
    short = _short(quota, able)
    reliable = [node for node in able if counted(node)]
    under_way = {node.name: count for node in reliable if (count := expected(quota, node))}
    room = quota.grantable - quota.granted
    if not short or sum(short.values()) <= room:  # what they wait for is only their turn
        return RecallPlan(under_way=under_way, short=sum(short.values()))
    coming = sum(under_way.values())
    # Where the ledger holds more than may be granted, that much must go before anybody is granted anything.
    missing = sum(short.values()) - room - coming
    able_to_give = [node for node in reliable if node.name not in under_way and _may_give(quota, node)]
    givers = {node: spare for node in able_to_give if (spare := _unused(quota, node) + _idle(node))}
    helps = sum(givers.values()) + coming + room > 0
    asked = {}
    for node, count in _takes(givers, missing).items() if helps else ():
        last = node.recall.number if node.recall is not None else 0
        hold = node.view.allocated + _unused(quota, node) - count
        asked[node.name] = Recall(max(number, last + 1), hold=hold)
        under_way[node.name] = count
    expects = sum(under_way.values()) + min(0, room)
    return RecallPlan(asked=asked, starving=_shared(short, expects), under_way=under_way, short=sum(short.values()))


def _short(quota: VNetQuota, nodes: Sequence[NodeRecord]) -> dict[str, int]:
    """How many addresses the pods of each node lack that wait because the quota has no room for them."""
    former = ledger_changes.held_by_former(quota.entries)
    short = {}
    for node in nodes:
        entry, request = ledger_changes.entry_of(quota.entries, node), node.view.request
        # Only a request that was decided shows that there is no room for it. A paused node asks for no growth.
        if not node.waiting or node.write_intent is not WriteIntent.GROW or entry.request_id != request.number:
            continue
        needed = min(node.view.allocated + node.waiting, request.count, quota.limits.per_node - former[node.name])
        if needed > entry.count:
            short[node.name] = needed - entry.count
    return short


def _shared(short: Mapping[str, int], coming: int) -> dict[str, int]:
    """How many each of them may expect of what is coming; all that wait are named."""
    shares = {}
    for name, count in short.items():
        shares[name] = max(0, min(count, coming))
        coming -= shares[name]
    return shares


def expected(quota: VNetQuota, node: NodeRecord) -> int:
    """How many addresses the node's entry is still to fall by for its wish; 0 without one."""
    if node.recall is None:
        return 0
    met = node.recall_met == node.recall.number
    keeps = max(node.recall.hold, node.view.allocated - node.releasable) + _for_others(node)
    stays = node.view.needed if met else keeps
    return max(0, ledger_changes.entry_of(quota.entries, node).count - stays)


def _may_give(quota: VNetQuota, node: NodeRecord) -> bool:
    """Not while it grows: what it will have idle then is not known yet. One that only asks to grow has its answer."""
    grows = node.write_intent is WriteIntent.GROW and _not_on_nic(quota, node) > 0
    return not node.waiting and not grows


def _for_others(node: NodeRecord) -> int:
    """How many addresses it asks for because others use configurations of its own: a recall brings none of these."""
    return max(0, node.view.request.count - max(node.target, node.view.allocated))


def _not_on_nic(quota: VNetQuota, node: NodeRecord) -> int:
    """What the ledger has for its pods beyond what it holds."""
    entry = ledger_changes.entry_of(quota.entries, node)
    return entry.count - _for_others(node) - node.view.allocated


def _unused(quota: VNetQuota, node: NodeRecord) -> int:
    """How much of that a lower target gives back: what the node would have if its subnet were not full."""
    return max(0, min(node.target - node.view.allocated, _not_on_nic(quota, node)))


def _idle(node: NodeRecord) -> int:
    return max(0, min(node.releasable, node.free, node.view.allocated - KEPT))


def _takes(givers: Mapping[NodeRecord, int], missing: int) -> dict[NodeRecord, int]:
    """How many each gives, those with most first: at first half of it, so that few soon lack some for their pods."""
    richest = sorted(givers, key=lambda node: (-givers[node], node.name))
    takes: dict[NodeRecord, int] = {}
    for halved in (True, False):
        for node in richest:
            most = -(-givers[node] // 2) if halved else givers[node]
            count = min(most - takes.get(node, 0), missing)
            if count > 0:
                takes[node] = takes.get(node, 0) + count
                missing -= count
    return takes


@dataclass(frozen=True, slots=True)
class _Wish:
    """One that a node was seen to have; monotonic seconds, and its entry then."""

    number: int
    since_s: float
    entry: int
    told: bool
    """What came of it is known: the entry has fallen since, or the node was left alone because it did not."""


class RecallTracker:
    """What the nodes of one VNet made of their wishes, and when pods last waited. A new term counts again."""

    def __init__(self) -> None:
        self._wishes: dict[str, _Wish] = {}
        self._deaf: dict[str, float] = {}
        """Nodes that gave nothing back, and until when they are not asked; monotonic seconds."""
        self._starved_s: float | None = None

    def plan(
        self,
        quota: VNetQuota,
        nodes: Sequence[NodeRecord],
        *,
        now_s: float,
        utc_s: float,
        halted: bool,
        slowed: Collection[str] = (),
    ) -> RecallPlan:
        """Decide for one round. `halted`: Azure asks all to wait, so nothing new is recalled. `slowed`: it asks these."""
        self._see(quota, nodes, now_s=now_s, slowed=slowed)
        plan = plan_recalls(
            quota, nodes, counted=lambda node: node.name not in self._deaf, number=int(utc_s), slowed=slowed
        )
        if halted:
            known = {name: count for name, count in plan.under_way.items() if name not in plan.asked}
            plan = replace(plan, asked={}, under_way=known, starving=_shared(plan.starving, sum(known.values())))
        if self._starved_s is None or plan.starving:
            self._starved_s = now_s
        # What was given back a moment ago and is not granted to its pods yet is no plenty.
        plenty = not plan.starving and not is_near(quota.granted + plan.short, quota.grantable, was=True)
        if plenty or now_s - self._starved_s >= REST_S:
            return replace(plan, ended=[node.name for node in nodes if node.recall is not None])
        return plan

    def _see(self, quota: VNetQuota, nodes: Sequence[NodeRecord], *, now_s: float, slowed: Collection[str]) -> None:
        """Whom to count on: a node that does nothing about its wish is left alone for a while, and others are asked."""
        heard = {name for name, until_s in self._deaf.items() if now_s >= until_s}
        for name in heard:
            del self._deaf[name]
        wishes = {}
        for node in nodes:
            if node.recall is None:
                continue
            entry, recall = ledger_changes.entry_of(quota.entries, node).count, node.recall
            wish = self._wishes.get(node.name)
            if wish is not None and entry < wish.entry:  # late, because it was away or Azure was; but it obeys
                self._deaf.pop(node.name, None)
            # One that gave a part of it shows that it obeys: it has its time for the rest.
            if wish is None or wish.number != recall.number or entry < wish.entry or node.name in heard:
                wish = _Wish(recall.number, now_s, entry, wish is not None and wish.number == recall.number)
            if node.name in slowed:  # its time begins when it may write
                wish = replace(wish, since_s=now_s)
            wishes[node.name] = wish
            self._judge(node, wish, late=bool(expected(quota, node)), now_s=now_s)
        self._wishes = wishes

    def _judge(self, node: NodeRecord, wish: _Wish, *, late: bool, now_s: float) -> None:
        met = node.recall_met == wish.number
        patience_s = GIVES_S if node.write_intent is WriteIntent.SHRINK else OBEYS_S
        if late and now_s - wish.since_s >= patience_s:
            self._deaf.setdefault(node.name, now_s + DEAF_S)
        elif met and not wish.told and node.view.needed >= wish.entry:
            self._deaf.setdefault(node.name, wish.since_s + TOO_LATE_S)
