"""Which requests are reserved now: fair shares of the addresses, and one budget for all NIC writes. Pure.

What the ledger must say before anything is granted comes first (`books`), then the shares and the tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from azure_cni.api.pool import Wants
from azure_cni.api.quota import LedgerEntry, Tokens, VNetQuota
from azure_cni.cluster import books
from azure_cni.cluster.books import Changes
from azure_cni.cluster.census import Member
from azure_cni.ipam.grants import QuotaEntry, Reserve, ceiling, decide


@dataclass(frozen=True, slots=True)
class Paced:
    """What a round writes to the ledger, and who has to wait."""

    changes: Changes
    permits: int
    """How many tokens they cost."""
    delayed: frozenset[str]
    """Nodes whose requests wait for a token, or for Azure."""
    tokens: Tokens
    throttled_until_s: float | None
    due_s: float
    """Seconds until the next of them may be reserved."""


def paced(quota: VNetQuota, members: Sequence[Member], *, vanished: Mapping[str, LedgerEntry], now_s: float) -> Paced:
    """Decide it of one read of everything; `now_s` is since 1970."""
    changes = books.corrections(quota, members, vanished)
    entries = books.after(quota.entries, changes)
    until_s = max([quota.throttled_until_s or 0.0, *(member.throttled_until_s for member in members)])
    throttled = until_s > now_s
    rate = quota.limits.writes_per_minute / 60 * 0.95
    before = quota.tokens or Tokens(tokens=0.0, time_s=now_s - 60, pace=1.0)
    capacity = max(1.0, 0.05 * quota.limits.writes_per_minute)
    tokens = min(capacity, before.tokens + max(0.0, now_s - before.time_s) * rate)
    granted, permits, delayed = sum(entry.count for entry in entries.values()), 0, set()
    for member in sorted(members, key=_turn):
        entry = entries.get(member.name, LedgerEntry())
        room = ceiling(limit=quota.grantable, per_node=quota.limits.per_node, others=granted - entry.count)
        match decide(member.view, QuotaEntry(entry.count, entry.request_id), ceiling=room):
            case Reserve(entry=reserved):
                cost = 0 if member.wants is Wants.NOTHING else 1
                if cost and (throttled or tokens < 1):
                    delayed.add(member.name)
                    continue
                tokens, permits = tokens - cost, permits + cost
                granted += reserved.count - entry.count
                changes[member.name] = LedgerEntry(reserved.count, reserved.request_id, member.nic or entry.nic)
            case _:
                pass
    due_s = (until_s - now_s if throttled else (1 - tokens) / rate + 0.01) if delayed else float("inf")
    return Paced(
        changes,
        permits,
        frozenset(delayed),
        Tokens(tokens, now_s, before.pace),
        until_s if throttled else None,
        max(due_s, 0.0),
    )


def _turn(member: Member) -> tuple[int, str]:
    if member.waiting:
        return (0 if not member.free else 1, member.name)
    return (3 if member.wants is Wants.RELEASE else 2, member.name)
