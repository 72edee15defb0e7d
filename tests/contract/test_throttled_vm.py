"""The compute provider refuses the reads of one VM: the controller goes on reading the others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from azure_cni.azure.arm import Arm
from azure_cni.azure.resources import Resource
from azure_cni.azure.vnets import ArmVNets
from azure_cni.errors import Throttled
from azure_cni.model.nic import VNetID
from contract.identify_world import AzureWorld, open_world
from fakeazure.throttling import COMPUTE_GET_VM

OF_ONE_VM = int(COMPUTE_GET_VM[0].size)


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with open_world() as opened:
        for name in ("vm2", "vm3"):
            opened.azure.add_vm(name)
        yield opened


@pytest.fixture
async def arm(world: AzureWorld) -> AsyncIterator[Arm]:
    async with world.arm() as opened:
        yield opened


async def use_up(arm: Arm, vm: Resource) -> None:
    """As a node does that sends operation after operation."""
    for _ in range(OF_ONE_VM):
        await arm.get(vm)
    with pytest.raises(Throttled, match="too many requests"):
        await arm.get(vm)


async def test_all_others_are_read_and_it_alone_waits(world: AzureWorld, arm: Arm) -> None:
    one, other = (Resource.parse(world.azure.vm(name).id) for name in ("vm1", "vm2"))
    await use_up(arm, one)
    with pytest.raises(Throttled, match="Azure throttles reads for another"):
        await arm.get(one)
    assert (await arm.get(other))["name"] == "vm2"
    nic = world.azure.nic_record("vm2-nic")
    assert (await arm.get(Resource.parse(nic.id)))["name"] == "vm2-nic"
    assert await ArmVNets(arm).used(VNetID(nic.subnet_id.removesuffix("/subnets/nodes"))) > 0


async def test_when_a_second_is_refused_no_vm_is_read(world: AzureWorld, arm: Arm) -> None:
    one, other, third = (Resource.parse(world.azure.vm(name).id) for name in ("vm1", "vm2", "vm3"))
    await use_up(arm, one)
    await use_up(arm, other)
    with pytest.raises(Throttled, match="Azure throttles reads for another"):
        await arm.get(third)
    assert (await arm.get(Resource.parse(world.azure.nic_record("vm3-nic").id)))["name"] == "vm3-nic"
