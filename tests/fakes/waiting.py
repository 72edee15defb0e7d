"""Waits for a condition, and runs what has to go on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import FrameType
from typing import Any

LOOK_S = 0.05
PATIENCE_S = 60.0
"""What must come has come by then, on a machine of any speed; only a fault takes so long."""


async def until(fact: Callable[[], bool], *, within_s: float, say: Callable[[], object]) -> None:
    """Until `fact` holds. AssertionError with what `say` says when it does not within that time."""
    try:
        async with asyncio.timeout(within_s):
            while not fact():  # noqa: ASYNC110  # any state may be asked for, and simulated time costs nothing
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {say()}") from None


@contextlib.asynccontextmanager
async def background(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Runs beside the block, and is cancelled at its end. An error that ends it earlier is raised then."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Fail what hangs, in a system call too. In the main thread only."""

    def late(_: int, frame: FrameType | None) -> Any:
        raise AssertionError(f"hangs at {frame}")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
