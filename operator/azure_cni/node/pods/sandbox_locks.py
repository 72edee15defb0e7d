"""One thing at a time per sandbox, and a DEL cancels an ADD that still waits.

A runtime that gave up on an ADD sends a DEL for it. The DEL may not wait until the pool grows, and the ADD that it
meets must not leave anything behind: so each ADD holds a lock that a DEL can mark as superseded.

Each interface of a container has one lock, whatever the network, because the kernel has one link for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from azure_cni.ipam.address_state import Sandbox


@dataclass(slots=True, eq=False)
class Hold:
    """The right to work on one sandbox."""

    sandbox: Sandbox
    superseded: bool = False


@dataclass(slots=True, eq=False)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    hold: Hold | None = None


class SandboxLocks:
    """Locks by interface, made when first asked for and forgotten when nobody uses them."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}

    def busy(self, sandbox: Sandbox) -> bool:
        """Somebody works on this sandbox, or waits to."""
        return sandbox.interface in self._entries

    def cancel_add(self, sandbox: Sandbox) -> None:
        """Mark the work on this sandbox as superseded: its outcome is not wanted any more. Not on another network's."""
        entry = self._entries.get(sandbox.interface)
        if entry is not None and entry.hold is not None and entry.hold.sandbox.matches(sandbox):
            entry.hold.superseded = True

    @asynccontextmanager
    async def hold(self, sandbox: Sandbox) -> AsyncIterator[Hold]:
        """Wait for the sandbox's lock and hold it."""
        entry = self._entries.setdefault(sandbox.interface, _Entry())
        entry.users += 1
        try:
            async with entry.lock:
                entry.hold = Hold(sandbox)
                try:
                    yield entry.hold
                finally:
                    entry.hold = None
        finally:
            entry.users -= 1
            if not entry.users:
                del self._entries[sandbox.interface]
