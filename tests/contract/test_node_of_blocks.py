"""A node whose pool goes by blocks: the agent with the real adapter, on the fake Azure."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from azure_cni.ipam.sizing import Policy
from contract.agent_machine import SHORT, Machine, until
from contract.role_world import TwoVms
from fakes.simulated_node import holder

OF_BLOCKS = Policy(blocks=28)


@pytest.fixture
def world() -> TwoVms:
    return TwoVms()


def blocks(world: TwoVms) -> list[str]:
    """Those on the NIC of `vm1`, as Azure has them."""
    world.azure.settle()
    return sorted(config.address for config in world.azure.nic_record("vm1-nic").settled if not config.primary)


async def test_pods_get_addresses_of_whole_blocks_which_leave_when_nobody_needs_them(world: TwoVms) -> None:
    machine = Machine(world, timing=SHORT)
    async with machine.agent(OF_BLOCKS) as node:
        await until(lambda: node.stored.ledger.counts().free == 16)
        given = [(await node.sandboxes.add(holder(f"p{number}"))).addresses[0] for number in range(12)]
        await until(lambda: node.stored.ledger.counts().allocated == 32)
        assert blocks(world) == ["10.240.0.16/28", "10.240.0.32/28"]
        assert all(any(one in IPv4Network(block) for block in blocks(world)) for one in given)
        await until(lambda: machine.status.get("allocated") == 32, say=lambda: machine.status)
    async with machine.agent(Policy(min_free=0, batch=16, max_free=16, blocks=28)) as node:
        await until(lambda: len(blocks(world)) == 1)
        assert {slot.address for slot in node.stored.ledger.slots if slot.holder} == set(given)
        assert all(one in IPv4Network(blocks(world)[0]) for one in given)


async def test_all_blocks_of_a_node_take_one_write(world: TwoVms) -> None:
    machine = Machine(world, timing=SHORT)
    before = len(world.azure.history.writes)
    async with machine.agent(Policy(size=208, blocks=28)) as node:  # of the 14 blocks that a /24 has
        await until(lambda: node.stored.ledger.counts().free == 208)
    assert len(blocks(world)) == 13
    assert len(world.azure.history.writes) == before + 1


async def test_a_subnet_of_scattered_addresses_is_said_to_have_no_block(world: TwoVms) -> None:
    world.azure.outside.fragment()
    machine = Machine(world, timing=SHORT)
    async with machine.agent(OF_BLOCKS):
        await until(lambda: machine.conditions.get("SubnetFull", {}).get("status") == "True")
        assert "too few blocks of 16 free addresses" in machine.conditions["SubnetFull"]["message"]
        assert "Azure said" in machine.conditions["SubnetFull"]["message"]
    async with machine.agent(Policy()) as node:
        await until(lambda: node.stored.ledger.counts().free == 16)
