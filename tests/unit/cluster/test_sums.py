"""How many addresses pods hold in a VNet, in its quota's status: soon right, and written seldom whatever nodes say."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from azure_cni.api.vnet_quota import Limits
from azure_cni.cluster.granter import SUMS_S
from unit.cluster.test_liars import lying
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

SOON_S = 12.0
"""What the reference promises."""
SETTLED_S = 60.0


def two() -> SimulatedCluster:
    """Two nodes that have what they asked for; nothing but the sums is left to write."""
    world = SimulatedCluster(limits=Limits(limit=400), reclaim_s=3600, usages_s=3600)
    for name in ("a", "b"):
        assigned(world, name, 0)
    return world


def assigned(world: SimulatedCluster, name: str, count: int) -> None:
    """So many of the node's eight addresses belong to pods."""
    world.cluster.node(name, requested=8, allocated=8, free=8 - count, assigned=count, writeIntent="None")


def writes_of(world: SimulatedCluster) -> list[float]:
    """When the quota was written."""
    moments: list[float] = []
    world.cluster.quotas.watchers.append(lambda *_: moments.append(asyncio.get_running_loop().time()))
    return moments


@pytest.mark.parametrize("after_s", [0.0, 0.4, 5.0, 9.9, 10.1, 27.0])
async def test_it_is_right_soon_after_pods_came_and_went(after_s: float) -> None:
    """Whenever the quota was written last. Found in the demo: it showed 2 where pods had 22."""
    world = two()
    async with world.controller():
        await asyncio.sleep(SETTLED_S)
        assigned(world, "a", 1)
        await world.until(lambda: world.status()["assigned"] == 1, within_s=SOON_S)
        await asyncio.sleep(after_s)
        assigned(world, "a", 8)
        assigned(world, "b", 7)
        await world.until(lambda: world.status()["assigned"] == 15, within_s=SOON_S)
        assigned(world, "b", 0)
        await world.until(lambda: world.status()["assigned"] == 8, within_s=SOON_S)


async def test_a_node_that_says_something_else_each_time_causes_one_write_in_that_time() -> None:
    world = two()
    told = {"requested": 8, "allocated": 8, "writeIntent": "None", "number": 1}
    async with world.controller():
        await asyncio.sleep(SETTLED_S)
        moments = writes_of(world)
        liar = lying(world, "a", status=lambda turn: {**told, "assigned": turn % 9, "free": turn % 7}, every_s=0.1)
        async with liar:
            await asyncio.sleep(300)
    apart_s = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert 300 / (2 * SUMS_S) < len(moments) <= 300 / SUMS_S
    assert min(apart_s) >= SUMS_S


async def test_pods_that_come_one_by_one_are_few_writes() -> None:
    world = two()
    async with world.controller():
        await asyncio.sleep(SETTLED_S)
        moments = writes_of(world)
        for count in range(1, 9):
            assigned(world, "a", count)
            assigned(world, "b", count)
            await asyncio.sleep(0.5)
        await world.until(lambda: world.status()["assigned"] == 16, within_s=SOON_S)
    assert len(moments) <= 2


async def test_nothing_is_written_while_nothing_changes() -> None:
    world = two()
    async with world.controller():
        await asyncio.sleep(SETTLED_S)
        moments = writes_of(world)
        await asyncio.sleep(1800)
    assert moments == []
