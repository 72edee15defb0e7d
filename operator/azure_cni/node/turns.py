"""One thing at a time per sandbox, and a DEL overtakes an ADD that still waits.

A runtime that gave up on an ADD sends a DEL for it. The DEL may not wait until the pool grows, and the ADD that it
meets must not leave anything behind: so each ADD holds a turn that a DEL can mark as overtaken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from azure_cni.ipam.life import Sandbox


@dataclass(slots=True, eq=False)
class Turn:
    """The right to work on one sandbox."""

    overtaken: bool = False


@dataclass(slots=True, eq=False)
class _Lane:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    turn: Turn | None = None


class Turns:
    """Locks by sandbox, made when first asked for and forgotten when nobody uses them."""

    def __init__(self) -> None:
        self._lanes: dict[Sandbox, _Lane] = {}

    def busy(self, sandbox: Sandbox) -> bool:
        """Somebody works on this sandbox, or waits to."""
        return sandbox in self._lanes

    def overtake(self, sandbox: Sandbox) -> None:
        """Tell whoever works on the sandbox now that its outcome is no longer wanted."""
        lane = self._lanes.get(sandbox)
        if lane is not None and lane.turn is not None:
            lane.turn.overtaken = True

    @asynccontextmanager
    async def of(self, sandbox: Sandbox) -> AsyncIterator[Turn]:
        """Wait for the sandbox's turn and hold it."""
        lane = self._lanes.setdefault(sandbox, _Lane())
        lane.users += 1
        try:
            async with lane.lock:
                lane.turn = Turn()
                try:
                    yield lane.turn
                finally:
                    lane.turn = None
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[sandbox]
