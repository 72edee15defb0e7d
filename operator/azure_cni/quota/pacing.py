"""Which requests are reserved now: fair shares of the addresses, and one budget for all NIC writes. Pure.

A node asks by raising the number of its request. The answer to that number is its *grant*, which allows one write of
the node's NIC. An entry with that number must be in the ledger before the answer (`ipam.grants`), so this module
decides which entries the next write of the ledger contains. `plan_reservations` decides it from one read of all pools
and of the quota, and keeps nothing. Whatever changes in between makes the write fail, and the next round decides again.

The steps of a decision:

1. The corrections of the ledger (`ledger_changes`): nothing is granted on a ledger that leaves out what nodes hold.
2. The tokens that are left (`write_budget`). While Azure asks all to wait there are none, except one trial a minute,
   by which `throttling` finds out whether that is still true.
3. The turns. Nodes with waiting pods and no free address come first, then other nodes with waiting pods, then those
   that top up their spare addresses. Nodes that shrink are last, because nobody waits for that; unless their idle
   addresses are taken back for pods elsewhere (`recalls`), which is as urgent as those pods. Among equals, the node
   whose last grant is longest ago comes first. Only the node itself says that its pods wait, so a node that had its
   share of a minute's writes comes after all that had fewer, whatever it says.
4. For each node in its turn: how much it may have (`fair_share`, with what is being taken back for its pods, and the
   room that is left), what its grant costs, and whether it gets one now. A node that gets none is *spent* (it had all
   answers that one node gets in a minute), *slowed* (Azure asked this node to wait), or *delayed* (no token is left,
   or on an instance of a scale set none of those that Azure allows all instances, `instance_budget`).

A grant that allows no write costs nothing, so a node that cannot grow learns the reason at once. A node that waits
never delays those behind it: their grants may cost nothing, or they may be slowed themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, assert_never

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, Tokens, VNetQuota
from azure_cni.ipam.grants import QuotaEntry, Reserve, ceiling, decide
from azure_cni.quota import ledger_changes, write_budget
from azure_cni.quota.instance_budget import UNLIMITED, InstanceTokens
from azure_cni.quota.ledger_changes import Changes
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.node_shares import node_shares, share_request
from azure_cni.quota.throttling import TRIAL_S, ThrottleState
from azure_cni.quota.write_budget import NO_USE, RecentUse

NEVER_S: Final = float("inf")
SPENT_REST_S: Final = 5.0
"""A node that had too many answers begins no round sooner than this for its next one."""


@dataclass(frozen=True, slots=True)
class ReservationPlan:
    """What a round writes to the ledger, and which nodes wait."""

    changes: Changes
    costs: Mapping[str, int]
    """The nodes whose requests are reserved, and how many tokens each costs."""
    delayed: frozenset[str]
    """Nodes whose requests are not reserved yet, for whatever reason."""
    instances: frozenset[str]
    """Those of them that wait because Azure allows all instances of scale sets together no more writes for now."""
    spent: frozenset[str]
    """Those of them that had as many answers as one node gets in a minute."""
    slowed: Mapping[str, float]
    """Those of them that Azure asked to wait, and until when, seconds since 1970."""
    tokens: Tokens
    turned_back: bool
    """The budget's time was far ahead of our clock. It is written for that alone, or each round would start from it."""
    throttled_until_s: float | None
    new_throttling_s: float
    """How much longer Azure asks to wait than was known; 0 when that is no news."""
    due_s: float
    """Seconds until the next of the delayed requests may be reserved."""


