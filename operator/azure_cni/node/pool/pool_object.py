"""One NodeIPPool object: there is one, its newest version is known, and its status says what is so.

Versions come from two sides, the watch and the answers to our own writes, in no particular order. In another object of
that name the request begins again: its numbers are others.

Of the status, the fields of the grant protocol (the request, `allocated`, and `granted` where a node grants itself) are
written at once. All else follows when it changed, at most once in five seconds, so that a burst of pods costs the API
server one write and not one per pod. When the NIC was last read goes along with the next write, as does what the
API server did not keep of the last one: an older definition drops what it does not name. A write that carries
the request is a compare-and-swap: a late write of an agent that is gone must not undo what the one after it asked. When
it finds the object changed, the object is read and the write repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from azure_cni.api.node_ip_pool import KIND, UNREAD, NodeIPPool
from azure_cni.api.reading import is_newer
from azure_cni.errors import KubeConflict, KubeNotFound
from azure_cni.event_line import EventKind, EventLine, LineEvent, reference
from azure_cni.node.pods.demand import Pod
from azure_cni.node.pool.failures import RACES
from azure_cni.node.pool.pool_state import NodeCore
from azure_cni.node.pool.reservation_request import ReservationRequest
from azure_cni.node.pool.schedule import Schedule

log = logging.getLogger(__name__)

REQUEST: Final = ("requested", "requestID", "writeIntent")
"""Written by compare-and-swap."""
PROTOCOL: Final = (*REQUEST, "granted", "grantedFor", "allocated", "throttledUntil")
"""Written at once."""
SPACING_S: Final = 5.0
MOST_EVENTS: Final = 64
"""That wait: each activity has one event at a time, and each write of the NIC one."""


class PoolObject:
    """The object as last seen, and the only writer of its status.

    The watch calls `observe` and `forget`, the pool task `ensure`, the status task `report`. Each takes over a version
    in one step, and only a newer one.
    """

    def __init__(self, core: NodeCore, *, reservation: ReservationRequest, schedule: Schedule) -> None:
        self._core = core
        self._reservation = reservation
        self._schedule = schedule
        self.pool: NodeIPPool | None = None
        """None before it was read, and while there is none."""
        self.known = asyncio.Event()
        """Set once the object exists, and with it its kind: only then can it be watched."""
        self._uid = ""
        """Of the object that the request was made in."""
        self._written_s = float("-inf")
        self._pending = False
        """Something differs that was put off."""
        self._unkept: dict[str, Any] = {}
        """What the API server dropped of the last write, or changed."""

    @property
    def pool_or_unread(self) -> NodeIPPool:
        """The object; one of which nothing is known, while there is none."""
        return self.pool or UNREAD

    async def ensure(self) -> bool:
        """Read the object, or make it; True once it is there."""
        if self.pool is None:
            pool = await self._core.ports.pools.read()
            if pool is None:
                pool = await self._core.ports.pools.create(await self._core.ports.node.read_node())
                log.info("pool object made", extra={"pool": pool.name})
            self._learn(pool)
        self.known.set()
        return True

    def observe(self, pool: NodeIPPool) -> None:
        """A version was seen; one that is older than what is known already is left aside.

        A later request than ours in it is another agent's: ours is void, and must not displace it.
        """
        if self._learn(pool) and self._reservation.is_superseded_by(pool):
            log.warning("another agent asks for this node too; beginning again", extra={"pool": pool.name})
            self._reservation.forget()

    def forget(self) -> None:
        """Somebody deleted the object: it is made again, with a full status."""
        self.pool = None

    def due_s(self) -> float | None:
        """Boot time at which a write that was put off becomes due; None when nothing was."""
        return self._written_s + SPACING_S if self._pending else None

    async def report(self, build: Callable[[], Mapping[str, Any]], *, only: Collection[str] | None = None) -> bool:
        """Write the status that `build` gives, if something differs and it is due; whether the object says all then.

        Of a status that is refused as a whole, or rests after failures, `only` names the fields to write all the same.
        """
        for attempt in range(RACES):
            pool = self.pool
            if pool is None:
                return False
            try:
                written = await self._write(pool, build(), only)
            except KubeNotFound:
                self.forget()
                self._schedule.wake()
                raise
            except KubeConflict:
                if attempt == RACES - 1:
                    raise
                await self._read_again()
            else:
                if written is not None and self.pool is not None:
                    self._learn(written)
                return only is not None or self.due_s() is None
        return False

    async def _write(
        self, pool: NodeIPPool, status: Mapping[str, Any], only: Collection[str] | None
    ) -> NodeIPPool | None:
        """Write what differs from `pool`, the newest version known, if it is due, whoever wrote that.

        Returns the object as it is then, None when nothing was written.
        """
        now_s = self._core.ports.clock.boottime_s()
        differing = {key: value for key, value in status.items() if pool.status.get(key) != value}
        rest = differing.keys() - only if only is not None else set()
        differing = {key: differing[key] for key in differing.keys() - rest}
        news = {key: value for key, value in differing.items() if key in PROTOCOL or self._unkept.get(key) != value}
        if not _is_worth_a_write(news, pool):
            self._pending = bool(rest)
            return None
        urgent = any(key in differing for key in PROTOCOL)
        if not urgent and now_s < self._written_s + SPACING_S:
            self._pending = True
            return None
        self._written_s, self._pending = now_s, True
        guarded = any(key in differing for key in REQUEST)
        changed = await self._core.ports.pools.patch_status(pool, differing, guarded=guarded)
        self._unkept = {key: value for key, value in differing.items() if changed.status.get(key) != value}
        self._pending = bool(rest)
        return changed

    def _learn(self, pool: NodeIPPool) -> bool:
        """Hold that version, if none is known that is as new."""
        known, uid = self.pool, pool.version.uid
        if known is not None and not is_newer(pool.version, than=known.version):
            return False
        if self._uid not in {"", uid}:
            log.warning("the pool was recreated: requesting again", extra={"pool": pool.name})
            self._reservation.forget()
        self._uid, self.pool = uid, pool
        return True

    async def _read_again(self) -> None:
        """After a conflict. What is found there, an answer perhaps, is the pool task's to look at."""
        pool = await self._core.ports.pools.read()
        if pool is None:
            self.forget()
        else:
            self.observe(pool)
        self._schedule.wake()


