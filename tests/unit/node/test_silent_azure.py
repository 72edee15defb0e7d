"""Azure takes connections and says nothing: what a node can do alone goes on meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.limits import COOLING_S
from azure_cni.model.nic import NicView
from fakes.simulated_node import SimulatedNode
from unit.node.hanging import HangingCloud, HangingNic

pytestmark = pytest.mark.looptime


async def test_addresses_cool_and_are_reported_while_a_read_of_the_nic_hangs():
    nic = HangingNic()
    async with SimulatedNode(nic=nic).running() as node:
        await node.until(lambda: node.counts.free == 16)
        nic.hangs = True
        await node.until(lambda: nic.asked == 1, within_s=700)
        for number in range(16):
            await node.add(f"p{number}")
        for number in range(16):
            await node.delete(f"p{number}")
        deleted_s = node.clock.boottime_s()
        await node.until(lambda: node.counts.free == 16, within_s=COOLING_S + 5)
        assert nic.asked >= 2
        await node.until(lambda: node.status["free"] == 16, within_s=10)
        assert (await node.add("new")).addresses[0]
        assert node.clock.boottime_s() - deleted_s < COOLING_S + 10
        assert node.clock.boottime_s() - node.reconciler.last_progress_s < 5


async def test_the_next_agent_serves_from_its_ledger_while_nobody_says_who_the_node_is():
    async with SimulatedNode().running() as first:
        for number in range(16):
            await first.add(f"p{number}")
        await first.until(lambda: first.counts.free == 16)
        for number in range(16):
            await first.delete(f"p{number}")
    second = SimulatedNode(before=first)
    second.cloud = cloud = HangingCloud()
    second = SimulatedNode(before=second)
    cloud.hangs = True
    async with second.running():
        await second.until(lambda: second.state.ready, within_s=1)
        assert (await second.add("new")).addresses[0]
        await second.until(lambda: second.counts.free == 31, within_s=COOLING_S + 5)


async def test_an_add_frees_what_has_cooled_even_if_nobody_else_did():
    node = SimulatedNode()
    async with node.running():
        await node.until(lambda: node.counts.free == 16)
        for number in range(16):
            await node.add(f"p{number}")
    for slot in node.stored.ledger.slots:
        if slot.holder is None:
            node.stored.commit(node.stored.ledger.release([slot.address], now_s=node.clock.boottime_s()))
    for number in range(16):
        await node.delete(f"p{number}")
    await asyncio.sleep(COOLING_S + 1)
    assert node.counts.free == 0
    assert (await node.add("new")).addresses[0]


async def test_addresses_cool_and_are_reported_while_the_kernel_takes_its_time():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        stuck = asyncio.Event()

        async def apply_node(_):
            await stuck.wait()

        node.datapath.apply_node = apply_node
        for number in range(16):
            await node.add(f"p{number}")
        for number in range(16):
            await node.delete(f"p{number}")
        deleted_s = node.clock.boottime_s()
        await node.until(lambda: node.counts.free == 16, within_s=COOLING_S + 5)
        await node.until(lambda: node.status["free"] == 16, within_s=10)
        assert node.state.forecast.decided_s > deleted_s + COOLING_S - 1
        await asyncio.sleep(300)
        assert node.clock.boottime_s() - node.reconciler.last_progress_s > 300  # the agent is restarted


async def test_a_call_that_somebody_else_cancelled_fails_one_read_and_ends_no_task():
    node = SimulatedNode()
    read = node.nic.read

    async def cancelled() -> NicView:
        node.nic.read = read
        raise asyncio.CancelledError

    node.nic.read = cancelled
    async with node.running():
        await node.until(lambda: node.counts.free == 16)
        assert ("internal_error", "read") in node.observer.recorded
