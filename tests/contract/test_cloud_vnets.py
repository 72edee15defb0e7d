"""What the controller asks of Azure, on the real adapter: how full a VNet is, and what is left on a NIC."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

import fakeazure as faults
from azure_cni.azure.arm import Arm
from azure_cni.azure.arm_nic import ArmNic
from azure_cni.azure.endpoints import cloud_named
from azure_cni.azure.resources import Resource
from azure_cni.azure.scale_set_nic import ScaleSetNic
from azure_cni.azure.vnets import ArmVNets
from azure_cni.errors import (
    AccessDenied,
    CloudNotFound,
    CloudUnreachable,
    OperationFailed,
    RequestRefused,
    ResourceBusy,
    Throttled,
)
from azure_cni.model.nic import MOST_USED, NicID, VNetID
from contract.azure_world import Token
from contract.nic_world import Calls
from fakeazure import FakeAzure
from fakeazure.errors import ArmError, subscription_not_found
from fakes.waiting import PATIENCE_S, background, until

GROUP = "/subscriptions/{}/resourceGroups/azbox/providers/Microsoft.Network"


class ServedVNets:
    def __init__(self, azure: FakeAzure, arm: Arm) -> None:
        self.azure, self.arm, self.vnets = azure, arm, ArmVNets(arm)
        base = GROUP.format(azure.subscription_id)
        self.vnet_id = VNetID(f"{base}/virtualNetworks/vnet")
        self.nic_id = f"{base}/networkInterfaces/vm1-nic"


@pytest.fixture
async def world() -> AsyncIterator[ServedVNets]:
    azure = FakeAzure(seed=3, page_size=1, operation_duration_s=60.0)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/24", "GatewaySubnet": "10.240.1.0/28", "others": "10.240.2.0/28"})
    azure.add_vm("vm1", secondaries=2)
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        cloud = cloud_named("AzurePublicCloud", endpoint=endpoints.arm)
        arm = Arm(cloud, Token(azure, "vm1"), meter=Calls(), ca_file=endpoints.ca_file)
        try:
            yield ServedVNets(azure, arm)
        finally:
            await arm.close()


async def test_all_subnets_count_and_a_gateways_is_no_less_than_none(world: ServedVNets) -> None:
    assert await world.vnets.used(world.vnet_id) == 3
    world.azure.outside.take(4, "nodes")
    world.azure.outside.take(2, "others")
    assert await world.vnets.used(world.vnet_id) == 9
    assert world.azure.calls["vnet.usages"] == 6  # three pages each


async def test_what_is_left_on_the_nic_of_an_instance_counts_with_its_model(world: ServedVNets) -> None:
    world.azure.operation_duration_s = 0
    world.azure.uniform.add("pool", secondaries=1)
    nic_id = world.azure.nic_record("pool_0/pool-nic").id
    assert await world.vnets.ours_on(nic_id) == 0
    nic = ScaleSetNic(world.arm, NicID(nic_id), chance=Random(1))
    view = await nic.write(await nic.read(), add=2)
    world.azure.faults.add(faults.FailOperation(leaves="previous"), operation="instance.put")
    with pytest.raises(OperationFailed):
        await nic.write(view, add=3)
    assert await world.vnets.ours_on(nic_id) == 5
    assert await world.vnets.vm_of(nic_id) == world.azure.vm("pool_0").id


async def test_an_instance_that_is_gone_holds_nothing(world: ServedVNets) -> None:
    world.azure.uniform.add("pool")
    nic_id = world.azure.nic_record("pool_0/pool-nic").id
    world.azure.uniform.vanish("pool_0")
    assert (await world.vnets.ours_on(nic_id), await world.vnets.vm_of(nic_id)) == (None, "")


async def test_an_instance_under_a_write_is_not_counted(world: ServedVNets) -> None:
    world.azure.uniform.add("pool")
    nic_id = world.azure.nic_record("pool_0/pool-nic").id
    nic = ScaleSetNic(world.arm, NicID(nic_id), chance=Random(1))
    async with background(nic.write(await nic.read(), add=1)):
        await until(lambda: bool(world.azure.history.writes), within_s=PATIENCE_S, say=lambda: world.azure.calls)
        with pytest.raises(ResourceBusy, match="still working on it"):
            await world.vnets.ours_on(nic_id)


async def test_a_denial_names_the_missing_permission(world: ServedVNets) -> None:
    world.azure.faults.add(faults.Forbidden(), operation="vnet.usages")
    with pytest.raises(AccessDenied, match="usages/read"):
        await world.vnets.used(world.vnet_id)


class Items:
    """An Arm that has these usages."""

    def __init__(self, *usages: Any) -> None:
        self.usages = list(usages)

    async def items(self, _: Resource, collection: str) -> list[Any]:
        assert collection == "usages"
        return self.usages


@pytest.mark.parametrize(("value", "used"), [(7, 7), (7.0, 7), (0, 0), (-1, 0)])
async def test_usages_are_numbers(world: ServedVNets, value: float, used: int) -> None:
    vnets = ArmVNets(Items({"currentValue": value}, {"currentValue": 2.0}))  # type: ignore[arg-type]
    assert await vnets.used(world.vnet_id) == used + 2


async def test_no_subnet_is_larger_than_the_api_server_lets_a_status_say(world: ServedVNets) -> None:
    """As one of IPv6 may be shown: a ledger with such a number in its status would be refused, and nobody granted."""
    usage = {"id": f"{world.vnet_id}/subnets/six", "currentValue": 1e300, "limit": 2.0**64}
    (shown,) = await ArmVNets(Items(usage)).usages(world.vnet_id)  # type: ignore[arg-type]
    assert (shown.used, shown.limit) == (MOST_USED, MOST_USED)


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], {"currentValue": None}, {"currentValue": "7"}, {"currentValue": True}, {"currentValue": math.nan}],
)
async def test_a_subnet_without_a_number_is_not_empty(world: ServedVNets, usage: Any) -> None:
    with pytest.raises(CloudUnreachable, match="cannot read usages of VNet vnet: "):
        await ArmVNets(Items({"currentValue": 2}, usage)).used(world.vnet_id)  # type: ignore[arg-type]


async def test_throttling_is_reported(world: ServedVNets) -> None:
    world.azure.faults.add(faults.Throttled(), operation="vnet.usages")
    with pytest.raises(Throttled):
        await world.vnets.used(world.vnet_id)


async def test_only_what_is_ours_on_a_nic_counts(world: ServedVNets) -> None:
    assert await world.vnets.ours_on(world.nic_id) == 0  # two of others
    world.azure.outside.appear("vm1-nic", count=3, prefix="azure-cni-1a")
    world.azure.outside.appear("vm1-nic", count=1, prefix="azure-cni-")  # a name that only begins like ours
    assert await world.vnets.ours_on(world.nic_id) == 3
    assert await world.vnets.ours_on(world.nic_id.upper().replace("/SUBSCRIPTIONS", "/subscriptions")) == 3


async def test_a_nic_that_azure_does_not_know_is_gone(world: ServedVNets) -> None:
    assert await world.vnets.ours_on(f"{world.nic_id}-gone") is None


async def test_a_nic_shows_the_vm_that_it_is_on(world: ServedVNets) -> None:
    vm = world.azure.nic_record("vm1-nic").vm_id
    assert vm.endswith("/Microsoft.Compute/virtualMachines/vm1")
    assert await world.vnets.vm_of(world.nic_id) == vm
    assert await world.vnets.vm_of(f"{world.nic_id}-gone") == ""


@pytest.mark.parametrize("vm", [None, {}, {"id": 7}, "vm1", ["vm1"]])
async def test_a_nic_that_shows_no_vm_is_on_none(world: ServedVNets, vm: Any) -> None:
    document = await world.arm.get(Resource.parse(world.nic_id))
    document["properties"]["virtualMachine"] = vm

    class Shows:
        async def get(self, _: Resource) -> Any:
            return document

    assert await ArmVNets(Shows()).vm_of(world.nic_id) == ""  # type: ignore[arg-type]


async def test_a_nic_that_azure_works_on_says_nothing(world: ServedVNets) -> None:
    nic = ArmNic(world.arm, NicID(world.nic_id), chance=Random(1))
    writing = asyncio.create_task(nic.write(await nic.read(), add=1))
    while (await nic.read()).settled:
        assert not writing.done()
    with pytest.raises(ResourceBusy, match="vm1-nic"):
        await world.vnets.ours_on(world.nic_id)
    writing.cancel()


async def test_a_failure_is_not_mistaken_for_a_nic_that_is_gone(world: ServedVNets) -> None:
    world.azure.faults.add(faults.Refuse(ArmError(500, "InternalServerError", "made to fail")), operation="nic.get")
    with pytest.raises(CloudUnreachable):
        await world.vnets.ours_on(world.nic_id)


async def test_a_subscription_that_is_not_seen_says_nothing_of_its_nics(world: ServedVNets) -> None:
    world.azure.faults.add(faults.Refuse(subscription_not_found("s")), operation="nic.get")
    with pytest.raises(CloudNotFound):
        await world.vnets.ours_on(world.nic_id)


async def test_what_is_no_nic_is_refused(world: ServedVNets) -> None:
    with pytest.raises(RequestRefused):
        await world.vnets.ours_on("/subscriptions/s/resourceGroups//providers/Microsoft.Network/networkInterfaces/")
