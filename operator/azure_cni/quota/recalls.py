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
  five minutes, or until the quota is no longer near its limit; for its own pods it may ask at any time.
- A node shrinks once for each wish, and only to what was named. Few nodes give much, because each gives by a NIC write:
  the richest half of what it has idle, and all of it only when such halves are not enough.

Whom to count on, and when pods last waited, is `recall_tracker`. The same for a subnet that has no more is in
`subnet_recalls`.

Nothing is recalled that would help nobody: not while Azure asks all to wait, not for or from a node that it asks to
wait, not beyond what waits, and not if all that is idle would not bring the ledger below its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from azure_cni.api.node_ip_pool import Recall, WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota
from azure_cni.quota import ledger_changes
from azure_cni.quota.fair_share import ShareRequest, fair_shares
from azure_cni.quota.node_record import NodeRecord

FEW: Final = 8
"""Of so many idle addresses a node gives all that is missing: by halves it would write its NIC again and again.
"""
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
    """How many addresses pods wait for that the quota could give, whether it has room for them or not."""
    in_subnets: Mapping[str, str] = field(default_factory=dict)
    """Those of `starving` that wait because their subnet has no more, and which subnet that is."""
    answers: Mapping[str, int] = field(default_factory=dict)
    """How many of what these wait for others were asked to give since the subnet last refused them."""

    @property
    def quota_starves(self) -> bool:
        """Pods wait because the quota has no more."""
        return len(self.starving) > len(self.in_subnets)

    @property
    def asked_for(self) -> dict[str, int]:
        """How many addresses each node that is newly asked is to give back."""
        return {name: self.under_way[name] for name in self.asked}

    @property
    def recalled_in_subnets(self) -> int:
        """How many addresses are to be given back in full subnets."""
        return sum(self.starving[name] for name in self.in_subnets)


NO_RECALLS: Final = RecallPlan()


def plan_recalls(
    quota: VNetQuota,
    nodes: Sequence[NodeRecord],
    *,
    counted: Callable[[NodeRecord], bool],
    number: int,
    slowed: Collection[str] = (),
    halted: bool = False,
) -> RecallPlan:
    """Decide from one read of everything.

    `counted`: whether a node may be counted on. New wishes get `number`, or a higher one. `slowed`: nodes that Azure
    asked to wait: they write no NIC for now, so they neither give nor use what others give. `halted`: it asks all to,
    so nothing new is recalled.
    """
    able = [node for node in nodes if node.name not in slowed]
    short = _short(quota, able)
    reliable = [node for node in able if counted(node)]
    under_way = {node.name: count for node in reliable if (count := expected(quota, node))}
    room = quota.grantable - quota.granted
    lacking, coming = sum(short.values()), sum(under_way.values())
    if not short or lacking <= room:  # what they wait for is only their turn
        return RecallPlan(under_way=under_way, short=lacking)
    # Where the ledger holds more than may be granted, that much must go before anybody is granted anything.
    missing = lacking - room - coming
    able_to_give = [node for node in reliable if node.name not in under_way and may_give(quota, node)]
    givers = {node: spare for node in able_to_give if (spare := _unused(quota, node) + idle(node))}
    helps = sum(givers.values()) + coming + room > 0
    asked = {}
    for node, count in takes(givers, missing).items() if helps and not halted else ():
        last = node.recall.number if node.recall is not None else 0
        hold = node.view.allocated + _unused(quota, node) - count
        asked[node.name] = Recall(max(number, last + 1), hold=hold)
        under_way[node.name] = count
    expects = sum(under_way.values()) + min(0, room)
    have = {name: quota.entries.get(name, LedgerEntry()).count for name in short}
    return RecallPlan(asked, shared(have, short, expects), under_way, short=lacking)


def _short(quota: VNetQuota, nodes: Sequence[NodeRecord]) -> dict[str, int]:
    """How many addresses the pods of each node lack that wait because the quota has no room for them."""
    former = ledger_changes.held_by_former(quota.entries)
    short = {}
    for node in nodes:
        entry, request = ledger_changes.entry_of(quota.entries, node), node.view.request
        # Only a request that was decided shows that there is no room for it. A paused node asks for no growth.
        if not node.waiting or node.write_intent is not WriteIntent.GROW or entry.request_id != request.number:
            continue
        needed = node.in_blocks(node.view.allocated + node.waiting)
        needed = min(needed, request.count, quota.limits.per_node - former[node.name])
        if needed > entry.count:
            short[node.name] = needed - entry.count
    return short


def shared(have: Mapping[str, int], short: Mapping[str, int], coming: int) -> dict[str, int]:
    """How many each that is short may expect of what is coming, as it will be shared; all that wait are named."""
    needs = {name: have[name] + count for name, count in short.items()}
    requests = [ShareRequest(have[name], need, need) for name, need in needs.items()]
    shares = fair_shares(requests, sum(have[name] for name in short) + max(0, coming))
    return {name: share - have[name] for name, share in zip(short, shares, strict=True)}


def expected(quota: VNetQuota, node: NodeRecord) -> int:
    """How many addresses the node's entry is still to fall by for its wish; 0 without one."""
    if node.recall is None:
        return 0
    met = node.recall_met == node.recall.number
    keeps = max(node.recall.hold, node.view.allocated - node.releasable) + for_others(node)
    stays = node.view.needed if met else keeps
    return max(0, ledger_changes.entry_of(quota.entries, node).count - stays)


def may_give(quota: VNetQuota, node: NodeRecord) -> bool:
    """Not while it grows: what it will have idle then is not known yet. One that only asks to grow has its answer."""
    grows = node.write_intent is WriteIntent.GROW and not_on_nic(quota, node) > 0
    return not node.waiting and not grows


def for_others(node: NodeRecord) -> int:
    """How many addresses it asks for because others use configurations of its own: a recall brings none of these."""
    return max(0, node.view.request.count - max(node.target, node.view.allocated))


def not_on_nic(quota: VNetQuota, node: NodeRecord) -> int:
    """What the ledger has for its pods beyond what it holds."""
    entry = ledger_changes.entry_of(quota.entries, node)
    return entry.count - for_others(node) - node.view.allocated


def _unused(quota: VNetQuota, node: NodeRecord) -> int:
    """How much of that a lower target gives back: what the node would have if its subnet were not full."""
    return max(0, min(node.target - node.view.allocated, not_on_nic(quota, node)))


def idle(node: NodeRecord) -> int:
    """How many addresses of its NIC it can give."""
    return max(0, min(node.releasable, node.free, node.view.allocated - KEPT))


def takes(givers: Mapping[NodeRecord, int], missing: int) -> dict[NodeRecord, int]:
    """How many each gives, those with most first: at first half of it, so that few soon lack some for their pods."""
    richest = sorted(givers, key=lambda node: (-givers[node], node.name))
    found: dict[NodeRecord, int] = {}
    for halved in (True, False):
        for node in richest:
            most = -(-givers[node] // 2) if halved and givers[node] > FEW else givers[node]
            count = min(most - found.get(node, 0), missing)
            if count > 0:
                found[node] = found.get(node, 0) + count
                missing -= count
    return found
