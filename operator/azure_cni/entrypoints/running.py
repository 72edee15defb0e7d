"""Runs the tasks of a process side by side, until it must stop or until one of them fails."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from asyncio import selector_events, sslproto
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from azure_cni.errors import AzureCniError, InternalFault
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

AGAIN_S: Final = 10.0
"""The pause before work that a fault ended starts again."""

STALLED_S: Final = 300.0
"""Apart from its waits for Azure, a pass of the reconciler takes seconds. One that takes this long is stuck."""

STUCK_S: Final = 120.0
"""Pods wait for the data plane's thread. It does each thing in milliseconds, and 250 removals in ten seconds."""

READ_B: Final = 64 * 1024
"""The most that is read from a socket at once. asyncio takes 256 KiB from the heap for each read and for each TLS
connection, and the heap stays as large as it was with the most of these at once."""

COLLECT_S: Final = 60.0
"""How often garbage that refers to itself is looked for. Python looks at what is young, but at what is older only after
200,000 more objects. A pod's are older when it ends, so they would stay for half an hour, megabytes of them."""


def run_process(work: Coroutine[Any, Any, None]) -> None:
    """Run the work of a whole process, on a loop of its own that reads READ_B at once."""
    # Names of asyncio that are no interface, for there is none: tests/unit/entrypoints/test_running.py holds them.
    selector_events._SelectorTransport.max_size = READ_B  # type: ignore[attr-defined] # noqa: SLF001
    sslproto.SSLProtocol.max_size = READ_B
    asyncio.run(work)


def unhealthy(*, silent_s: float, busy_s: float) -> str:
    """Why a node's process must be restarted, "" if it need not; the seconds are those without progress."""
    if silent_s > STALLED_S:
        return f"the reconciler has been silent for {silent_s:.0f} s"
    return f"the data plane has been at one thing for {busy_s:.0f} s" if busy_s > STUCK_S else ""


async def run_until_stopped(
    tasks: Mapping[str, Coroutine[Any, Any, None]], *, stop: asyncio.Event, message: str, facts: Mapping[str, str]
) -> None:
    """Run the tasks, by name, until `stop` is set; then log the message and cancel them.

    An error of one ends all the others and is raised, in an ExceptionGroup. The process is complete when they begin:
    what it has loaded stays, and the collector never looks at it again.
    """
    gc.freeze()
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(task, name=name) for name, task in tasks.items()]
        running.append(group.create_task(_collect_cycles(), name="cycles"))
        await stop.wait()
        log.info(message, extra=dict(facts))
        for task in running:
            task.cancel()


async def _collect_cycles() -> None:
    """It holds up the loop for as long as it takes to look at what came since the start: milliseconds."""
    while True:
        await asyncio.sleep(COLLECT_S)
        gc.collect()


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and Ctrl-C set it. To be called on the loop that runs."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def attempt(work: Callable[[], Awaitable[None]], name: str, faults: Faults) -> None:
    """Run it once. A failure is logged and affects nothing else."""
    try:
        with faults.guard(name):
            await work()
    except AzureCniError as error:
        log.warning("periodic work failed", extra={"work": name, "reason": error.reason, "error": str(error)})


async def every(period_s: float, work: Callable[[], Awaitable[None]], name: str, faults: Faults) -> None:
    """Attempt it once in each period, until cancelled."""
    while True:
        await attempt(work, name, faults)
        await asyncio.sleep(period_s)


async def kept_up(work: Callable[[], Awaitable[None]], name: str, faults: Faults, *, again_s: float = AGAIN_S) -> None:
    """Run work that never ends, and restart it after a fault in our code. Its intended errors are raised."""
    while True:
        try:
            with faults.guard(name):
                await work()
        except InternalFault as error:
            log.warning("work begins again", extra={"work": name, "error": str(error), "again_s": again_s})
        await asyncio.sleep(again_s)
