"""When the pods of the node are counted anew, in the event loop's own time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from azure_cni.errors import KubeUnreachable
from azure_cni.node.census import PERIOD_S, RETRY_S, Census
from azure_cni.node.demand import Demand
from fakes.faults import NO_FAULTS

pytestmark = pytest.mark.looptime


@dataclass
class FakePods:
    """Implements `node.census.Pods`."""

    names: set[str] = field(default_factory=set)
    failing: bool = False
    asked: int = 0

    async def list(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.failing:
            raise KubeUnreachable("cannot read pods: no answer in time")
        return [{"metadata": {"namespace": "default", "name": name, "uid": name}} for name in self.names]


@dataclass
class World:
    """A census that runs."""

    pods: FakePods = field(default_factory=FakePods)
    demand: Demand = field(default_factory=Demand)
    woken: int = 0

    def wake(self) -> None:
        self.woken += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Census]:
        census = Census(pods=self.pods, demand=self.demand, wake=self.wake, faults=NO_FAULTS)
        task = asyncio.create_task(census.run())
        try:
            yield census
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_node_at_rest_is_counted_twice_an_hour() -> None:
    world = World()
    async with world.running():
        await asyncio.sleep(3600 + 1)
    assert world.pods.asked == 2


async def test_a_restarted_watch_has_the_pods_counted_at_once() -> None:
    world = World(FakePods({"web-1"}))
    world.demand.see({"metadata": {"namespace": "default", "name": "gone", "uid": "gone"}})
    async with world.running() as census:
        census.ask()
        await asyncio.sleep(1)
        assert world.demand.pod("default", "gone") is None
        assert world.demand.pod("default", "web-1") is not None
        assert world.woken == 1


async def test_a_count_that_fails_changes_nothing_and_is_repeated() -> None:
    world = World(FakePods(failing=True))
    world.demand.see({"metadata": {"namespace": "default", "name": "web", "uid": "web"}})
    async with world.running():
        await asyncio.sleep(PERIOD_S + 1)
        assert world.demand.pod("default", "web") is not None
        world.pods.failing = False
        await asyncio.sleep(RETRY_S)
        assert world.demand.pod("default", "web") is None
    assert world.pods.asked == 2
