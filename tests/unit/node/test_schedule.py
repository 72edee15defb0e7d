"""When the reconciler looks again: nothing that falls due while a pass is under way is put off to the longest rest."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.failures import Activity
from azure_cni.node.pool.schedule import DEBOUNCE_S, LONGEST_REST_S, Schedule
from azure_cni.node.pool.taint import STEADY_S
from fakes.pools import FakePools
from fakes.simulated_node import SimulatedNode


class SlowNode:
    """The node's port, with an API server that takes its time."""

    def __init__(self, pools: FakePools) -> None:
        self._pools = pools

    async def read_node(self):
        await asyncio.sleep(0.2)
        return await self._pools.read_node()

    async def write_taints(self, node, taints):
        await asyncio.sleep(0.2)
        await self._pools.write_taints(node, taints)


def test_what_is_due_first_ends_the_rest():
    schedule = Schedule()
    schedule.pass_begins(100.0)
    schedule.set_due(Activity.READ, 120.0)
    assert schedule.rest_s([None, 115.0, 130.0], now_s=101.0) == 14.0
    assert schedule.rest_s([], now_s=101.0) == 19.0
    schedule.set_due(Activity.READ, 1000.0)
    assert schedule.rest_s([], now_s=101.0) == LONGEST_REST_S


def test_what_fell_due_during_the_pass_is_looked_at_soon():
    schedule = Schedule()
    schedule.pass_begins(100.0)
    assert schedule.rest_s([100.5], now_s=101.0) == DEBOUNCE_S
    schedule.set_due(Activity.IDENTITY, 100.0)
    assert schedule.rest_s([], now_s=100.0) == DEBOUNCE_S
    schedule.pass_begins(130.0)
    assert schedule.rest_s([], now_s=130.0) == LONGEST_REST_S


def test_what_was_due_when_the_pass_began_had_its_turn():
    schedule = Schedule()
    schedule.set_due(Activity.READ, 99.0)
    schedule.pass_begins(100.0)
    assert schedule.is_due(Activity.READ, now_s=100.0)
    assert schedule.rest_s([100.0], now_s=100.0) == LONGEST_REST_S


def test_what_has_no_time_yet_is_due():
    assert Schedule().is_due(Activity.VNET, now_s=0.0)


@pytest.mark.looptime
async def test_a_status_that_falls_due_while_the_taint_is_written_is_reported_within_ten_seconds():
    async with SimulatedNode(policy=Policy(maximum=16), node_port=SlowNode).running() as node:
        await node.until(lambda: node.counts.free == 16)
        await asyncio.sleep(20)
        for number in range(16):
            await node.add(f"p{number}")
        await node.until(lambda: not node.state.can_take_a_pod)
        await asyncio.sleep(STEADY_S - 4.8)
        await node.delete("p0")  # written at once, and the next change five seconds later: while the taint is added
        await asyncio.sleep(2)
        await node.delete("p1")
        changed_s = node.clock.boottime_s()
        await node.until(lambda: node.status["cooling"] == 2, within_s=60)
        assert node.state.tainted
        assert node.clock.boottime_s() - changed_s <= 10
