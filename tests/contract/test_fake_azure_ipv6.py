"""Azure's rules for IPv6 on a network interface, as a caller of the API meets them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from contract.azure_world import ServedAzure, served
from fakeazure import FakeAzure
from fakeazure import adminfilters as messages
from fakeazure.faults import NoIPv6Block

Document = dict[str, Any]
SPACE = "fd00:240::/64"


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(seed=1), subnets={"nodes": "10.240.0.0/26", "old": "10.240.1.0/26"}) as world:
        world.azure.add_ipv6(SPACE, "nodes")
        yield world


def ipv6(world: ServedAzure, name: str, **properties: Any) -> Document:
    subnet = {"id": world.azure.subnet("nodes").id}
    return {"name": name, "properties": {"subnet": subnet, "privateIPAddressVersion": "IPv6", **properties}}


def block(world: ServedAzure, name: str, **properties: Any) -> Document:
    return ipv6(world, name, privateIPAddressPrefixLength=112, **properties)


def configs_of(document: Document) -> list[Document]:
    found: list[Document] = document["properties"]["ipConfigurations"]
    return found


def shown(world: ServedAzure) -> dict[str, str]:
    return {
        one["name"]: one["properties"]["privateIPAddress"]
        for one in configs_of(world.azure.nic("vm1-nic"))
        if one["properties"]["privateIPAddressVersion"] == "IPv6"
    }


async def put(world: ServedAzure, *configs: Document, name: str = "vm1-nic") -> tuple[int, str]:
    """Add these to the NIC; status and code."""
    document = world.azure.nic(name)
    configs_of(document).extend(configs)
    path = world.azure.id_of("azbox", "Microsoft.Network/networkInterfaces", name)
    response = await world.request("PUT", path, body=document)
    body = await response.json(content_type=None)
    world.azure.settle()
    return response.status, body.get("error", {}).get("code", "")


async def test_a_block_and_addresses_beside_it(world: ServedAzure) -> None:
    assert await put(world, block(world, "block"), ipv6(world, "one"), ipv6(world, "two")) == (200, "")
    assert shown(world) == {"block": "fd00:240::1:0/112", "one": "fd00:240::4", "two": "fd00:240::5"}
    config = next(one for one in configs_of(world.azure.nic("vm1-nic")) if one["name"] == "block")
    assert config["properties"]["privateIPAddressPrefixLength"] == 112


async def test_the_next_nic_gets_the_next_block(world: ServedAzure) -> None:
    world.azure.add_vm("vm2")
    assert await put(world, block(world, "block")) == (200, "")
    assert await put(world, block(world, "block"), name="vm2-nic") == (200, "")
    names = {nic: world.azure.nic(nic) for nic in ("vm1-nic", "vm2-nic")}
    held = [configs_of(document)[-1]["properties"]["privateIPAddress"] for document in names.values()]
    assert held == ["fd00:240::1:0/112", "fd00:240::2:0/112"]


async def test_a_write_back_keeps_it_and_leaving_it_out_frees_it(world: ServedAzure) -> None:
    await put(world, block(world, "block"), ipv6(world, "one"))
    before = shown(world)
    assert await put(world) == (200, "")
    assert shown(world) == before

    document = world.azure.nic("vm1-nic")
    document["properties"]["ipConfigurations"] = [
        one for one in configs_of(document) if one["properties"]["privateIPAddressVersion"] == "IPv4"
    ]
    path = world.azure.id_of("azbox", "Microsoft.Network/networkInterfaces", "vm1-nic")
    await world.request("PUT", path, body=document)
    world.azure.settle()
    space = world.azure.subnet("nodes").ipv6
    assert space is not None
    assert shown(world) == {} == space.owners


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"privateIPAddressPrefixLength": 120}, "InvalidPrivateIPAddressPrefixConfiguration"),
        ({"privateIPAddressPrefixLength": 28}, "InvalidPrivateIPAddressPrefixConfiguration"),
        ({"privateIPAllocationMethod": "Static", "privateIPAddress": "fd00:241::9"}, "PrivateIPAddressNotInSubnet"),
        ({"privateIPAllocationMethod": "Static", "privateIPAddress": "fd00:240::2"}, "PrivateIPAddressInReservedRange"),
        ({"primary": True}, "PrimaryIpConfigurationMustBeIPv4"),
        ({"privateIPAddressVersion": "IPv5"}, "InvalidRequestFormat"),
    ],
)
async def test_what_is_refused(world: ServedAzure, properties: Document, code: str) -> None:
    status, found = await put(world, ipv6(world, "one", **properties))
    assert (status, found, shown(world)) == (400, code, {})


async def test_one_block_on_a_nic(world: ServedAzure) -> None:
    code = "InvalidPrivateIPAddressPrefixConfiguration"
    assert await put(world, block(world, "one"), block(world, "two")) == (400, code)
    assert await put(world, block(world, "one")) == (200, "")
    assert await put(world, block(world, "two")) == (400, code)


async def test_static_addresses(world: ServedAzure) -> None:
    wanted = {"privateIPAllocationMethod": "Static", "privateIPAddress": "fd00:240::7:0/112"}
    assert await put(world, block(world, "block", **wanted)) == (200, "")
    assert shown(world) == {"block": "fd00:240::7:0/112"}
    inside = {"privateIPAllocationMethod": "Static", "privateIPAddress": "fd00:240::7:9"}
    assert await put(world, ipv6(world, "inside", **inside)) == (400, "PrivateIPAddressIsAllocated")


async def test_a_subnet_without_ipv6(world: ServedAzure) -> None:
    world.azure.add_vm("vm2", subnet="old")
    config = {"name": "one", "properties": {"privateIPAddressVersion": "IPv6"}}
    assert await put(world, config, name="vm2-nic") == (400, "SubnetHasNoIPv6AddressPrefix")


async def test_no_block_but_single_addresses(world: ServedAzure) -> None:
    """Which Azure refuses where blocks of IPv6 are not offered."""
    world.azure.faults.add(NoIPv6Block())
    assert await put(world, block(world, "block")) == (400, "InvalidPrivateIPAddressPrefixConfiguration")
    assert await put(world, ipv6(world, "one")) == (200, "")


async def test_both_families_in_the_documents(world: ServedAzure) -> None:
    vnet = await (await world.get(world.azure.network.vnet_of(world.azure.subnet("nodes").id).id)).json()
    assert vnet["properties"]["addressSpace"]["addressPrefixes"] == ["10.240.0.0/16", SPACE]
    nodes, old = (subnet["properties"] for subnet in vnet["properties"]["subnets"])
    assert nodes["addressPrefixes"] == ["10.240.0.0/26", SPACE]
    assert "addressPrefix" not in nodes
    assert old["addressPrefix"] == "10.240.1.0/26"


async def test_a_subnet_gets_and_loses_its_prefix(world: ServedAzure) -> None:
    subnet = world.azure.subnet("nodes")
    both = {"addressPrefixes": ["10.240.0.0/26", SPACE]}
    alone = {"addressPrefix": "10.240.0.0/26"}

    async def change(properties: Document) -> int:
        return (await world.request("PUT", subnet.id, body={"properties": properties})).status

    assert await change(alone) == 200
    assert subnet.ipv6 is None
    assert await change({"addressPrefixes": ["10.240.0.0/26", "fd00:9::/64"]}) == 400
    assert await change({"addressPrefixes": ["10.240.0.0/26", "fd00:240::/56"]}) == 400
    assert await change(both) == 200
    await put(world, ipv6(world, "one"))
    assert await change(alone) == 400


async def test_a_fault_for_a_write_without_a_block_waits(world: ServedAzure) -> None:
    world.azure.faults.add(NoIPv6Block())
    assert await put(world, ipv6(world, "one")) == (200, "")
    assert await put(world, block(world, "block")) == (400, "InvalidPrivateIPAddressPrefixConfiguration")


async def test_what_the_vm_is_shown(world: ServedAzure) -> None:
    await put(world, block(world, "block"), ipv6(world, "one"))
    answer = await world.imds("/metadata/instance/network/interface/0?api-version=2021-10-01")
    shown = await answer.json()
    assert [one["privateIpAddress"] for one in shown["ipv4"]["ipAddress"]] == ["10.240.0.4"]
    assert shown["ipv6"] == {
        "ipAddress": [{"privateIpAddress": "fd00:240::1:0/112"}, {"privateIpAddress": "fd00:240::4"}]
    }


async def test_the_fabric_is_told_of_each_family(world: ServedAzure) -> None:
    await put(world, block(world, "block"))
    effective = world.azure.network.effective()
    assert effective.nics[0].ipv6 == ("fd00:240::1:0/112",)
    assert [one.address for one in effective.nics[0].addresses] == ["10.240.0.4"]
    assert [subnet.ipv6 for subnet in effective.vnets[0].subnets] == [SPACE, None]
    assert effective.vnets[0].ipv6_prefixes == (SPACE,)


async def test_an_operator_gives_a_subnet_its_prefix(world: ServedAzure) -> None:
    messages.ChangeSubnet(name="old", ipv6="fd00:240:0:1::/64").run(world.azure)
    subnet = world.azure.subnet("old")
    assert subnet.ipv6 is not None
    assert str(subnet.ipv6.prefix) == "fd00:240:0:1::/64"
    assert world.azure.network.vnet_of(subnet.id).ipv6_prefixes == (SPACE, "fd00:240:0:1::/64")


async def test_the_log_of_changes_counts_addresses_of_ipv4(world: ServedAzure) -> None:
    await put(world, block(world, "block"))
    (change, *_) = (one for one in world.azure.history.changes if one.cause == "write accepted")
    assert (change.addresses_before, change.addresses_after) == (1, 1)
    assert (change.allocated_before, change.allocated_after) == (1, 2)
