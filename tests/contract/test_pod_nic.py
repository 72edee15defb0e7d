"""The NIC of the pool in a pod subnet: found by its subnet, in memory, in ARM and by the controller; what is missing is
said with the commands; and the addresses of a VM are counted over all its NICs.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

import pytest

from azure_cni.azure.answers import Document
from azure_cni.azure.arm_nic import ArmNic
from azure_cni.azure.delegated import DelegatedAzure
from azure_cni.azure.imds import ImdsClaims
from azure_cni.azure.nics_beside import NicsBeside
from azure_cni.azure.observed import ObservedCloud
from azure_cni.azure.resources import Resource
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.errors import AccessDenied, RequestRefused, SubnetFull
from azure_cni.kube.delegated_nic import DelegatedCloud, DelegatedNic
from azure_cni.model.identity import NodeNic
from azure_cni.model.nic import MAX_CONFIGS_PER_NIC, NicID, SubnetID
from azure_cni.model.pod_subnets import NicMissing
from azure_cni.node import azure_ports
from contract.identify_world import AzureWorld, cloud_at
from fakeazure import FakeAzure
from fakes.cloud import IDENTITY, VNET_ID, FakeCloud

PLACES = ["memory", "azure", "delegated"]


async def _no_sleep(_: float) -> None:
    return None


@contextlib.asynccontextmanager
async def vm_with_two_nics() -> AsyncIterator[AzureWorld]:
    """Its second NIC is in the subnet `pods`; another VNet has a subnet as well."""
    azure = FakeAzure(seed=3)
    azure.add_vnet("vnet", "10.240.0.0/16", subnets={"nodes": "10.240.0.0/22", "pods": "10.240.8.0/26"})
    azure.add_vnet("peer", "10.241.0.0/16", subnets={"other": "10.241.0.0/24"})
    azure.add_vm("vm1", secondaries=2)
    azure.add_nic("vm1", subnet="pods")
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        yield AzureWorld(azure, endpoints)


@pytest.fixture
async def world() -> AsyncIterator[AzureWorld]:
    async with vm_with_two_nics() as opened:
        yield opened


@pytest.fixture(params=PLACES)
async def cloud(request: pytest.FixtureRequest, world: AzureWorld) -> AsyncIterator[azure_ports.Cloud]:
    fake = FakeCloud()
    fake.pod_nics[f"{VNET_ID}/subnets/pods"] = replace(
        IDENTITY,
        nic_id=NicID(f"{IDENTITY.nic_id}2"),
        subnet_id=SubnetID(f"{VNET_ID}/subnets/pods"),
        mac="00:0d:3a:1b:c7:22",
        primary_ip=IPv4Address("10.240.8.4"),
        beside=(IDENTITY.nic_id,),
    )
    async with cloud_at(request.param, world, memory=fake) as port:
        yield port


async def test_the_pool_is_on_the_nic_in_that_subnet(cloud: azure_ports.Cloud) -> None:
    own = await cloud.identify()
    subnet = SubnetID(f"{own.vnet_id}/subnets/pods")
    for spelt in (subnet, SubnetID(subnet.upper())):
        found = await cloud.identify(spelt)
        assert found.nic_id == f"{own.nic_id}2"
        assert found.subnet_id == subnet
        assert (found.primary_ip, found.node_ip) == (IPv4Address("10.240.8.4"), own.primary_ip)
        assert found.node_nic == NodeNic(own.mac, own.primary_ip)
        assert found.mac != own.mac
        assert found.beside == (() if isinstance(cloud, DelegatedCloud) else (own.nic_id,))
        assert (found.vm_id, found.vnet_id) == (own.vm_id, own.vnet_id)
    assert await cloud.vnet(found) == await cloud.vnet(own)


async def test_the_primary_nics_own_subnet_is_the_primary_nic(cloud: azure_ports.Cloud) -> None:
    own = await cloud.identify()
    assert await cloud.identify(own.subnet_id) == own
    assert own.node_nic is None
    assert own.node_ip == own.primary_ip


async def test_the_subnets_of_further_nics_are_listed_where_one_identity_sees_them_all(
    cloud: azure_ports.Cloud,
) -> None:
    own = await cloud.identify()
    listed = await cloud.other_subnets()
    assert listed == (None if isinstance(cloud, DelegatedCloud) else (f"{own.vnet_id}/subnets/pods",))


async def test_where_there_is_no_such_nic_the_error_has_the_commands(cloud: azure_ports.Cloud) -> None:
    own = await cloud.identify()
    subnet = SubnetID(f"{own.vnet_id}/subnets/none")
    with pytest.raises(NicMissing) as caught:
        await cloud.identify(subnet)
    said = str(caught.value)
    assert "none of its NICs is there (vm1-nic in nodes, vm1-nic2 in pods)" in said
    assert f"--name vm1-pods --subnet {subnet}; az vm deallocate" in said
    assert "az vm nic add --resource-group" in said


async def test_a_subnet_of_another_vnet_is_refused_as_such(cloud: azure_ports.Cloud) -> None:
    own = await cloud.identify()
    subnet = SubnetID(f"{own.vnet_id}2/subnets/pods")
    with pytest.raises(NicMissing, match=f"all NICs of a VM are in one VNet, and this one's is {own.vnet_id}"):
        await cloud.identify(subnet)


async def test_the_metadata_service_alone_shows_no_subnet(world: AzureWorld) -> None:
    cloud = ObservedCloud(world.imds)
    with pytest.raises(RequestRefused, match="nicWriter is none"):
        await cloud.identify(SubnetID(world.azure.nic_record("vm1-nic2").subnet_id))
    assert await cloud.other_subnets() == ()


async def test_addresses_of_the_pod_subnet_are_counted_over_all_nics(world: AzureWorld) -> None:
    """The primary NIC has three ipConfigurations. The subnet has 59 addresses, and one is the pods' NIC's own."""
    async with world.arm() as arm:
        found = await ArmVmIdentity(world.imds, arm).identify(SubnetID(world.azure.nic_record("vm1-nic2").subnet_id))
        nic = ArmNic(arm, found.nic_id, chance=Random(7), beside=found.beside)
        view = await nic.read()
        assert (view.config_count, view.beside, view.most()) == (1, 3, MAX_CONFIGS_PER_NIC - 4)
        grown = await nic.write(view, add=8)
        assert {str(one.address).rpartition(".")[0] for one in grown.configs} == {"10.240.8"}
        assert (grown.beside, grown.most()) == (3, view.most())
        with pytest.raises(SubnetFull):
            await nic.write(grown, add=51)
        with pytest.raises(RequestRefused, match="with 245 more it would have 254, and 3 are on the VM's other NICs"):
            await nic.write(grown, add=245)


async def test_a_nic_beside_that_is_gone_counts_nothing_and_a_silent_one_as_before(world: AzureWorld) -> None:
    async with world.arm() as arm:
        own = await ArmVmIdentity(world.imds, arm).identify()
        nic = ArmNic(arm, own.nic_id, chance=Random(7), beside=own.beside)
        assert (await nic.read()).beside == 1
        world.azure.remove_nic("vm1", "vm1-nic2")
        assert (await nic.read()).beside == 0


async def test_a_write_by_the_controller_keeps_what_was_counted_before_it(world: AzureWorld) -> None:
    async with world.arm() as arm:
        found = await ArmVmIdentity(world.imds, arm).identify(SubnetID(world.azure.nic_record("vm1-nic2").subnet_id))
        azure = DelegatedAzure(arm, chance=Random(7))
        view = await azure.read(found.nic_id, beside=found.beside)
        grown = await azure.write(view, add=8, remove=(), attach=())
        assert (grown.beside, grown.most()) == (3, view.most())
        assert (await azure.set_security_groups(grown, ())).beside == 3


async def test_a_nic_that_cannot_be_read_is_reported_once_and_again_after_it_could(
    world: AzureWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """A node reads its NIC every minute, and may lack the permission to read the others for as long as it lives."""
    caplog.set_level("INFO", "azure_cni.azure.nics_beside")
    async with world.arm() as arm:
        own = await ArmVmIdentity(world.imds, arm).identify()
        others, get = NicsBeside(arm, own.beside), arm.get

        async def refuse(_: Resource) -> Document:
            raise AccessDenied("cannot read it")

        for answer, counts, reports in ((refuse, 1, 1), (refuse, 1, 1), (get, 1, 1), (refuse, 1, 2)):
            arm.get = answer  # type: ignore[method-assign, assignment]
            assert await others.count() == counts
            assert len(caplog.records) == reports


async def test_a_controller_counts_them_too(world: AzureWorld) -> None:
    async with world.delegating() as post:
        cloud = DelegatedCloud(ImdsClaims(world.imds), post)
        found = await cloud.identify(SubnetID(world.azure.nic_record("vm1-nic2").subnet_id))
        view = await DelegatedNic(found, post).read()
        assert (view.nic_id, view.beside) == (found.nic_id, 3)
