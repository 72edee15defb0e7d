"""Reads of the NIC that lag: Azure answers with the NIC as it was before what the node has seen already."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.api.node_ip_pool import READ_NOW
from azure_cni.model.nic import NicView
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode
from unit.node.test_late_writes import LateNic, pods_come

pytestmark = pytest.mark.looptime

LONG_S = 120.0
"""No read lags for this long."""


class LaggingNic(FakeNic):
    """Each read shows `old` while there is one."""

    old: NicView | None = None

    async def read(self) -> NicView:
        return self.old or await super().read()


class StaleNic(LateNic):
    """After the shrink that is not answered, reads show `oldest`: older than what that write was decided on."""

    oldest: NicView | None = None

    async def read(self) -> NicView:
        if self.before is not None and self.oldest is not None:
            self.before = self.oldest
        return await super().read()


def ask(node: SimulatedNode) -> None:
    node.pools.annotate(**{READ_NOW: str(node.clock.boottime_s())})
    node.reconciler.pool_seen(node.pools.shown())


async def test_what_a_confirmed_write_took_off_goes_to_no_pod_while_reads_lag():
    nic = LaggingNic()
    async with SimulatedNode(nic=nic).running() as node:
        await node.until(lambda: node.counts.free == 16)
        for number in range(30):
            await node.add(f"p{number}")
        await node.until(lambda: node.counts.allocated == 48)
        before = await nic.read()
        for number in range(30):
            await node.delete(f"p{number}")
        await node.until(lambda: node.counts.allocated == 16, within_s=1000)
        nic.old = before
        ask(node)
        await asyncio.sleep(3)
        assert node.counts.allocated == 16
        assert node.condition("Ready")["status"] == "True"
        reads = nic.reads
        await asyncio.sleep(20)
        assert nic.reads == reads
        nic.old = None
        assert await pods_come(node) == 30
        assert node.status["lastRead"]["request"]


async def test_a_read_from_before_the_doubt_does_not_end_it():
    nic = StaleNic(late_s=30.0, lagging_reads=4)
    async with SimulatedNode(nic=nic, shrink_delay_s=60.0).running() as node:
        await node.until(lambda: node.counts.free == 16)
        for number in range(30):
            await node.add(f"p{number}")
        await node.until(lambda: node.counts.allocated == 48)
        for number in range(30):
            await node.delete(f"p{number}")
        await node.until(lambda: node.counts.free == 48, within_s=200)
        nic.oldest, nic.armed = await nic.read(), True
        nic.elsewhere_touch()
        ask(node)
        await node.until(lambda: nic.lost is not None, within_s=100)
        assert await pods_come(node) == 30
        assert nic.lagging_reads == 0


async def test_a_nic_that_shows_an_old_etag_for_long_is_believed():
    nic = LaggingNic()
    async with SimulatedNode(nic=nic).running() as node:
        await node.until(lambda: node.counts.free == 16)
        before = await nic.read()
        nic.elsewhere_add("10.240.0.200")
        ask(node)
        await node.until(lambda: node.counts.free == 17)
        nic.old = before
        ask(node)
        await asyncio.sleep(LONG_S / 2)
        assert node.counts.free == 17
        await asyncio.sleep(LONG_S)
        assert node.counts.free == 16
