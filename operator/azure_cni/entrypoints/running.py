"""How a process of ours runs: several works side by side until it is asked to stop, or until one of them fails."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from azure_cni.errors import AzureCniError, InternalFault
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

AGAIN_S: Final = 10.0
"""When work that a fault ended begins again."""


async def until_stopped(
    works: Mapping[str, Coroutine[Any, Any, None]], *, stop: asyncio.Event, words: str, facts: Mapping[str, str]
) -> None:
    """Carry out the works, by name, until `stop` is set; then say so in these words, and cancel them.

    An error of one ends all the others and is raised, in an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work, name=name) for name, work in works.items()]
        await stop.wait()
        log.info(words, extra=dict(facts))
        for task in running:
            task.cancel()


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C set it. To be called on the loop that runs."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def attempt(work: Callable[[], Awaitable[None]], name: str, faults: Faults) -> None:
    """Do it; what goes wrong is reported, and concerns nothing else."""
    try:
        with faults.guard(name):
            await work()
    except AzureCniError as error:
        log.warning("periodic work failed", extra={"work": name, "reason": error.reason, "error": str(error)})


async def every(period_s: float, work: Callable[[], Awaitable[None]], name: str, faults: Faults) -> None:
    """Attempt it again and again, until cancelled."""
    while True:
        await attempt(work, name, faults)
        await asyncio.sleep(period_s)


async def kept_up(work: Callable[[], Awaitable[None]], name: str, faults: Faults, *, again_s: float = AGAIN_S) -> None:
    """Work without an end; where a fault of ours ends it, it begins again. What it raises on purpose is raised."""
    while True:
        try:
            with faults.guard(name):
                await work()
        except InternalFault as error:
            log.warning("work begins again", extra={"work": name, "error": str(error), "again_s": again_s})
        await asyncio.sleep(again_s)
