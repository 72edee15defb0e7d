"""Telling people and waiting pods how the node stands: outlook, status, events."""

from __future__ import annotations

from typing import Any, Final

from azure_cni.api import conditions, reading
from azure_cni.api import pool as pool_api
from azure_cni.api.pool import Wants
from azure_cni.errors import InternalFault, Throttled
from azure_cni.node import prospects
from azure_cni.node.board import Board, Book
from azure_cni.node.troubles import Activity, Trouble, Troubles
from azure_cni.node.world import Standing, World

FAR_S: Final = 30.0
"""A pause at least so long has its end told."""


class Narrator:
    """Reads what the reconciler knows, and says it in every form that somebody reads."""

    def __init__(self, *, world: World, standing: Standing, book: Book, board: Board, troubles: Troubles) -> None:
        self._world = world
        self._standing = standing
        self._book = book
        self._board = board
        self._troubles = troubles
        self._times: dict[Activity, tuple[float, str]] = {}
        """When an activity is tried again, as boot time and in words: put in words once, so that they do not waver."""

    def announce(self) -> None:
        """Publish the outlook to the ADDs that wait."""
        snapshot, board = self._snapshot(), self._board
        board.at_limit = snapshot.at_limit or snapshot.refusal == conditions.Kind.QUOTA_EXCEEDED
        board.target, board.maximum = snapshot.target, self._standing.policy.maximum
        board.requested, board.granted = snapshot.requested, pool_api.view(self._standing.pool or {}).granted
        board.waiting = max(0, self._standing.waiting - snapshot.counts.free)
        board.throttled = self._troubles.find(Throttled) is not None
        board.announce(prospects.outlook(snapshot, self._troubles))

    def words(self, trouble: Trouble) -> str:
        """What people are told of a trouble."""
        return prospects.told(trouble, self._snapshot())

    async def tell(self, kind: str, reason: str, message: str) -> None:
        """An event on the pool; `kind` is Normal or Warning.

        What happened (Normal) is an event of its own, with its own numbers. A trouble (Warning) that comes back is one
        event with its newest words.
        """
        if self._standing.pool is None:
            return
        metadata = reading.metadata_of(self._standing.pool)
        reference = {
            "apiVersion": f"{pool_api.GROUP}/{pool_api.VERSION}",
            "kind": pool_api.KIND,
            "name": reading.text(metadata.get("name")),
            "uid": reading.text(metadata.get("uid")),
        }
        cause = message if kind == "Normal" else ""
        await self._world.events.publish(reference, kind=kind, reason=reason, message=message, cause=cause)

    def _snapshot(self) -> prospects.Snapshot:
        ledger, standing = self._book.ledger, self._standing
        return prospects.Snapshot(
            ready=self._board.ready,
            counts=ledger.counts(),
            paused=standing.policy.paused,
            target=standing.plan.target if standing.plan else 0,
            ceiling=standing.ceiling,
            requested=standing.asking.request.count,
            answered=standing.answered,
            asked_for_s=self._asked_for_s(),
            growing=standing.writing is Wants.GROW,
            updating=standing.writing is not Wants.NOTHING or (standing.view is not None and not standing.view.settled),
            withheld=0 if standing.writing is Wants.RELEASE else ledger.counts().releasing,
            observes=standing.observes,
            vnet_known=standing.vnet is not None,
            throttled_until=self._throttled_until(),
            lost=tuple(slot.address for slot in ledger.slots if not slot.on_nic),
            obstacle=self._board.obstacle,
            conflicts=self._board.conflicts,
            refusal=standing.grant.refusal,
            refusal_message=standing.grant.message,
            crowding=standing.crowding,
            now_s=self._world.clock.boottime_s(),
            pool=pool_api.pool_name(standing.pool) if standing.pool else "NODE",
            retry_at={one.activity: self._retry_at(one) for one in self._troubles if self._is_far(one)},
        )

    def _asked_for_s(self) -> float:
        """How long a request for a write has been waiting for its answer."""
        board, standing, now_s = self._board, self._standing, self._world.clock.boottime_s()
        waits = standing.asking.wants is not Wants.NOTHING and not standing.answered
        board.asked_s = (now_s if board.asked_s is None else board.asked_s) if waits else None
        return 0.0 if board.asked_s is None else now_s - board.asked_s

    def _throttled_until(self) -> str:
        """When Azure may be asked again, RFC 3339."""
        trouble = self._troubles.find(Throttled)
        return "" if trouble is None else self._retry_at(trouble)

    def _is_far(self, trouble: Trouble) -> bool:
        """The next try is not so soon that nobody would have read when it is."""
        named = trouble.is_refusal or isinstance(trouble.error, InternalFault)
        return named or trouble.retry_at_s - trouble.failed_at_s >= FAR_S

    def _retry_at(self, trouble: Trouble) -> str:
        """RFC 3339, once for each failure."""
        known = self._times.get(trouble.activity)
        if known is None or known[0] != trouble.retry_at_s:
            clock = self._world.clock
            known = (trouble.retry_at_s, clock.utc(ahead_s=trouble.retry_at_s - clock.boottime_s()))
            self._times[trouble.activity] = known
        return known[1]

    def status(self) -> dict[str, Any]:
        """What the pool's status should say now."""
        snapshot, standing = self._snapshot(), self._standing
        pool = standing.pool or {}
        generation = pool_api.generation(pool)
        status: dict[str, Any] = {
            "allocated": snapshot.counts.allocated,
            "assigned": snapshot.counts.assigned,
            "free": snapshot.counts.free,
            "cooling": snapshot.counts.cooling,
            "target": snapshot.target,
            "waiting": self._board.waiting,
            "throttledUntil": snapshot.throttled_until or None,
            "addresses": [pool_api.address_entry(s.address, s.config) for s in self._book.ledger.slots if s.in_pool],
            "conditions": conditions.merge(
                reading.mappings(reading.status_of(pool).get("conditions")),
                prospects.conditions(snapshot, self._troubles),
                now=self._world.clock.utc(),
                generation=generation,
            ),
            "observedGeneration": generation,
        }
        if standing.asking.begun:
            request = standing.asking.request
            status |= {"requested": request.count, "requestID": request.number, "wants": standing.asking.wants.value}
            status |= self._world.grants.status(standing.grant)
        if self._board.identity is not None:
            status |= pool_api.identity_status(self._board.identity)
        if standing.last_read is not None:
            status["lastRead"] = standing.last_read.document()
        if standing.view is not None:
            status["excluded"] = [pool_api.excluded_entry(config) for config in standing.view.excluded]
        if standing.last_write is not None:
            status["lastWrite"] = standing.last_write.document()
        return status
