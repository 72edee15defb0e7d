"""How a process of ours runs: several works side by side until it is asked to stop, or until one of them fails."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Mapping
from typing import Any

log = logging.getLogger(__name__)


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
