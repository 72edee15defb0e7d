"""Waiting for something to become so, on the loop's own time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK_S = 0.05


async def until(fact: Callable[[], bool], *, within_s: float, say: Callable[[], object]) -> None:
    """Until `fact` holds. AssertionError with what `say` says when it does not within that time."""
    try:
        async with asyncio.timeout(within_s):
            while not fact():  # noqa: ASYNC110  # any state may be asked for, and simulated time costs nothing
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s} s: {say()}") from None
