"""A kernel that cannot be prepared stops neither the pool nor the status; it only keeps new addresses from pods."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.errors import DatapathError
from azure_cni.ipam.sizing import Policy
from fakes.simulated_node import SimulatedNode, pod_body

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