def plan_reservations(
    quota: VNetQuota,
    nodes: Sequence[NodeRecord],
    *,
    vanished: Mapping[str, LedgerEntry],
    throttling: ThrottleState,
    uses: Mapping[str, RecentUse],
    now_s: float,
    monotonic_s: float,
    recalled: Mapping[str, int] = MappingProxyType({}),
    instances: InstanceTokens = UNLIMITED,
) -> ReservationPlan:
    """Decide from one read of everything. Times are since 1970, except those of `uses` and `monotonic_s`.

    `recalled`: nodes that are to give idle addresses back for pods that wait, and how many each. `instances`: what
    nodes on instances of Uniform scale sets may write, within the budget of all.
    """
    changes = ledger_changes.corrections(quota, nodes, vanished)
    entries = ledger_changes.after(quota.entries, changes)
    known_s, until_s = max(throttling.known_until_s, now_s), throttling.all_until_s
    tokens = _tokens_now(quota, throttling, now_s=now_s)
    # While all wait, one token at most is spent, and only on a trial; it comes out of the same budget.
    left = min(tokens.tokens, float(throttling.trial)) if until_s > now_s else tokens.tokens
    turns = _turns(nodes, uses, recalled)
    coming = sum(recalled.values())
    waits = _Waits(uses=uses, slowed=throttling.slowed, tokens=int(left), instances=instances.writes)
    reserved = _reserve(quota, turns, entries, coming=coming, waits=waits)
    tokens = replace(tokens, tokens=tokens.tokens - sum(reserved.costs.values()))
    due_s = min(
        _next_token_s(reserved, tokens, quota=quota, throttled_s=until_s - now_s),
        min((max(0.0, throttling.slowed[name] - now_s) for name in reserved.slowed), default=NEVER_S),
        instances.next_s if reserved.instances else NEVER_S,
        min((max(SPENT_REST_S, uses[name].free_s - monotonic_s) for name in reserved.spent), default=NEVER_S),
    )
    return ReservationPlan(
        changes=changes | reserved.entries,
        costs=reserved.costs,
        delayed=frozenset(reserved.delayed | reserved.instances | reserved.spent | reserved.slowed),
        instances=frozenset(reserved.instances),
        spent=frozenset(reserved.spent),
        slowed={name: throttling.slowed[name] for name in reserved.slowed},
        tokens=tokens,
        turned_back=quota.tokens is not None and tokens.time_s < quota.tokens.time_s,
        throttled_until_s=until_s if until_s > now_s else None,
        new_throttling_s=max(0.0, until_s - known_s),
        due_s=due_s,
    )


def _tokens_now(quota: VNetQuota, throttling: ThrottleState, *, now_s: float) -> Tokens:
    """The budget before anything is taken from it, at the pace that is left of it."""
    known_s, per_minute = throttling.known_until_s, quota.limits.writes_per_minute
    tokens = write_budget.counted(quota.tokens, per_minute=per_minute, now_s=now_s, throttled_until_s=known_s)
    # The pace is halved once for each storm, when it begins: a later answer of Azure's that prolongs the same storm
    # says nothing new about our pace.
    begins = known_s <= now_s < throttling.all_until_s
    return write_budget.slowed(tokens) if begins else tokens


@dataclass(slots=True)
class _Waits:
    """What nodes may have to wait for: their own doings, and the tokens that those before them have left."""

    uses: Mapping[str, RecentUse]
    slowed: Mapping[str, float]
    tokens: int
    instances: int
    """Writes of instances among them."""

    def take(self, node: NodeRecord, cost: int) -> None:
        """The node is granted a write that costs as much."""
        self.tokens -= cost
        self.instances -= cost if node.is_instance else 0


@dataclass(frozen=True, slots=True)
class _Reserved:
    """The entries to write with the tokens that each costs, and the nodes that wait, by what they wait for."""

    entries: Changes = field(default_factory=dict)
    costs: dict[str, int] = field(default_factory=dict)
    delayed: set[str] = field(default_factory=set)
    """For a token."""
    instances: set[str] = field(default_factory=set)
    """For a write of an instance that Azure allows."""
    spent: set[str] = field(default_factory=set)
    """For the minute to pass in which they had too many answers."""
    slowed: set[str] = field(default_factory=set)
    """For the time that Azure named to their agents."""

    def waiting(self, node: NodeRecord, *, cost: int, waits: _Waits) -> set[str] | None:
        """The nodes among which this one waits; None if it need not."""
        # Also for a grant that costs no token: each answer is a write of the ledger and of the pool.
        if waits.uses.get(node.name, NO_USE).is_spent:
            return self.spent
        # A grant that costs nothing writes no NIC, so Azure is not involved: the node learns at once that it cannot
        # grow.
        if cost and node.name in waits.slowed:
            return self.slowed
        if cost > waits.tokens:
            return self.delayed
        return self.instances if node.is_instance and cost > waits.instances else None


