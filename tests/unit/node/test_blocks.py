"""A configuration that holds several addresses: each serves a pod, and it leaves the NIC with all of them."""

import asyncio
from ipaddress import IPv4Network
from typing import Any

import pytest

from azure_cni.ipam.sizing import Policy
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

BLOCK = IPv4Network("10.240.1.16/28")
OURS = "azure-cni-0000000b"


def with_block(**more: Any) -> FakeNic:
    nic = FakeNic(**more)
    nic.elsewhere_add(str(BLOCK[0]), name=OURS, size=BLOCK.num_addresses)
    return nic


async def test_each_of_its_addresses_serves_a_pod_and_counts():
    async with SimulatedNode(nic=with_block(), policy=Policy(size=16)).running() as node:
        made = [(await node.add(f"p{number}")).addresses[0] for number in range(16)]
        assert set(made) == set(BLOCK)
        await node.until(lambda: node.status.get("assigned") == 16)
        assert (node.status["allocated"], node.status["requested"], node.nic.writes) == (16, 16, 0)
        assert set(BLOCK) <= node.datapath.tables[-1].pool
        node.nic.elsewhere_remove(OURS)
        node.nic.room = 0
        await node.until(lambda: node.counts.missing == 16, within_s=700)


async def test_the_pool_grows_beside_it_by_the_addresses_that_are_missing():
    async with SimulatedNode(nic=with_block(), policy=Policy(size=20)).running() as node:
        await node.until(lambda: node.counts.free == 20)
        assert (await node.nic.read()).config_count == 6
        assert node.status["requested"] == 20


async def test_it_leaves_whole_once_no_pod_has_any_of_it():
    nic = with_block(ours=["10.240.0.50", "10.240.0.51", "10.240.0.52"])
    policy = Policy(min_free=1, batch=1, max_free=16)
    async with SimulatedNode(nic=nic, policy=policy, shrink_delay_s=10.0).running() as node:
        made = {name: (await node.add(name)).addresses[0] for name in ("a", "b", "c", "d")}
        assert made["d"] == BLOCK[0]
        await node.delete("d")
        await asyncio.sleep(300)
        assert (node.counts.free, node.nic.writes) == (16, 0)
        await node.delete("c")
        await node.until(lambda: not set(BLOCK) & node.nic.addresses, within_s=700)
        await node.until(lambda: node.status["lastWrite"]["removed"] == 16)
        (shrank,) = [event for event in node.events.published if event.reason == "PoolShrank"]
        assert shrank.message.startswith("removed 16 addresses (")
        assert node.counts.free == 1
