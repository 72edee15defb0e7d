"""Which requests are reserved now: fair shares of the addresses, and one budget for all NIC writes. Pure.

What the ledger must say before anything is granted comes first (`books`), then the shares and the tokens. Nodes with
pods that starve come first, then others that wait, then what is kept ready, and releases last; of one kind, those that
have asked longest. A permit with which nothing can be written costs nothing: so a node that cannot grow learns at once
why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from azure_cni.api.pool import Wants
from azure_cni.api.quota import LedgerEntry, Tokens, VNetQuota
from azure_cni.cluster import allowance, books
from azure_cni.cluster.allowance import Ask
from azure_cni.cluster.books import Changes
from azure_cni.cluster.census import Member
from azure_cni.cluster.throttles import believable
from azure_cni.ipam.grants import QuotaEntry, Reserve, ceiling, decide

NONE = LedgerEntry()


@dataclass(frozen=True, slots=True)
class Paced:
    """What a round writes to the ledger, and who has to wait."""

    changes: Changes
    permits: int
    """How many tokens they cost."""
    delayed: frozenset[str]
    """Nodes whose requests wait for a token, or for Azure."""
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
    asked_until_s: float,
    now_s: float,
) -> Paced:
    """Decide it of one read of everything; times are since 1970.

    `asked_until_s` is until when Azure asked nodes to wait, as far as they are believed, 0 when it did not.
    """
    changes = books.corrections(quota, members, vanished)
    entries = books.after(quota.entries, changes)
    known_s, per_minute = believable(quota.throttled_until_s or 0.0, now_s=now_s), quota.limits.writes_per_minute
    until_s = max(known_s, asked_until_s)
    throttled, anew = until_s > now_s, until_s > max(known_s, now_s)
    tokens = allowance.counted(quota.tokens, per_minute=per_minute, now_s=now_s, throttled_until_s=known_s)
    if anew and known_s <= now_s:  # a storm is one: what prolongs it does not slow us further
        tokens = allowance.slowed(tokens)
    left = 0.0 if throttled else tokens.tokens
    reserved, delayed = _reserved(quota, sorted(members, key=_turn), entries, permits=int(left))
    changes |= {member.name: entry for member, entry in reserved}
    permits = sum(_costs(member, entry) for member, entry in reserved)
    tokens = replace(tokens, tokens=tokens.tokens - permits)
    due_s = until_s - now_s if throttled else allowance.next_token_s(tokens, per_minute=per_minute)
    return Paced(
        changes=changes,
        permits=permits,
        delayed=frozenset(delayed),
        tokens=tokens,
        turned_back=quota.tokens is not None and tokens.time_s < quota.tokens.time_s,
        throttled_until_s=until_s if throttled else None,
        throttled_anew_s=until_s - max(known_s, now_s) if anew else 0.0,
        due_s=due_s if delayed else float("inf"),
    )


def _reserved(
    quota: VNetQuota, members: Sequence[Member], entries: Mapping[str, LedgerEntry], *, permits: int
) -> tuple[list[tuple[Member, LedgerEntry]], list[str]]:
    """The entries to write, and the nodes that wait; `members` in their turns."""
    granted = sum(entry.count for entry in entries.values())
    others = granted - sum(entries.get(member.name, NONE).count for member in members)
    asks = [_ask(quota, member, entries.get(member.name, NONE)) for member in members]
    reserved: list[tuple[Member, LedgerEntry]] = []
    delayed: list[str] = []
    for member, share in zip(members, allowance.shares(asks, max(0, quota.grantable - others)), strict=True):
        entry = entries.get(member.name, NONE)
        room = ceiling(limit=quota.grantable, per_node=quota.limits.per_node, others=granted - entry.count)
        decision = decide(member.view, QuotaEntry(entry.count, entry.request_id), ceiling=min(room, share))
        if not isinstance(decision, Reserve):
            continue
        wanted = LedgerEntry(decision.entry.count, decision.entry.request_id, member.nic or entry.nic)
        cost = _costs(member, wanted)
        if cost > permits:
            delayed.append(member.name)
            continue
        permits -= cost
        granted += wanted.count - entry.count
        reserved.append((member, wanted))
    return reserved, delayed


def _ask(quota: VNetQuota, member: Member, entry: LedgerEntry) -> Ask:
    """What a node should have. One that has not spoken keeps what it has."""
    if not member.view.request.number:
        return Ask(entry.count, entry.count, entry.count)
    requested = min(member.view.request.count, quota.limits.per_node)
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


def _turn(member: Member) -> tuple[int, float, str]:
    return _rank(member), member.asking_since_s, member.name


def _rank(member: Member) -> int:
    """Starving, waiting, filling up, giving back."""
    if member.waiting:
        return 1 if member.free else 0
    return 3 if member.wants is Wants.RELEASE else 2
