"""A node whose pods have both families: the agent with the real adapter, on the fake Azure."""

from __future__ import annotations

from ipaddress import IPv6Network
from typing import Any

import pytest

from azure_cni.ipam.sizing import Policy
from contract.agent_machine import SHORT, Machine, until
from contract.role_world import TwoVms
from fakeazure import NoIPv6Block
from fakes.simulated_node import holder

DUAL = Policy(size=8, ipv6=True)


@pytest.fixture
def world() -> TwoVms:
    return TwoVms()


def on_nic(world: TwoVms) -> list[str]:
    """What of IPv6 works on the NIC of `vm1`."""
    world.azure.settle()
    return list(world.azure.nic_record("vm1-nic").effective_nic().ipv6)


async def given(node: Any, name: str) -> tuple[str, str]:
    await node.sandboxes.add(holder(name))
    (slot,) = node.stored.ledger.holding(holder(name).sandbox)
    return str(slot.address), str(slot.ipv6)


async def test_one_write_brings_both_and_pods_get_what_works(world: TwoVms) -> None:
    world.azure.add_ipv6()
    machine, before = Machine(world, timing=SHORT), len(world.azure.history.writes)
    async with machine.agent(DUAL) as node:
        await until(lambda: node.stored.ledger.counts().free == 8)
        assert len(world.azure.history.writes) == before + 1
        (block,) = on_nic(world)
        made = [await given(node, f"p{number}") for number in range(8)]
        assert all(IPv6Network(ipv6).subnet_of(IPv6Network(block)) for _, ipv6 in made)
        assert len(dict(made)) == len({ipv6 for _, ipv6 in made}) == 8
        await until(lambda: machine.status.get("allocated") == 8, say=lambda: machine.status)
        await until(lambda: machine.status.get("excluded") == [], say=lambda: machine.status)


async def test_the_nodes_own_ipv6_address_is_left_alone(world: TwoVms) -> None:
    world.azure.add_ipv6()
    document = world.azure.nic("vm1-nic")
    configs = document["properties"]["ipConfigurations"]
    groups = configs[0]["properties"].get("applicationSecurityGroups", [])
    of_node = {"privateIPAddressVersion": "IPv6", "applicationSecurityGroups": groups}
    configs.append({"name": "ipv6", "properties": of_node})
    nics, record = world.azure.nics, world.azure.nic_record("vm1-nic")
    nics.write(nics.read(record.id, document), now=world.azure.settle(), duration_s=0.0)
    (own,) = on_nic(world)
    machine = Machine(world, timing=SHORT)
    async with machine.agent(DUAL) as node:
        await until(lambda: node.stored.ledger.counts().free == 8)
        assert own in on_nic(world)
        assert len(on_nic(world)) == 2
        assert all(ipv6 != own for _, ipv6 in [await given(node, f"p{number}") for number in range(8)])
        await until(lambda: machine.status.get("excluded") == ["ipv6: is IPv6"], say=lambda: machine.status)


async def test_single_addresses_where_azure_refuses_the_block(world: TwoVms) -> None:
    world.azure.add_ipv6()
    world.azure.faults.add(NoIPv6Block(), times=None)
    machine = Machine(world, timing=SHORT)
    async with machine.agent(DUAL) as node:
        await until(lambda: node.stored.ledger.counts().free == 8)
        assert len(on_nic(world)) == 8
        made = [await given(node, f"p{number}") for number in range(8)]
        assert {ipv6 for _, ipv6 in made} == set(on_nic(world))


async def test_a_subnet_without_ipv6_is_said_in_azures_words(world: TwoVms) -> None:
    machine = Machine(world, timing=SHORT)
    async with machine.agent(DUAL) as node:

        def said() -> str:
            conditions = (machine.pools.pool or {}).get("status", {}).get("conditions", [])
            return next((one["message"] for one in conditions if one["type"] == "Ready"), "")

        await until(lambda: "has no IPv6 address prefix" in said(), say=said)
        assert "give the NIC's subnet an IPv6 prefix (/64), or set ipFamilies to [IPv4]" in said()
        assert node.stored.ledger.counts().free == 0
