"""Waiting for Azure without standing still: it may take seconds to minutes over an answer, or say nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

R = TypeVar("R")

BREATH_S: Final = 1.0


async def meanwhile(work: Coroutine[Any, Any, R], breathe: Callable[[], Awaitable[None]]) -> R:
    """The outcome of `work`; `breathe` is called each second that it takes. Whoever stops waiting ends the work."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=BREATH_S))[0]:
            await breathe()
        return task.result()
    finally:
        task.cancel()
