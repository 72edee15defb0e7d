"""A bell that wakes everyone who waits, once per ring.

An `asyncio.Event` must be cleared by somebody, and a condition needs a lock held; here the ringer just leaves a new
event behind. Nothing is lost as long as a waiter looks at the state after each ring and before it waits.
"""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes all current waiters; a later waiter waits for the next ring."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake everyone who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float) -> bool:
        """True when it rang within the time, False when it did not."""
        event = self._event
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            return False
        return True
