"""Events on the pool object, published one after another by a task of their own.

An API server may take seconds to minutes over an event. Neither a pass of the pool task nor the status waits for that:
`publish` only puts the event in line. The line is bounded; what does not fit is in the log, as all events are.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final, Literal

from azure_cni.api import node_ip_pool
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.node.pool.pool_object import PoolObject
from azure_cni.node.pool.pool_state import NodeCore

log = logging.getLogger(__name__)

MOST_WAITING: Final = 64
"""Each activity has one event at a time, and each write of the NIC one: more means that nobody takes them."""


@dataclass(frozen=True, slots=True)
class _Event:
    kind: Literal["Normal", "Warning"]
    reason: str
    message: str
    regarding: dict[str, str]


class PoolEvents:
    """The line, and what empties it."""

    def __init__(self, core: NodeCore, *, pool_object: PoolObject) -> None:
        self._core = core
        self._pool_object = pool_object
        self._waiting: asyncio.Queue[_Event] = asyncio.Queue(MOST_WAITING)

    def publish(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Soon there is an event on the pool, if the pool exists.

        What happened (Normal) is an event of its own, with its own numbers. A failure (Warning) that comes back is one
        event with its newest words.
        """
        pool = self._pool_object.pool
        if pool is None:
            return
        regarding = {
            "apiVersion": f"{node_ip_pool.GROUP}/{node_ip_pool.VERSION}",
            "kind": node_ip_pool.KIND,
            "name": pool.name,
            "uid": pool.version.uid,
        }
        try:
            self._waiting.put_nowait(_Event(kind, reason, message, regarding))
        except asyncio.QueueFull:
            log.warning("an event is left out: the API server takes none", extra={"event_reason": reason})

    async def run(self, faults: Faults) -> None:
        """Until cancelled."""
        while True:
            event = await self._waiting.get()
            cause = event.message if event.kind == "Normal" else ""
            try:
                with faults.guard("event"):
                    await self._core.ports.events.publish(
                        event.regarding, kind=event.kind, reason=event.reason, message=event.message, cause=cause
                    )
            except AzureCniError as error:
                log.warning("an event is left out", extra={"event_reason": event.reason, "error": str(error)})
