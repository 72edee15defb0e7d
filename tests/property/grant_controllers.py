"""The controllers of the small world: what they may write, and what they may still remember when it is so no longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from azure_cni.ipam.grants import Answer, PoolView, QuotaEntry, Reserve, TakeBack
from property.grant_world import NO_ENTRY, Node, Rules, Size, answered, taken_back

Ledger = tuple[QuotaEntry, QuotaEntry]

FIRST_LEDGER: Ledger = (QuotaEntry(0, 1), QuotaEntry(0, 1))


@dataclass(frozen=True)
class OldPool:
    """A controller that remembers a pool as it was."""

    node: int
    pool: PoolView


@dataclass(frozen=True)
class OldEntry:
    """A controller that remembers a ledger in which the node's entry was another."""

    node: int
    entry: QuotaEntry


@dataclass(frozen=True)
class TakesBack:
    """A controller between the two writes of a `TakeBack`, while the ledger is still as it was decided from."""

    node: int
    entry: QuotaEntry


@dataclass(frozen=True)
class FoundGone:
    """A controller that found the node gone, and its entry as it is here; since then the node has come back."""

    node: int
    entry: QuotaEntry


Memory = OldPool | OldEntry | TakesBack | FoundGone | None


# Their moves: what to call it, the memory of who made it, and what was written.


def writes_ledger(index: int, pool: PoolView, ledger: Ledger, rules: Rules, size: Size) -> Iterator[tuple[str, Ledger]]:
    """The ledger is guarded, so it is as now; the pool may be an old one."""
    room = rules.ceiling(limit=size.limit, per_node=size.per_node, others=ledger[1 - index].count)
    decision = rules.decide(pool, ledger[index], ceiling=room)
    if isinstance(decision, Reserve):
        changed = with_entry(ledger, index, decision.entry)
        if not rules.sum_guarded or sum(one.count for one in changed) <= size.limit:
            yield f"controller reserves {_entry(decision.entry)} for node {index}", changed


def writes_pool(index: int, node: Node, entry: QuotaEntry, rules: Rules) -> Iterator[tuple[str, Memory, Node]]:
    """The pool is guarded, so it is as now; the entry may be an old one.

    Whether there was more room is left open: with `ceiling` 0 the entry stands as it is, and what can be written to
    the pool by any ceiling can be written by this one.
    """
    decision = rules.decide(node.pool, entry, ceiling=0)
    if isinstance(decision, Answer):
        label = f"controller grants node {index} {decision.granted} for #{decision.granted_for}"
        yield label, None, answered(node, decision, rules)
    elif isinstance(decision, TakeBack):
        label = f"controller takes back node {index}'s grant to {decision.granted}"
        yield label, TakesBack(index, decision.entry), taken_back(node, decision, rules)


def reclaims(index: int, node: Node, ledger: Ledger) -> Iterator[tuple[str, Ledger]]:
    """A controller that has just read the ledger finds the node gone."""
    if node.gone and ledger[index] != NO_ENTRY:
        yield f"controller finds node {index} gone, removes its entry", with_entry(ledger, index, NO_ENTRY)


def still_reclaims(found: FoundGone, ledger: Ledger) -> Iterator[tuple[str, Ledger]]:
    """It does so only now that the node is back."""
    if ledger[found.node] == found.entry:
        label = f"controller, which had found node {found.node} gone, removes its entry {_entry(found.entry)}"
        yield label, with_entry(ledger, found.node, NO_ENTRY)


def node_came_back(memory: Memory, index: int, entry: QuotaEntry, _: Rules) -> tuple[Memory, ...]:
    """What a controller may remember once a node is back: that it was gone."""
    return (None, FoundGone(index, entry)) if memory is None else (memory,)


def pool_changed(memory: Memory, index: int, before: PoolView, after: PoolView, rules: Rules) -> tuple[Memory, ...]:
    """What a controller may remember once a pool has changed."""
    old, new = _remembered(before, rules), _remembered(after, rules)
    match memory:
        case None if old != new:
            return (None, OldPool(index, old))
        case OldPool(node=node, pool=pool) if (node, pool) == (index, new):
            return (None,)
        case OldEntry(node=node, entry=entry) if node == index and not _matters(entry, after, rules):
            return (None,)
        case _:
            return (memory,)


def entry_changed(
    memory: Memory, index: int, entries: tuple[QuotaEntry, QuotaEntry], pool: PoolView, rules: Rules
) -> tuple[Memory, ...]:
    """What a controller may remember once the ledger has changed in the node's entry; `entries` before and after."""
    old, new = entries
    match memory:
        case None if old != new and _matters(old, pool, rules):
            return (None, OldEntry(index, old))
        case OldEntry(node=node, entry=entry) if (node, entry) == (index, new):
            return (None,)
        case TakesBack() if rules.take_back_guarded and old != new:
            return (None,)
        case FoundGone() if rules.reclaim_guarded and old != new:
            return (None,)
        case _:
            return (memory,)


def _remembered(pool: PoolView, rules: Rules) -> PoolView:
    """What an old pool is good for is to reserve, and that is a matter of its request (test_grants.py sees to it)."""
    return PoolView(pool.request, granted=0, granted_for=0, allocated=0) if rules.are_ours else pool


def _matters(entry: QuotaEntry, pool: PoolView, rules: Rules) -> bool:
    """By the product's rules the entry of another request leads to no write of the pool, now or later."""
    return entry.request_id == pool.request.number or not rules.are_ours


def with_entry(ledger: Ledger, index: int, entry: QuotaEntry) -> Ledger:
    """The ledger with one node's entry."""
    return (entry, ledger[1]) if index == 0 else (ledger[0], entry)


def _entry(entry: QuotaEntry) -> str:
    return f"{entry.count} for #{entry.request_id}"
