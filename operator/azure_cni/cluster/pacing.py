"""Which requests are reserved now: fair shares of the addresses, and one budget for all NIC writes. Pure.

What the ledger must say before anything is granted comes first (`books`), then the shares and the tokens. Nodes with
pods that starve come first, then others that wait, then what is kept ready, and releases last; of one kind, those whose
last write is longest ago. A node that had its share of a minute's writes is behind all others whatever it says, and has
no more than `fairness` allows. A permit with which nothing can be written costs nothing: so a node that cannot grow
learns at once why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from azure_cni.api.pool import Wants
from azure_cni.api.quota import LedgerEntry, Tokens, VNetQuota
from azure_cni.cluster import allowance, books, fairness
from azure_cni.cluster.allowance import Ask
from azure_cni.cluster.books import Changes
from azure_cni.cluster.census import Member
from azure_cni.cluster.fairness import Use
from azure_cni.cluster.throttles import TRIAL_S, Heard
from azure_cni.ipam.grants import QuotaEntry, Reserve, ceiling, decide

NONE = LedgerEntry()


@dataclass(frozen=True, slots=True)
class Paced:
    """What a round writes to the ledger, and who has to wait."""

    changes: Changes
    costs: Mapping[str, int]
    """The nodes whose requests are reserved, and how many tokens each costs."""
    delayed: frozenset[str]
    """Nodes whose requests wait for a token, or for Azure."""
    spent: frozenset[str]
    """Those of them that had as much as one node gets in a minute."""
    slowed: Mapping[str, float]
    """Those of them whom Azure asked to wait, and until when, seconds since 1970."""
    tokens: Tokens
    turned_back: bool
    """The budget's time was far ahead: it is to be written for that alone, or it would be counted from now for ever."""
    throttled_until_s: float | None
    throttled_anew_s: float
    """How long Azure asks to wait, if that is news."""
    due_s: float
    """Seconds until the next of them may be reserved."""


def paced(
    quota: VNetQuota,
    members: Sequence[Member],
    *,
    vanished: Mapping[str, LedgerEntry],
    heard: Heard,
    uses: Mapping[str, Use],
    now_s: float,
    monotonic_s: float,
) -> Paced:
    """Decide it of one read of everything; times are since 1970, but those of `uses` and `monotonic_s`."""
    changes = books.corrections(quota, members, vanished)
    entries = books.after(quota.entries, changes)
    known_s, per_minute = heard.known_until_s, quota.limits.writes_per_minute
    until_s = heard.all_until_s
    throttled, anew = until_s > now_s, until_s > max(known_s, now_s)
    tokens = allowance.counted(quota.tokens, per_minute=per_minute, now_s=now_s, throttled_until_s=known_s)
    if anew and known_s <= now_s:  # a storm is one: what prolongs it does not slow us further
        tokens = allowance.slowed(tokens)
    left = min(tokens.tokens, float(heard.trial)) if throttled else tokens.tokens
    turns = _turns(members, uses, share=fairness.share(per_minute=per_minute, nodes=len(members)))
    reserved = _reserved(quota, turns, entries, uses=uses, slowed=heard.slowed, permits=int(left))
    changes |= reserved.entries
    tokens = replace(tokens, tokens=tokens.tokens - sum(reserved.costs.values()))
    due_s = min(until_s - now_s, TRIAL_S) if throttled else allowance.next_token_s(tokens, per_minute=per_minute)
    again_s = min((heard.slowed[name] - now_s for name in reserved.slowed), default=float("inf"))
    again_s = min((uses[name].free_s - monotonic_s for name in reserved.spent), default=again_s)
    return Paced(
        changes=changes,
        costs=reserved.costs,
        delayed=frozenset(reserved.delayed | reserved.spent | reserved.slowed),
        spent=frozenset(reserved.spent),
        slowed={name: heard.slowed[name] for name in reserved.slowed},
        tokens=tokens,
        turned_back=quota.tokens is not None and tokens.time_s < quota.tokens.time_s,
        throttled_until_s=until_s if throttled else None,
        throttled_anew_s=until_s - max(known_s, now_s) if anew else 0.0,
        due_s=min(due_s if reserved.delayed else float("inf"), max(0.0, again_s)),
    )


@dataclass(frozen=True, slots=True)
class _Reserved:
    """The entries to write with the tokens that each costs, and the nodes that wait: for tokens, a minute, or Azure."""

    entries: Changes = field(default_factory=dict)
    costs: dict[str, int] = field(default_factory=dict)
    delayed: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    slowed: set[str] = field(default_factory=set)


def _reserved(
    quota: VNetQuota,
    members: Sequence[Member],
    entries: Mapping[str, LedgerEntry],
    *,
    uses: Mapping[str, Use],
    slowed: Mapping[str, float],
    permits: int,
) -> _Reserved:
    """Decide for each of `members`, in their turns."""
    granted = sum(entry.count for entry in entries.values())
    others = granted - sum(entries.get(member.name, NONE).count for member in members)
    per_node = {
        member.name: max(0, quota.limits.per_node - books.held_by_former(entries, member.name)) for member in members
    }
    asks = [_ask(per_node[member.name], member, entries.get(member.name, NONE)) for member in members]
    reserved = _Reserved()
    for member, share in zip(members, allowance.shares(asks, max(0, quota.grantable - others)), strict=True):
        entry = entries.get(member.name, NONE)
        room = ceiling(limit=quota.grantable, per_node=per_node[member.name], others=granted - entry.count)
        decision = decide(member.view, QuotaEntry(entry.count, entry.request_id), ceiling=min(room, share))
        if not isinstance(decision, Reserve):
            continue
        wanted = LedgerEntry(decision.entry.count, decision.entry.request_id, member.nic or entry.nic)
        cost = _costs(member, wanted)
        if uses.get(member.name, fairness.NOTHING).is_spent:
            reserved.spent.add(member.name)
            continue
        if cost and member.name in slowed:
            reserved.slowed.add(member.name)
            continue
        if cost > permits:
            reserved.delayed.add(member.name)
            continue
        permits -= cost
        granted += wanted.count - entry.count
        reserved.entries[member.name] = wanted
        reserved.costs[member.name] = cost
    return reserved


def _ask(per_node: int, member: Member, entry: LedgerEntry) -> Ask:
    """What a node should have. One that has not spoken keeps what it has."""
    if not member.view.request.number:
        return Ask(entry.count, entry.count, entry.count)
    requested = min(member.view.request.count, per_node)
    needed = min(requested, member.view.allocated + member.waiting)
    return Ask(granted=entry.count, needed=needed, requested=requested)


def _costs(member: Member, entry: LedgerEntry) -> int:
    """The tokens for an answer: none, where nothing can be written with it."""
    match member.wants:
        case Wants.NOTHING:
            return 0
        case Wants.GROW:
            return int(entry.count > member.view.allocated)
        case Wants.MEND | Wants.RELEASE:
            return 1
        case _:
            assert_never(member.wants)


def _turns(members: Sequence[Member], uses: Mapping[str, Use], *, share: int) -> list[Member]:
    """Round robin, so that who asks more often is not served more often."""

    def turn(member: Member) -> tuple[bool, int, float, float, str]:
        use = uses.get(member.name, fairness.NOTHING)
        return use.permits >= share, _rank(member), use.last_s, member.asking_since_s, member.name

    return sorted(members, key=turn)


def _rank(member: Member) -> int:
    """Starving, waiting, filling up, giving back."""
    if member.waiting:
        return 1 if member.free else 0
    return 3 if member.wants is Wants.RELEASE else 2