def _next_token_s(reserved: _Reserved, tokens: Tokens, *, quota: VNetQuota, throttled_s: float) -> float:
    """Seconds until a node that waits for a token may have one; `throttled_s`: how long Azure asks all to wait."""
    if not reserved.delayed:
        return NEVER_S
    # In a stop the next token is that of the next trial, or the first one after its end.
    if throttled_s > 0:
        return min(throttled_s, TRIAL_S)
    return write_budget.next_token_s(tokens, per_minute=quota.limits.writes_per_minute)


def _reserve(
    quota: VNetQuota,
    nodes: Sequence[NodeRecord],
    entries: Mapping[str, LedgerEntry],
    *,
    coming: int,
    waits: _Waits,
) -> _Reserved:
    """Decide for each of `nodes`, in their turns. `coming`: addresses that are being taken back for pods."""
    granted = sum(entry.count for entry in entries.values())
    # Entries of other nodes (vanished ones) and of former NICs: they are not shared, and leave less to share.
    others = granted - sum(ledger_changes.entry_of(entries, node).count for node in nodes)
    former = ledger_changes.held_by_former(entries)
    # What the nodes' own limits leave for their NICs: what their former NICs hold counts within them.
    limits = {node.name: max(0, quota.limits.per_node - former[node.name]) for node in nodes}
    requests = [share_request(limits[node.name], node, ledger_changes.entry_of(entries, node)) for node in nodes]
    reserved = _Reserved()
    shares = node_shares(nodes, requests, room=max(0, quota.grantable - others), coming=coming, slowed=waits.slowed)
    for node, share in zip(nodes, shares, strict=True):
        entry = ledger_changes.entry_of(entries, node)
        room = ceiling(limit=quota.grantable, per_node=limits[node.name], others=granted - entry.count)
        # A part of a block is of no use: a node of blocks gets the whole or nothing, the first in turn what is there.
        fits = node.usable(min(room, node.in_blocks(share)))
        decision = decide(node.view, QuotaEntry(entry.count, entry.request_id), ceiling=fits)
        # Nothing to reserve: the newest request is in the ledger, or there is none. `pool_updates` answers it.
        if not isinstance(decision, Reserve):
            continue
        wanted = LedgerEntry(decision.entry.count, decision.entry.request_id, node.nic or entry.nic)
        cost = _cost(node, wanted)
        wanted = replace(wanted, write_intent=node.write_intent if cost else WriteIntent.NONE)
        waiting = reserved.waiting(node, cost=cost, waits=waits)
        if waiting is not None:
            waiting.add(node.name)
            continue
        waits.take(node, cost)
        granted += wanted.count - entry.count
        reserved.entries[node.name] = wanted
        reserved.costs[node.name] = cost
    return reserved


def _cost(node: NodeRecord, entry: LedgerEntry) -> int:
    """The tokens for an answer; none where no write can follow from it."""
    match node.write_intent:
        case WriteIntent.NONE:
            return 0
        case WriteIntent.GROW:
            # Without more than it holds, the node cannot write its NIC: the answer only says why.
            return int(entry.count > node.view.allocated)
        case WriteIntent.REWRITE | WriteIntent.SHRINK | WriteIntent.ATTACH:
            return 1
        case _:
            assert_never(node.write_intent)


def _turns(nodes: Sequence[NodeRecord], uses: Mapping[str, RecentUse], recalled: Collection[str]) -> list[NodeRecord]:
    """Round robin, so that a node that asks more often is not served more often."""

    def turn(node: NodeRecord) -> tuple[int, int, float, float, str]:
        use = uses.get(node.name, NO_USE)
        return use.beyond_share, _rank(node, recalled), use.last_s, node.asking_since_s, node.name

    return sorted(nodes, key=turn)


def _rank(node: NodeRecord, recalled: Collection[str]) -> int:
    """Starving, waiting, topping up, releasing. What is released for pods that wait is waited for."""
    if node.waiting:
        return 1 if node.free else 0
    if node.write_intent is WriteIntent.SHRINK:
        return 1 if node.name in recalled else 3
    return 2
