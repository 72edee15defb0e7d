"""A line of Kubernetes events that a task of its own publishes, one after another.

An API server may take seconds to minutes over an event, and nothing else waits for that: `publish` only puts one in
line. The line is bounded; what does not fit is left out, and the log says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from azure_cni.api import node_ip_pool
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

EventKind = Literal["Normal", "Warning"]
"""What happened, and what somebody should see to."""
ACTIVITY: Final = "event"


class EventPort(Protocol):
    """What `publish` of `azure_cni.node.ports.Events` and `azure_cni.cluster.ports.ClusterEvents` is."""

    async def publish(
        self, regarding: Mapping[str, Any], *, kind: str, reason: str, message: str, cause: str = ""
    ) -> None:
        """See there."""


@dataclass(frozen=True, slots=True)
class LineEvent:
    """One event. `regarding`: an object reference. Events that differ in `cause` are not one that repeats."""

    regarding: Mapping[str, str]
    kind: EventKind
    reason: str
    message: str
    cause: str = ""


def reference(kind: str, name: str, uid: str) -> dict[str, str]:
    """To a custom resource of azure-cni."""
    return {"apiVersion": f"{node_ip_pool.GROUP}/{node_ip_pool.VERSION}", "kind": kind, "name": name, "uid": uid}


class EventLine:
    """The line, and what empties it."""

    def __init__(self, port: EventPort, faults: Faults, *, most: int) -> None:
        """`most`: how many wait at a time."""
        self._port = port
        self._faults = faults
        self._waiting: asyncio.Queue[LineEvent] = asyncio.Queue(most)

    def publish(self, event: LineEvent) -> None:
        """Soon."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("an event is left out: the API server takes none", extra={"event_reason": event.reason})

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                with self._faults.guard(ACTIVITY, about=event.regarding["name"]):
                    await self._port.publish(
                        event.regarding, kind=event.kind, reason=event.reason, message=event.message, cause=event.cause
                    )
            except AzureCniError as error:
                log.warning("an event is left out", extra={"event_reason": event.reason, "error": str(error)})
