"""One time for all processes of a run: real time, multiplied.

A run at speed 10 lets a minute pass in six seconds, for Azure and product alike. All clocks come from the machine's
monotonic one and an origin that all processes are given, so they agree to the microsecond. The event loop's own time is
multiplied too, and its waiting divided, so that every sleep and timeout of the product is as long as its clocks say.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast time passes, and since when: `origin_s` on the monotonic clock was `origin_utc_s` since 1970."""

    speed: float
    origin_s: float
    origin_utc_s: float

    @classmethod
    def starting_now(cls, speed: float) -> "Pace":
        """Time begins to pass at this speed."""
        return cls(speed, time.monotonic(), time.time())

    def elapsed_s(self) -> float:
        """Simulated seconds since the beginning."""
        return (time.monotonic() - self.origin_s) * self.speed

    def utc_s(self) -> float:
        """Simulated seconds since 1970."""
        return self.origin_utc_s + self.elapsed_s()

    async def sleep(self, seconds: float) -> None:
        """Simulated seconds, on a loop that runs in real time."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """As `asyncio.run`, on a loop of this pace."""
        with asyncio.Runner(loop_factory=lambda: CompressedLoop(self.speed)) as runner:
            runner.run(main())


class NodeClock:
    """The node's Clock port, in agreement with the loop."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def boottime_s(self) -> float:
        return time.monotonic() * self._pace.speed

    def utc(self, *, ahead_s: float = 0.0) -> str:
        return datetime.fromtimestamp(self._pace.utc_s() + ahead_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class ClusterClock:
    """The controller's Clock port, in agreement with the loop."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def monotonic_s(self) -> float:
        return time.monotonic() * self._pace.speed

    def utc_s(self) -> float:
        return self._pace.utc_s()


class AzureClock:
    """The fake Azure's clock; its servers run on a loop in real time."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def now(self) -> float:
        return self._pace.utc_s()

    async def sleep(self, seconds: float) -> None:
        await self._pace.sleep(seconds)


class _Selector(selectors.DefaultSelector):
    """Waits a fraction of what it is asked to."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        waited: list[tuple[selectors.SelectorKey, int]] = super().select(timeout and timeout / self._speed)
        return waited


class CompressedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes `speed` times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        super().__init__(_Selector(speed))

    def time(self) -> float:
        return time.monotonic() * self._speed