def _is_worth_a_write(differing: Mapping[str, Any], pool: NodeIPPool) -> bool:
    """A new time of `lastRead` alone is not: the NIC is read again and again, and nothing came of it."""
    read = differing.get("lastRead")
    if read is None or len(differing) > 1:
        return bool(differing)
    return bool(read["request"] != pool.read_answered)


class PoolEvents:
    """Those on this node's pool, and on pods that lost their address. Neither a pass of the pool task nor the status
    waits for one (`event_line`).
    """

    def __init__(self, core: NodeCore, *, pool_object: PoolObject) -> None:
        self._pool_object = pool_object
        self._line = EventLine(core.ports.events, core.faults, most=MOST_EVENTS)

    def publish(self, kind: EventKind, reason: str, message: str) -> None:
        """Soon there is an event on the pool, if the pool exists.

        What happened (Normal) is an event of its own, with its own numbers. A failure (Warning) that comes back is one
        event with its newest words.
        """
        pool = self._pool_object.pool
        if pool is None:
            return
        regarding = reference(KIND, pool.name, pool.version.uid)
        cause = message if kind == "Normal" else ""
        self._line.publish(LineEvent(regarding, kind, reason, message, cause))

    def publish_on_pod(self, pod: Pod, reason: str, message: str) -> None:
        """Soon there is a Warning on the pod."""
        self._line.publish(LineEvent(pod.reference, "Warning", reason, message))

    async def run(self) -> None:
        """Until cancelled."""
        await self._line.run()
