"""Who am I: the cloud's port in memory, in ARM, delegated and observed; and who must not be mistaken for this node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

import fakeazure as faults
from azure_cni.api.nic_operation import Identify
from azure_cni.azure.imds import Imds, ImdsClaims
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.errors import AccessDenied, CloudError, CloudNotFound, NotAttested, RequestRefused
from azure_cni.kube.delegated_nic import DelegatedCloud
from azure_cni.model.identity import IdentityClaim, NodeIdentity
from azure_cni.node import ports
from contract.azure_world import Token
from contract.identify_world import AzureWorld, cloud_at, open_world
from fakes.cloud import FakeCloud


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with open_world() as opened:
        yield opened


@pytest.fixture
async def instance(world: AzureWorld) -> AzureWorld:
    """Whoever asks is an instance of a Uniform scale set."""
    world.azure.uniform.add("pool", instances=2, secondaries=1)
    world.azure.pin_caller("pool_0")
    return world


@pytest.fixture
async def cloud(world: AzureWorld) -> AsyncIterator[ArmVmIdentity]:
    async with world.arm() as arm:
        yield ArmVmIdentity(world.imds, arm)


@pytest.fixture(params=["memory", "azure", "delegated", "observed"])
async def any_cloud(request: pytest.FixtureRequest, world: AzureWorld) -> AsyncIterator[ports.Cloud]:
    async with cloud_at(request.param, world, memory=FakeCloud()) as port:
        yield port


async def test_every_cloud_shows_a_kernels_mac_and_the_primary_address(any_cloud: ports.Cloud) -> None:
    identity = await any_cloud.identify()
    assert identity.mac == identity.mac.lower()
    assert identity.mac.count(":") == 5
    assert identity.primary_ip == IPv4Address("10.240.0.4")
    assert identity.vm_id
    view = await any_cloud.vnet(identity)
    assert any(identity.primary_ip in prefix for prefix in view.prefixes)


async def test_the_same_question_has_the_same_answer(any_cloud: ports.Cloud) -> None:
    assert await any_cloud.identify() == await any_cloud.identify()


async def test_the_primary_nic_is_found(world: AzureWorld, cloud: ArmVmIdentity) -> None:
    identity = await cloud.identify()
    vm, nic = world.azure.vm("vm1"), world.azure.nic_record("vm1-nic")
    assert identity == NodeIdentity(
        vm_id=vm.guid,
        vm_resource_id=vm.id,
        nic_id=nic.id,  # type: ignore[arg-type]
        subnet_id=nic.subnet_id,  # type: ignore[arg-type]
        vnet_id=nic.subnet_id.removesuffix("/subnets/nodes"),  # type: ignore[arg-type]
        mac=nic.mac.lower().replace("-", ":"),
        primary_ip=IPv4Address("10.240.0.4"),
        beside=(world.azure.nic_record("vm1-nic2").id,),  # type: ignore[arg-type]
    )


async def test_by_operation_a_node_hears_what_it_would_have_found(world: AzureWorld, cloud: ArmVmIdentity) -> None:
    async with world.delegating() as post:
        delegated = DelegatedCloud(ImdsClaims(world.imds), post)
        assert await delegated.identify() == replace(await cloud.identify(), beside=())
        assert await delegated.vnet(await delegated.identify()) == await cloud.vnet(await cloud.identify())


async def test_by_operation_nobody_hears_of_a_vm_that_is_another(world: AzureWorld) -> None:
    instance = await world.imds.instance()
    claim = IdentityClaim("11111111-1111-1111-1111-111111111111", instance.resource_id, macs=())
    async with world.delegating() as post:
        with pytest.raises(NotAttested, match=f"is of VM {instance.vm_id}, and the node claims 11111111"):
            await post.request(Identify(claim), NodeIdentity, what="identify this node")


async def test_by_operation_an_instance_hears_what_it_would_have_found(instance: AzureWorld) -> None:
    async with instance.delegating() as post, instance.arm(Token(instance.azure, "pool_0")) as arm:
        delegated = DelegatedCloud(ImdsClaims(instance.imds), post)
        found = await ArmVmIdentity(instance.imds, arm).identify()
        assert await delegated.identify() == found


async def test_by_operation_a_missing_permission_is_named(world: AzureWorld) -> None:
    world.azure.identity.forbid("Microsoft.Compute/virtualMachines/read")
    async with world.delegating() as post:
        with pytest.raises(AccessDenied) as caught:
            await DelegatedCloud(ImdsClaims(world.imds), post).identify()
    assert caught.value.action == "Microsoft.Compute/virtualMachines/read"


@pytest.mark.parametrize(
    ("environment", "configured", "refused"),
    [
        ("AzureUSGovernmentCloud", "AzurePublicCloud", "AzureUSGovernmentCloud, and azure.cloud is AzurePublicCloud"),
        ("AzureChinaCloud", "AzureUSGovernment", "set azure.cloud to AzureChinaCloud"),
        ("AzureUSGovernmentCloud", "AzureUSGovernment", ""),
        ("AzurePublicCloud", "AzurePublicCloud", ""),
        ("AzureStack", "AzurePublicCloud", ""),
        ("", "AzurePublicCloud", ""),
        ("AzureUSGovernmentCloud", "", ""),
    ],
)
async def test_a_vm_in_another_cloud_than_the_configured_one_is_reported(
    world: AzureWorld, environment: str, configured: str, refused: str
) -> None:
    instance = await world.imds.instance()

    class There(Imds):
        async def instance(self) -> Any:
            return replace(instance, environment=environment)

    async with world.arm() as arm:
        cloud = ArmVmIdentity(There(meter=world.meter), arm, cloud=configured)
        if refused:
            with pytest.raises(RequestRefused, match=refused):
                await cloud.identify()
            assert world.meter.of("vm.get") == []
        else:
            assert (await cloud.identify()).vm_id == instance.vm_id


async def test_a_vm_recreated_under_the_name_is_another(world: AzureWorld, cloud: ArmVmIdentity) -> None:
    vm = world.azure.vm("vm1")
    instance = await world.imds.instance()

    class Old(Imds):
        async def instance(self) -> Any:
            return replace(instance, vm_id="11111111-1111-1111-1111-111111111111")

    async with world.arm() as arm:
        old = ArmVmIdentity(Old(meter=world.meter), arm)
        with pytest.raises(CloudNotFound, match=f"is VM {vm.guid} in Azure.*recreated under the same name"):
            await old.identify()


async def test_a_vm_of_another_size_on_another_host_is_the_same(world: AzureWorld, cloud: ArmVmIdentity) -> None:
    before, shown = await cloud.identify(), await world.imds.instance()
    world.azure.change_vm("vm1", size="Standard_D8s_v3", fault_domain=2)
    assert await cloud.identify() == before
    assert await world.imds.instance() == shown, "nothing that a VM's host decides is looked at"


async def test_a_nic_with_another_mac_is_not_ours(world: AzureWorld) -> None:
    instance = await world.imds.instance()
    stranger = replace(instance.interfaces[0], mac="00:00:00:00:00:01")

    class Elsewhere(Imds):
        async def instance(self) -> Any:
            return replace(instance, interfaces=(stranger,))

    async with world.arm() as arm:
        with pytest.raises(CloudNotFound, match=r"vm1-nic': '00:0d:3a.*knows the MACs 00:00:00:00:00:01"):
            await ArmVmIdentity(Elsewhere(meter=world.meter), arm).identify()


async def test_an_instance_of_a_uniform_scale_set_is_found_below_its_set(instance: AzureWorld) -> None:
    vm, nic = instance.azure.vm("pool_0"), instance.azure.nic_record("pool_0/pool-nic")
    async with instance.arm(Token(instance.azure, "pool_0")) as arm:
        identity = await ArmVmIdentity(instance.imds, arm).identify()
    assert (identity.vm_id, identity.vm_resource_id, identity.nic_id) == (vm.guid, vm.id, nic.id)
    assert "/virtualMachineScaleSets/pool/virtualMachines/0/networkInterfaces/" in identity.nic_id
    assert (str(identity.primary_ip), identity.subnet_id) == (nic.primary.address, nic.subnet_id)


async def test_an_instance_of_a_flexible_scale_set_is_a_vm_like_any_other(
    world: AzureWorld, cloud: ArmVmIdentity
) -> None:
    instance = await world.imds.instance()

    class Flexible(Imds):
        async def instance(self) -> Any:
            return replace(instance, scale_set="pool")

    async with world.arm() as arm:
        assert await ArmVmIdentity(Flexible(meter=world.meter), arm).identify() == await cloud.identify()


async def test_an_instance_that_is_gone_is_not_identified(instance: AzureWorld) -> None:
    heard = await instance.imds.instance()
    instance.azure.uniform.vanish("pool_0")

    class Late(Imds):
        async def instance(self) -> Any:
            return heard

    async with instance.arm() as arm:
        with pytest.raises(CloudNotFound, match="the scale set has no such instance"):
            await ArmVmIdentity(Late(meter=instance.meter), arm).identify()


@pytest.mark.parametrize(
    "action",
    ["Microsoft.Compute/virtualMachines/read", "Microsoft.Network/networkInterfaces/read"],
)
async def test_a_missing_permission_is_named(world: AzureWorld, cloud: ArmVmIdentity, action: str) -> None:
    world.azure.identity.forbid(action)
    with pytest.raises(AccessDenied) as caught:
        await cloud.identify()
    assert caught.value.action == action


async def test_a_vnet_that_may_not_be_read_is_named(world: AzureWorld, cloud: ArmVmIdentity) -> None:
    identity = await cloud.identify()
    world.azure.identity.forbid("Microsoft.Network/virtualNetworks/read")
    with pytest.raises(AccessDenied) as caught:
        await cloud.vnet(identity)
    assert caught.value.scope == identity.vnet_id


async def test_silence_of_the_metadata_service_stops_the_question(world: AzureWorld, cloud: ArmVmIdentity) -> None:
    world.azure.faults.add(faults.MetadataError(500), operation="imds.instance", times=None)
    with pytest.raises(CloudError, match="instance metadata"):
        await cloud.identify()
    assert world.meter.of("vm.get") == []
