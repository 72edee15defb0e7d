"""When the pods of the node are counted again, in the event loop's own time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from azure_cni.errors import KubeUnreachable
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.pod_resync import PERIOD_S, RETRY_S, PodResync
from fakes.faults import NO_FAULTS

pytestmark = pytest.mark.looptime


@dataclass
class FakePods:
    """Implements `node.pod_resync.Pods`."""

    names: set[str] = field(default_factory=set)
    failing: bool = False
    asked: int = 0

    async def list(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.failing:
            raise KubeUnreachable("cannot read pods: no answer in time")
        return [{"metadata": {"namespace": "default", "name": name, "uid": name}} for name in self.names]


@dataclass
class Node:
    """A resync that runs."""

    pods: FakePods = field(default_factory=FakePods)
    demand: Demand = field(default_factory=Demand)
    woken: int = 0

    def wake(self) -> None:
        self.woken += 1

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[PodResync]:
        pod_resync = PodResync(pods=self.pods, demand=self.demand, wake=self.wake, faults=NO_FAULTS)
        task = asyncio.create_task(pod_resync.run())
        try:
            yield pod_resync
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_a_node_at_rest_is_counted_twice_an_hour() -> None:
    node = Node()
    async with node.running():
        await asyncio.sleep(3600 + 1)
    assert node.pods.asked == 2


async def test_a_restarted_watch_has_the_pods_counted_at_once() -> None:
    node = Node(FakePods({"web-1"}))
    node.demand.observe_pod({"metadata": {"namespace": "default", "name": "gone", "uid": "gone"}})
    async with node.running() as pod_resync:
        pod_resync.request()
        await asyncio.sleep(1)
        assert node.demand.pod("default", "gone") is None
        assert node.demand.pod("default", "web-1") is not None
        assert node.woken == 1


async def test_a_count_that_fails_changes_nothing_and_is_repeated() -> None:
    node = Node(FakePods(failing=True))
    node.demand.observe_pod({"metadata": {"namespace": "default", "name": "web", "uid": "web"}})
    async with node.running():
        await asyncio.sleep(PERIOD_S + 1)
        assert node.demand.pod("default", "web") is not None
        node.pods.failing = False
        await asyncio.sleep(RETRY_S)
        assert node.demand.pod("default", "web") is None
    assert node.pods.asked == 2
