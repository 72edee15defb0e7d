"""Time as an argument: the fake reads its clock, so a simulation can compress time and a test can control it."""

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Where the fake gets the time from."""

    def now(self) -> float:
        """Seconds since the epoch; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when `now()` has advanced by that much."""
        ...


class SystemClock:
    """Real time, or real time multiplied: with `factor` 60 a minute of Azure passes in a second."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self._epoch = time.time()
        self._start = time.monotonic()

    def now(self) -> float:
        return self._epoch + (time.monotonic() - self._start) * self.factor

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.factor)


class ManualClock:
    """Time that stands still until a test calls `advance`."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move on and wake, in order, whoever's time has come."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
