"""Time at another speed: loop, sleeps, timeouts and clocks agree."""

from __future__ import annotations

import asyncio
import time

import pytest

from simulation.pace import AzureClock, ClusterClock, NodeClock, Pace

SPEED = 50.0


@pytest.fixture
def pace() -> Pace:
    return Pace.starting_now(SPEED)


def test_a_sleep_is_as_long_as_the_loop_says_and_shorter_outside(pace):
    seen = {}

    async def sleep() -> None:
        began_s, real_s = asyncio.get_running_loop().time(), time.monotonic()
        await asyncio.sleep(5.0)
        seen["inside"] = asyncio.get_running_loop().time() - began_s
        seen["outside"] = time.monotonic() - real_s

    pace.run(sleep)

    assert seen["inside"] >= 5.0
    assert 0.1 <= seen["outside"] < 2.0
    assert seen["inside"] == pytest.approx(seen["outside"] * SPEED, rel=0.05)


def test_a_timeout_is_as_much_shorter(pace):
    async def wait() -> None:
        async with asyncio.timeout(10.0):
            await asyncio.Event().wait()

    real_s = time.monotonic()
    with pytest.raises(TimeoutError):
        pace.run(wait)

    assert 0.2 <= time.monotonic() - real_s < 3.0


def test_all_clocks_agree_with_the_loop(pace):
    seen = {}

    async def look() -> None:
        before_s = asyncio.get_running_loop().time()
        seen["monotonic"] = [NodeClock(pace).boottime_s() - before_s, ClusterClock(pace).monotonic_s() - before_s]
        seen["utc"] = ClusterClock(pace).utc_s() - AzureClock(pace).now()

    pace.run(look)

    assert seen["monotonic"] == pytest.approx([0.0, 0.0], abs=5.0)
    assert seen["utc"] == pytest.approx(0.0, abs=5.0)


def test_a_node_writes_the_time_as_kubernetes_does():
    pace = Pace(speed=1.0, origin_s=time.monotonic(), origin_utc_s=1_800_000_000.2)

    assert NodeClock(pace).utc(ahead_s=60.0) == "2027-01-15T08:01:00Z"
