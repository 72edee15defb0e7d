"""Azure takes connections and says nothing: what a node can do by itself goes on meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.api.nic import NicView
from azure_cni.errors import CloudUnreachable
from azure_cni.ipam.limits import COOLING_S
from fakes.cloud import FakeCloud
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

HANGS_S = 120.0


class HangingNic(FakeNic):
    """Reads get no answer while it hangs."""

    hangs = False
    asked = 0

    async def read(self) -> NicView:
        if self.hangs:
            self.asked += 1
            await asyncio.sleep(HANGS_S)
            raise CloudUnreachable(f"cannot read the NIC: no answer within {HANGS_S:g} s")
        return await super().read()


class HangingCloud(FakeCloud):
    """Nobody says who the node is, while it hangs."""

    hangs = False

    async def identify(self):
        if self.hangs:
            await asyncio.sleep(HANGS_S)
            raise CloudUnreachable(f"cannot identify this node: no answer within {HANGS_S:g} s")
        return await super().identify()


async def test_addresses_cool_and_are_told_while_a_read_of_the_nic_hangs():
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
        assert (await node.add("new")).address
        assert node.clock.boottime_s() - deleted_s < COOLING_S + 10
        assert node.clock.boottime_s() - node.reconciler.breathed_s < 5


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
        await second.until(lambda: second.board.ready, within_s=1)
        assert (await second.add("new")).address
        await second.until(lambda: second.counts.free == 31, within_s=COOLING_S + 5)


async def test_an_add_frees_what_has_cooled_even_if_nobody_else_did():
    node = SimulatedNode()
    async with node.running():
        await node.until(lambda: node.counts.free == 16)
        for number in range(16):
            await node.add(f"p{number}")
    for slot in node.book.ledger.slots:
        if slot.holder is None:
            node.book.commit(node.book.ledger.release([slot.address], now_s=node.clock.boottime_s()))
    for number in range(16):
        await node.delete(f"p{number}")
    await asyncio.sleep(COOLING_S + 1)
    assert node.counts.free == 0
    assert (await node.add("new")).address
