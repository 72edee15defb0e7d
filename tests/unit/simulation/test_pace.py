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
    """Bounds that hold however long the machine pauses between two looks at a clock."""
    seen = []

    async def sleep() -> None:
        for seconds in (5.0, 0.0):
            seen.append((time.monotonic(), asyncio.get_running_loop().time(), time.monotonic()))
            await asyncio.sleep(seconds)

    pace.run(sleep)

    (before_s, began_s, behind_s), (until_s, ended_s, after_s) = seen
    assert ended_s - began_s >= 5.0
    assert (until_s - behind_s) * SPEED - 1e-3 <= ended_s - began_s <= (after_s - before_s) * SPEED + 1e-3
    assert until_s - behind_s < 5.0


def test_a_timeout_is_as_much_shorter(pace):
    async def wait() -> None:
        async with asyncio.timeout(10.0):
            await asyncio.Event().wait()

    real_s = time.monotonic()
    with pytest.raises(TimeoutError):
        pace.run(wait)

    assert 10.0 / SPEED <= time.monotonic() - real_s < 10.0


def test_all_clocks_agree_with_the_loop(pace):
    node, cluster, azure = NodeClock(pace), ClusterClock(pace), AzureClock(pace)
    seen = {}

    async def look() -> None:
        loop = asyncio.get_running_loop()
        seen["monotonic"] = [loop.time(), node.boottime_s(), cluster.monotonic_s(), loop.time()]
        seen["utc"] = [cluster.utc_s(), azure.now(), cluster.utc_s()]

    pace.run(look)

    assert seen["monotonic"] == sorted(seen["monotonic"])
    assert seen["utc"] == sorted(seen["utc"])


def test_a_node_writes_the_time_as_kubernetes_does():
    pace = Pace(speed=1.0, origin_s=time.monotonic(), origin_utc_s=1_800_000_000.2)

    assert NodeClock(pace).utc(ahead_s=60.0) == "2027-01-15T08:01:00Z"
