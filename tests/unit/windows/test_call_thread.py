"""How long anybody waits for a call that hangs, and what becomes of what was asked for behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from azure_cni.errors import DatapathError, DatapathOutcomeUnknown
from azure_cni.windows.call_thread import CallThread

SOON_S, LATE_S = 0.01, 300.0
"""Limits that are certainly passed by a call that hangs, and certainly not by one that does not."""


class Hanging:
    """A call that hangs until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        self.go.wait()
        return "done"


@pytest.fixture
def thread() -> Iterator[CallThread]:
    thread = CallThread(name="calls")
    yield thread
    thread.close()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.go.set()


async def test_work_is_done_in_the_order_in_which_it_was_asked_for(thread: CallThread) -> None:
    done: list[int] = []
    await asyncio.gather(
        *(thread.run(lambda number=number: done.append(number), limit_s=LATE_S) for number in range(9))
    )
    assert done == list(range(9))
    assert thread.busy_s == 0


async def test_an_error_is_the_callers_and_the_next_work_is_done(thread: CallThread) -> None:
    def fail() -> None:
        raise DatapathError("cannot")

    with pytest.raises(DatapathError, match="cannot"):
        await thread.run(fail, limit_s=LATE_S)
    assert await thread.run(lambda: 4711, limit_s=LATE_S) == 4711


async def test_of_a_call_that_hangs_nobody_knows_whether_it_was_carried_out(
    thread: CallThread, hanging: Hanging
) -> None:
    after: list[str] = []

    def work() -> None:
        thread.call("make the endpoint", hanging)
        after.append(thread.call("change the namespace", lambda: "changed"))

    with pytest.raises(DatapathOutcomeUnknown, match=r"has not answered .*\(the call: make the endpoint\); restart it"):
        await thread.run(work, limit_s=SOON_S)
    assert thread.busy_s > 0
    hanging.go.set()
    assert await thread.run(lambda: "next", limit_s=LATE_S) == "next"
    assert after == []  # what nobody waits for stops at its next call


async def test_what_waits_behind_it_is_never_begun(thread: CallThread, hanging: Hanging) -> None:
    first = asyncio.create_task(thread.run(lambda: thread.call("read the network", hanging), limit_s=LATE_S))
    await asyncio.to_thread(hanging.began.wait)
    begun: list[str] = []
    with pytest.raises(DatapathError, match="the call: read the network") as refused:
        await thread.run(lambda: begun.append("second"), limit_s=SOON_S)
    assert not isinstance(refused.value, DatapathOutcomeUnknown)
    hanging.go.set()
    assert await first == "done"
    await thread.run(lambda: None, limit_s=LATE_S)
    assert begun == []


async def test_a_long_line_of_short_calls_is_no_call_that_hangs(thread: CallThread) -> None:
    """The limit is for one call: many may be before it in line, each of them answered in time."""
    step = threading.Semaphore(0)

    def wait_for_step() -> None:
        thread.call("read an endpoint", step.acquire)

    line = [asyncio.create_task(thread.run(wait_for_step, limit_s=LATE_S)) for _ in range(20)]
    for _ in line:
        step.release()
        await asyncio.sleep(0)
    await asyncio.gather(*line)


@pytest.mark.parametrize("begun", [True, False])
async def test_work_whose_caller_goes_away_runs_to_its_end_if_it_has_begun(
    thread: CallThread, hanging: Hanging, *, begun: bool
) -> None:
    done: list[str] = []

    def work() -> None:
        done.append(thread.call("make the endpoint", hanging if begun else lambda: "second"))

    if not begun:
        before = asyncio.create_task(thread.run(lambda: thread.call("read", hanging), limit_s=LATE_S))
        await asyncio.to_thread(hanging.began.wait)
    caller = asyncio.create_task(thread.run(work, limit_s=LATE_S))
    await asyncio.to_thread(hanging.began.wait)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    hanging.go.set()
    await thread.run(lambda: None, limit_s=LATE_S)
    assert done == (["done"] if begun else [])
    if not begun:
        await before
