"""Which nodes may be counted on to give idle addresses back, and for how long wishes stand. Pure, but for what it
remembers.

A node may be away, slow, or lie, and pods wait for what it is to give. So each wish has its time, and a node that let
one pass is left alone for a while, and others are asked:

- A node has `OBEYS_S` to ask for the write by which it gives, and `GIVES_S` from when the ledger has that request. What
  it gives of it meanwhile changes nothing: an honest node gives all in one write.
- One that says nothing remains to be done, and gave nothing, had its pods take what it had. If it said so at once, that
  cost nobody much: it rests for `TOO_LATE_S`, twice as long each time in a row. So does one that was away. If it kept
  others waiting for longer, it is as one that does not give.
- One that gives after all is counted on again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota
from azure_cni.ipam.near_limit import is_near
from azure_cni.quota import ledger_changes
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.recalls import RecallPlan, expected, for_others, not_on_nic, plan_recalls
from azure_cni.quota.subnet_recalls import Answered, with_subnets
from azure_cni.quota.subnets import has_plenty, name_of

REST_S: Final = 300.0
"""For how long no pod may have waited before nodes may fill their reserves again: as long as a node keeps a surplus."""
GATHERS_S: Final = 3.0
"""After nodes were asked to give, others are not before this: what pods lack that came meanwhile is asked for together,
in fewer writes of NICs, each of which takes Azure 10 s or more.
"""
OBEYS_S: Final = 15.0
"""Within this a node asks for the write by which it gives back, or it is not counted on."""
GIVES_S: Final = 180.0
"""Within this it has given back from when the ledger has its request: Azure takes 10 s or more over a write."""
DEAF_S: Final = 3600.0
"""How long a node that did nothing about its wish is not asked again, unless it gives something after all."""
TOO_LATE_S: Final = 60.0
"""How long one that had nothing left to give is not, at first."""
TRIES_S: Final = 600.0
"""Within this a node that its subnet refused has tried again, or nobody is kept from a reserve for it: its pauses are
two minutes at most, and then it may have to wait for its turn to write.
"""
MOST_IN_VAIN: Final = 3
"""How many refusals of one node are answered within that time while it gets nothing. Azure was seen to count an address
for eight minutes after it was given back, and meanwhile each answer would only take the reserves of more nodes.
"""
FOREVER_S: Final = float("inf")


@dataclass(frozen=True, slots=True)
class _Wish:
    """One that a node was seen to have."""

    number: int
    since_s: float
    """Monotonic time from which it has its time."""
    entry: int
    """The node's entry when it was written, or has fallen to since."""
    request: int | None = None
    """The node's first request for a write since then."""
    judged: bool = False
    """What came of it is known: it was met, or the node was left alone because it was not."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """By our clock, and by the one that readings of Azure have their times from (since 1970)."""

    now_s: float
    utc_s: float


class RecallTracker:
    """What the nodes of one VNet made of their wishes, and when pods last waited. A new term counts again."""

    def __init__(self) -> None:
        self._wishes: dict[str, _Wish] = {}
        self._deaf: dict[str, float] = {}
        """Nodes that gave nothing back, and until when they are not asked; monotonic seconds."""
        self._wasted: dict[str, int] = {}
        """By node: how many wishes in a row came to nothing."""
        self.gathers_until_s = -FOREVER_S
        """Monotonic time before which nobody is asked for more."""
        self._starved_s: float | None = None
        """When pods last waited because of the quota; None before the first round."""
        self._starved_subnets: dict[str, _Moment] = {}
        """The same of full subnets, by name."""
        self._answered: dict[str, Answered] = {}
        """Nodes that their subnet refused addresses, and what others were asked to give for it."""

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
        """Decide for one round. `slowed` and `halted` are as in `plan_recalls`."""
        self._see(quota, nodes, now_s=now_s, slowed=slowed)
        halted = halted or now_s < self.gathers_until_s
        number = int(utc_s)
        plan = plan_recalls(quota, nodes, counted=self._counts, number=number, slowed=slowed, halted=halted)
        plan = with_subnets(
            plan,
            quota,
            self._without_stale_refusals(nodes, now_s=now_s),
            counted=self._counts,
            number=number,
            answered=self._answered,
            slowed=slowed,
            halted=halted,
        )
        if plan.asked:
            self.gathers_until_s = now_s + GATHERS_S
        for name, recall in plan.asked.items():
            entry = quota.entries.get(name, LedgerEntry()).count
            self._wishes[name] = _Wish(recall.number, now_s, entry)
        for name, count in plan.answers.items():
            known = self._answered[name]
            self._answered[name] = replace(known, count=max(known.count, count))
        self._note_starving(quota, plan, at=_Moment(now_s, utc_s))
        if not self._quota_has_rest(quota, plan, now_s=now_s):
            return plan
        wishes = [node for node in nodes if node.recall is not None]
        ended = [node.name for node in wishes if self._subnet_has_rest(quota, node.subnet, now_s=now_s)]
        return replace(plan, ended=ended)

    def _counts(self, node: NodeRecord) -> bool:
        return node.name not in self._deaf

    def _without_stale_refusals(self, nodes: Sequence[NodeRecord], *, now_s: float) -> list[NodeRecord]:
        """The nodes, without what their subnet refused so long ago that they do not try again."""
        answered = {}
        for node in nodes:
            if node.subnet_refused:
                known = self._answered.get(node.name)
                if known is None or known.refused != node.subnet_refused:
                    known = _next_refusal(node, known, now_s=now_s)
                answered[node.name] = known
        self._answered = answered
        stale = {name for name, known in answered.items() if now_s - known.since_s >= TRIES_S}
        return [replace(node, subnet_refused="") if node.name in stale else node for node in nodes]

    def _note_starving(self, quota: VNetQuota, plan: RecallPlan, *, at: _Moment) -> None:
        """When pods last waited, in the VNet and in each subnet. A new term may have missed it."""
        if self._starved_s is None:
            self._starved_s = at.now_s
            self._starved_subnets = {use.name.lower(): at for use in quota.subnets if use.near_since_s is not None}
        if plan.quota_starves:
            self._starved_s = at.now_s
        self._starved_subnets |= {name_of(subnet): at for subnet in plan.in_subnets.values()}
        recent = self._starved_subnets.items()
        self._starved_subnets = {name: since for name, since in recent if at.now_s - since.now_s < REST_S}

    def _quota_has_rest(self, quota: VNetQuota, plan: RecallPlan, *, now_s: float) -> bool:
        """No pod has waited for a while because of the quota, or it has plenty again."""
        # What was given back a moment ago and is not granted to its pods yet is no plenty.
        plenty = not plan.quota_starves and not is_near(quota.granted + plan.short, quota.grantable, was=True)
        return plenty or self._starved_s is None or now_s - self._starved_s >= REST_S

    def _subnet_has_rest(self, quota: VNetQuota, subnet: str, *, now_s: float) -> bool:
        """The same of a subnet, which has plenty when Azure has said so since."""
        starved = self._starved_subnets.get(name_of(subnet))
        if starved is None or now_s - starved.now_s >= REST_S:
            return True
        return has_plenty(quota, subnet) and quota.azure is not None and quota.azure.read_s > starved.utc_s

    def _see(self, quota: VNetQuota, nodes: Sequence[NodeRecord], *, now_s: float, slowed: Collection[str]) -> None:
        heard = {name for name, until_s in self._deaf.items() if now_s >= until_s}
        for name in heard:
            del self._deaf[name]
        wishes = {}
        for node in nodes:
            if node.recall is None:
                continue
            wish = self._wishes.get(node.name)
            if wish is None or wish.number != node.recall.number:
                # Another term wrote it, and what came of it is known if it is met already.
                entry = ledger_changes.entry_of(quota.entries, node).count
                wish = _Wish(node.recall.number, now_s, entry, judged=node.recall_met == node.recall.number)
            if node.name in heard:
                wish = replace(wish, since_s=now_s, request=None, judged=True)
            wishes[node.name] = self._judged(quota, node, wish, now_s=now_s, slowed=node.name in slowed)
        self._wishes = wishes
        self._wasted = {node.name: self._wasted[node.name] for node in nodes if node.name in self._wasted}

    def _judged(self, quota: VNetQuota, node: NodeRecord, wish: _Wish, *, now_s: float, slowed: bool) -> _Wish:
        """What came of the wish so far, and what that means for whether the node is asked again."""
        entry, owes = ledger_changes.entry_of(quota.entries, node), bool(expected(quota, node))
        met, hold = node.recall_met == wish.number, node.recall.hold if node.recall is not None else 0
        if entry.count < wish.entry and (met or entry.count <= hold + for_others(node)):
            self._deaf.pop(node.name, None)
            self._wasted.pop(node.name, None)
            wish = replace(wish, entry=entry.count, judged=True)
        busy = _is_busy(quota, node)
        if busy and wish.request is None:
            wish = replace(wish, request=node.view.request.number)
        # Its time begins when it may write, and when it owes something again.
        pending = busy and wish.request is not None and entry.request_id < wish.request
        if slowed or pending or (wish.judged and not owes):
            wish = replace(wish, since_s=now_s)
        took_s = now_s - wish.since_s
        if owes and took_s >= (GIVES_S if busy else OBEYS_S):
            self._deaf.setdefault(node.name, now_s + DEAF_S)
        elif met and not wish.judged and node.view.needed >= wish.entry:
            away = node.name in self._deaf and wish.request is None
            self._rest(node.name, now_s=now_s, kept_waiting=took_s > OBEYS_S and not away)
            wish = replace(wish, judged=True)
        return wish

    def _rest(self, name: str, *, now_s: float, kept_waiting: bool) -> None:
        """Leave a node alone whose wish came to nothing."""
        wasted = self._wasted.get(name, 0)
        rest_s = DEAF_S if kept_waiting else min(DEAF_S, TOO_LATE_S * 2.0 ** min(wasted, 8))
        self._deaf[name] = min(now_s + rest_s, self._deaf.get(name, FOREVER_S))
        self._wasted[name] = wasted + 1


def _next_refusal(node: NodeRecord, last: Answered | None, *, now_s: float) -> Answered:
    """What is known of a refusal that is new."""
    vain_s: tuple[float, ...] = ()
    if last is not None and node.view.allocated <= last.held:
        vain_s = last.vain_s if len(last.vain_s) >= MOST_IN_VAIN or not last.count else (*last.vain_s, last.since_s)
    vain_s = tuple(at_s for at_s in vain_s if now_s - at_s < TRIES_S)
    count = node.waiting if len(vain_s) >= MOST_IN_VAIN else 0
    return Answered(node.subnet_refused, count, now_s, node.view.allocated, vain_s)


def _is_busy(quota: VNetQuota, node: NodeRecord) -> bool:
    """It asks for a write, or makes one. A node that asks to grow and may not does neither."""
    if node.write_intent is WriteIntent.GROW:
        return not_on_nic(quota, node) > 0
    return node.write_intent is not WriteIntent.NONE
