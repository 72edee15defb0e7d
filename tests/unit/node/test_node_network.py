"""A kernel that cannot be prepared stops neither the pool nor the status; it only keeps new addresses from pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from azure_cni.api.egress import EGRESS
from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.errors import DatapathError
from azure_cni.ipam.sizing import Policy
from fakes.simulated_node import SimulatedNode, pod_body
from simulation.datapath import FakeDatapath
from unit.node.attaching import ADDRESS, ALLOWED, NONE, ended, node, show, started

pytestmark = pytest.mark.looptime

REFUSAL = DatapathError("cannot apply nftables table inet azure_cni: Operation not supported")


def demand(node: SimulatedNode, count: int) -> None:
    for number in range(count):
        node.demand.observe_pod(pod_body(f"p{number}"))
    node.reconciler.wake()


async def test_the_pool_grows_and_the_status_says_so_while_the_kernel_refuses_and_pods_get_them_after():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        known = {slot.address for slot in node.stored.ledger.slots}
        node.datapath.refuses_node = REFUSAL
        demand(node, 30)
        await node.until(lambda: node.status["allocated"] == 48, within_s=30)
        assert (node.counts.free, node.counts.programming) == (16, 32)
        for number in range(16):
            assert (await node.add(f"p{number}")).addresses[0] in known
        await asyncio.sleep(400)
        assert node.counts.programming == 32
        assert node.condition("Ready")["reason"] == "DatapathFailed"
        assert "Operation not supported" in node.condition("Ready")["message"]
        node.datapath.refuses_node = None
        await node.until(lambda: node.counts.free == 32, within_s=330)  # the longest pause between two attempts
        assert (await node.add("p16")).addresses[0] not in known
        await node.until(lambda: node.condition("Ready")["reason"] == "PodsCanStart", within_s=10)


async def test_an_agent_that_starts_with_it_serves_from_its_ledger_and_grows():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.counts.free == 16)
    node = SimulatedNode(before=first)
    node.datapath.refuses_node = REFUSAL
    async with node.running():
        demand(node, 30)
        assert (await node.add("p0")).addresses[0]
        await node.until(lambda: node.status["allocated"] == 48, within_s=30)
        assert node.counts.programming == 32


async def test_nothing_leaves_the_nic_that_the_table_goes_on_to_count_as_ours():
    async with SimulatedNode(policy=Policy(size=32)).running() as node:
        await node.until(lambda: node.counts.free == 32)
        node.datapath.refuses_node = REFUSAL
        node.pools.edit_spec(size=16)
        node.reconciler.pool_seen(node.pools.shown())
        await asyncio.sleep(900)
        assert node.counts.free == 32
        node.datapath.refuses_node = None
        await node.until(lambda: node.counts.allocated == 16, within_s=700)


async def test_addresses_are_free_also_when_somebody_elses_change_was_what_got_the_kernel_right():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.datapath.refuses_node = REFUSAL
        demand(node, 30)
        await node.until(lambda: node.counts.programming == 32, within_s=30)
        node.datapath.refuses_node = None
        await node.reconciler.restore_network("a table was deleted")
        await node.until(lambda: node.counts.free == 48, within_s=330)


class HalfDone(FakeDatapath):
    """Loads the table, and then refuses something else while `refuses` (a switch, the bridge); or refuses at once."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = False

    async def apply_node(self, table: NodeTable) -> HostReport:
        report = await super().apply_node(table)
        if self.refuses:
            raise DatapathError("cannot turn on sysctl net.ipv4.ip_forward: Read-only file system")
        return report


@asynccontextmanager
async def half_done(**options: Any) -> AsyncIterator[tuple[SimulatedNode, HalfDone]]:
    """A node, whose kernel it is."""
    kernel, before = HalfDone(), SimulatedNode(**options)
    before.datapath = kernel
    async with SimulatedNode(before=before, **options).running() as node:
        yield node, kernel


async def test_a_public_address_that_the_table_may_still_have_keeps_the_next_pod_away() -> None:
    """It got into the table by an attempt that failed afterwards; the one that should remove it does not get so far."""
    policy = Policy(size=1)
    async with half_done(policy=policy, attachable=ALLOWED, cooling_s=5.0) as (node, kernel):
        node.demand.replace([])
        shop = await started(node, "shop")
        kernel.refuses = True
        show(node, "shop", public_ip=ADDRESS.id)
        await node.until(lambda: kernel.tables[-1].public == {shop})
        kernel.refuses_node = REFUSAL
        await ended(node, "shop", public_ip=ADDRESS.id)
        await node.until(lambda: node.nic.attached_to(shop) == NONE)
        await asyncio.sleep(900)
        assert (kernel.tables[-1].public, node.counts.free) == ({shop}, 0)
        kernel.refuses, kernel.refuses_node = False, None
        await node.until(lambda: node.counts.free == 1, within_s=400)
        assert kernel.tables[-1].public == frozenset()


async def test_an_egress_that_the_table_may_still_have_is_removed_before_the_next_pod_is_wired() -> None:
    async with half_done(policy=Policy(size=1), egress=["default"], cooling_s=5.0) as (node, kernel):
        await node.until(lambda: node.counts.free == 1)
        address = (await node.add("first")).addresses[0]
        kernel.refuses = True
        kernel.flush()  # so the whole table is loaded, with what it should have then
        node.node.pod_seen(pod_body("first", annotations={EGRESS: "pod"}))
        await node.until(lambda: kernel.own_egress == {address})
        await node.delete("first")
        node.node.pod_gone("uid-first")
        await node.until(lambda: node.counts.free == 1)
        assert (await node.add("next")).addresses == (address,)
        assert kernel.own_egress == frozenset()


async def test_a_pod_keeps_its_way_out_while_azure_has_not_attached_its_public_address() -> None:
    """A NIC that is being updated shows what it shall have; without translation nothing would answer the pod yet."""
    one = node(policy=Policy(size=1))
    async with one.running():
        shop = await started(one, "shop")
        one.nic.hold()
        show(one, "shop", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(shop) == {ADDRESS})
    after = node(before=one, policy=Policy(size=1))
    async with after.running():
        show(after, "shop", public_ip=ADDRESS.id)
        await asyncio.sleep(60.0)
        assert (after.nic.reads > 1, after.datapath.tables[-1].public) == (True, frozenset())
        after.nic.finish()
        await after.until(lambda: after.datapath.tables[-1].public == {shop})
