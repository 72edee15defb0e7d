"""Reserve before write: how a node asks for addresses and how it is answered, as pure decisions.

The invariant (P5): at every instant what a node's NIC holds, or could hold once a write in flight has ended, is at
most its entry in the quota's ledger, and the entries' sum is at most the limit. Six rules keep it, whoever dies,
sleeps or acts on an old read in between. Rules 1 and 3 are the node's, 2 and 4 the controller's; the fifth is the
API server's, which refuses a ledger over the limit. The sixth is about nodes that go, and come back under their names:
a new pool's request numbers differ from those of the old one (`api.node_ip_pool`), and an entry leaves the ledger only
in a write on the version that was read before pool and NIC were found gone (`cluster.reclaimer`).

Every write that follows from a decision here is one compare-and-swap, the node's requests too: a late one, from an
agent that is gone, finds the pool changed and fails.

tests/property/test_grant_walk.py explores every sequence of events for these functions in a small model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from azure_cni.api.node_ip_pool import PoolView, Request


def self_grant(requested: int, maximum: int) -> int:
    """What a node that answers its own requests allows itself: what it asks for, up to its pool's `max`."""
    return min(requested, maximum)


# The node's side.


def first_request(last: Request) -> Request:
    """Rule 1, across a restart: an agent begins with a number of its own, even where nothing else changes.

    `last` is the request as the API server holds it now. Until the new one is written there, a request that the agent
    before this one had sent may still arrive; afterwards it fails, because the pool has changed.
    """
    return Request(count=last.count, number=last.number + 1)


def next_request(last: Request, *, wanted: int, on_nic: int, in_flight: int) -> Request:
    """Rule 1: the request is never below what the NIC holds or could come to hold, and its number rises with it.

    `last` is the newest request that this agent tried to write, whether or not it learned that it arrived; `on_nic`
    what the NIC held when last read; `in_flight` the most that a write not known to have ended could leave there, 0
    when there is none. Counts are addresses.
    """
    count = max(wanted, on_nic, in_flight)
    return last if count == last.count else Request(count=count, number=last.number + 1)


def renewed_request(last: Request) -> Request:
    """The same count under a new number: the answer to the one before has been used for its write of the NIC."""
    return Request(count=last.count, number=last.number + 1)


def is_superseded(mine: Request, *, shown: Request) -> bool:
    """Rule 1, across a restart: the pool shows a request that is not this agent's, and it came before its own.

    Then the agent begins again, with the `first_request` after the one shown.
    """
    return shown != mine and shown.number >= mine.number


def left_in_flight(pool: PoolView) -> int:
    """Rule 1, across a restart: the most that a write of the agent before this one could leave on the NIC.

    By rule 3 such a write goes no further than the request and the grant, and neither falls below it since.
    """
    return min(pool.request.count, pool.granted)


def usable(request: Request, pool: PoolView) -> int:
    """Rule 3: how many addresses the node may hold by the pool as it saw it; 0 until its newest request is answered.

    An outdated view is safe: while the request is unchanged, nothing that it covers is taken back.
    """
    if pool.request != request or pool.granted_for != request.number:
        return 0
    return min(request.count, pool.granted)


# The controller's side.


@dataclass(frozen=True, slots=True)
class QuotaEntry:
    """One node's entry in the quota's ledger: what it may hold, and the request that this was last decided for."""

    count: int = 0
    request_id: int = 0


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing to write: the request is met as far as the limits allow."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Write `entry` to the ledger; entries of many nodes may go in one write. With it, decide again."""

    entry: QuotaEntry


@dataclass(frozen=True, slots=True)
class Answer:
    """Write `granted` and `granted_for` to the pool, together."""

    granted: int
    granted_for: int


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Write `granted` to the pool; when that succeeded, and only then, `entry` to the ledger.

    The pool must be written even where it says `granted` already: that is what proves its request to be the newest.
    The ledger's write holds only against the version that this was decided from, which is older than the pool's write.
    """

    granted: int
    entry: QuotaEntry


Decision: TypeAlias = Unchanged | Reserve | Answer | TakeBack


def ceiling(*, limit: int, per_node: int, others: int) -> int:
    """How many addresses one node may be granted; `others` is the sum of the other nodes' entries."""
    return max(0, min(per_node, limit - others))


def decide(pool: PoolView, entry: QuotaEntry, *, ceiling: int) -> Decision:
    """The next compare-and-swap for one node, from one read of its pool and of its entry, in either order.

    Rule 2, on the way up: the ledger first. Its count never falls here, and the request's number is recorded even when
    the count stays: so a controller that decided on the ledger as it was before finds it changed. Then the pool.
    Rule 4, on the way down: only what is answered in the pool and in the ledger; the pool first.
    A pool without a number was never written by its agent, and says nothing about its NIC.
    """
    number = pool.request.number
    if not number:
        return Unchanged()
    reserved = QuotaEntry(max(entry.count, min(pool.request.count, ceiling)), number)
    if entry != reserved:
        return Reserve(reserved)
    granted = min(entry.count, pool.needed)
    if pool.granted_for != number or pool.granted < granted:
        return Answer(granted, number)
    if entry.count > pool.needed:
        return TakeBack(pool.needed, QuotaEntry(pool.needed, number))
    return Unchanged()
