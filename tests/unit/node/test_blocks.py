"""A configuration that holds several addresses: each serves a pod, and it leaves the NIC with all of them."""

import asyncio
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from azure_cni.ipam.sizing import Policy
from azure_cni.model.config_names import is_block_name
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime

BLOCK = IPv4Network("10.240.1.16/28")
OURS = "azure-cni-0000000b"


def with_block(**more: Any) -> FakeNic:
    nic = FakeNic(**more)
    nic.elsewhere_add(str(BLOCK[0]), name=OURS, size=BLOCK.num_addresses)
    return nic


async def four_pods_that_lose_theirs(node: SimulatedNode) -> list[IPv4Address]:
    """Another tool takes off the NIC what they have: these addresses, in their order."""
    had = [(await node.add(f"p{number}")).addresses[0] for number in range(4)]
    node.demand.begin_list()
    node.demand.replace([pod_body(f"p{number}") for number in range(4)])
    await node.until(lambda: node.counts.free >= 8)
    node.nic.elsewhere_forget()
    return had


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


OF_BLOCKS = Policy(blocks=28)


def names(node: SimulatedNode) -> list[str]:
    return [config.name for config in node.nic.configs if not config.primary]


class TestPool:
    """`blocks: 28`."""

    async def test_its_writes_go_by_block_and_all_else_by_address(self):
        async with SimulatedNode(policy=OF_BLOCKS).running() as node:
            await node.until(lambda: node.counts.free == 16)
            assert (node.status["allocated"], node.status["requested"], len(names(node))) == (16, 16, 1)
            assert (node.status["blocks"], is_block_name(names(node)[0])) == (28, True)
            made = [(await node.add(f"p{number}")).addresses[0] for number in range(60)]
            assert len(set(made)) == 60
            await node.until(lambda: node.counts.free >= 8)
            assert node.counts.allocated % 16 == 0

    async def test_as_many_addresses_as_a_node_can_have_in_blocks_take_one_write(self):
        async with SimulatedNode(policy=Policy(size=240, blocks=28)).running() as node:
            await node.until(lambda: node.counts.free == 240)
            assert (node.nic.writes, len(names(node))) == (1, 15)
            limit = node.condition("AtLimit")
            assert (limit["status"], "as many as one node can have in blocks" in limit["message"]) == ("True", True)

    async def test_a_block_leaves_once_all_of_it_is_free_and_pods_fill_the_others_first(self):
        async with SimulatedNode(policy=OF_BLOCKS, shrink_delay_s=10.0).running() as node:
            for number in range(40):
                await node.add(f"p{number}")
            await node.until(lambda: node.counts.free >= 8)
            for number in range(2, 40):
                await node.delete(f"p{number}")
            await asyncio.sleep(400)
            assert node.counts.allocated == 16
            assert {slot.address for slot in node.stored.ledger.slots if slot.holder} <= node.nic.addresses
            for number in range(14):
                await node.add(f"q{number}")
            assert len({slot.config for slot in node.stored.ledger.slots if slot.holder}) == 1

    async def test_a_subnet_with_no_block_left_says_which_it_may_be(self):
        nic = FakeNic()
        nic.taken |= dict.fromkeys(list(nic.subnet)[8::16], "another")
        async with SimulatedNode(nic=nic, policy=OF_BLOCKS).running() as node:
            await node.until(lambda: "conditions" in node.status)
            await node.until(lambda: node.condition("SubnetFull")["status"] == "True")
            message = node.condition("SubnetFull")["message"]
            assert "too few blocks of 16 free addresses" in message
            assert "scattered" in message
            assert "spec.blocks" in message
            node.pools.edit_spec(blocks=0)
            await node.until(lambda: node.counts.free == 16, within_s=1000)
            assert "blocks" not in node.status

    async def test_what_another_tool_removed_comes_back_as_the_same_block(self):
        async with SimulatedNode(policy=OF_BLOCKS).running() as node:
            had = await four_pods_that_lose_theirs(node)
            await node.until(lambda: ("repaired", "lost_address") in node.observer.recorded, within_s=700)
            await node.until(lambda: set(had) <= node.nic.addresses and not node.counts.missing)
            (config,) = [one for one in node.nic.configs if had[0] in one.addresses]
            assert (config.size, config.name.endswith("-28-static")) == (16, True)

    async def test_of_a_block_that_another_has_a_part_of_pods_get_theirs_back(self):
        async with SimulatedNode(policy=OF_BLOCKS).running() as node:
            had = await four_pods_that_lose_theirs(node)
            node.nic.taken[had[-1] + 1] = "another node"
            await node.until(lambda: ("repaired", "lost_address") in node.observer.recorded, within_s=700)
            await node.until(lambda: set(had) <= node.nic.addresses and not node.counts.missing)

    async def test_a_nic_that_takes_no_blocks_gets_single_addresses(self):
        nic = FakeNic()
        nic.takes_blocks = False
        async with SimulatedNode(nic=nic, policy=OF_BLOCKS).running() as node:
            await node.until(lambda: node.counts.free == 16)
            assert len(names(node)) == 16
            assert "blocks" not in node.status
            assert node.condition("Ready")["status"] == "True"
