"""Azure's rules for addresses and network interfaces, as a caller of the API meets them."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Network
from typing import Any

import pytest

from contract.azure_world import ServedAzure, served
from fakeazure import FakeAzure
from fakeazure.subnets import Subnet

Document = dict[str, Any]


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(seed=1), secondaries=1, subnets={"nodes": "10.240.0.0/26"}) as world:
        yield world


def config(world: ServedAzure, name: str, **properties: Any) -> Document:
    return {"name": name, "properties": {"subnet": {"id": world.azure.subnet("nodes").id}, **properties}}


def static(world: ServedAzure, name: str, address: str) -> Document:
    return config(world, name, privateIPAllocationMethod="Static", privateIPAddress=address)


def configs_of(document: Document) -> list[Document]:
    return document["properties"]["ipConfigurations"]


def addresses_of(document: Document) -> list[str]:
    return [one["properties"]["privateIPAddress"] for one in configs_of(document)]


async def put(world: ServedAzure, document: Document, *, name: str = "vm1-nic") -> tuple[int, Any]:
    path = world.azure.id_of("azbox", "Microsoft.Network/networkInterfaces", name)
    response = await world.request("PUT", path, body=document)
    return response.status, await response.json(content_type=None)


async def refusal(world: ServedAzure, document: Document, *, name: str = "vm1-nic") -> tuple[int, str]:
    """Status and code of a write that must change nothing."""
    world.azure.settle()
    before = world.azure.network.nics.copy(), world.azure.subnet("nodes").free
    status, body = await put(world, document, name=name)
    assert (world.azure.network.nics, world.azure.subnet("nodes").free) == before
    return status, body["error"]["code"]


async def test_lowest_free_addresses_first_and_freed_ones_again(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    configs_of(document).extend(config(world, f"new-{index}") for index in range(3))
    await put(world, document)
    document = world.azure.nic("vm1-nic")
    assert addresses_of(document) == [f"10.240.0.{host}" for host in (4, 5, 6, 7, 8)]

    del configs_of(document)[2]
    await put(world, document)
    configs_of(document).append(config(world, "again"))
    await put(world, document)
    assert addresses_of(world.azure.nic("vm1-nic")) == [f"10.240.0.{host}" for host in (4, 5, 7, 8, 6)]


async def test_a_write_replaces_the_whole(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    assert document["properties"]["enableAcceleratedNetworking"] is True
    document["tags"] = {"a": "b"}
    document["properties"]["enableIPForwarding"] = True
    document["properties"]["unheardOf"] = [1, 2]
    configs_of(document)[1]["properties"]["unheardOf"] = {"x": 1}
    del document["properties"]["enableAcceleratedNetworking"]
    await put(world, document)

    after = world.azure.nic("vm1-nic")
    assert after["tags"] == {"a": "b"}
    assert after["properties"]["enableAcceleratedNetworking"] is False
    assert after["properties"]["unheardOf"] == [1, 2]
    assert configs_of(after)[1]["properties"]["unheardOf"] == {"x": 1}
    assert world.azure.effective().nics[0].ip_forwarding is True
    for owned in ("macAddress", "virtualMachine", "resourceGuid", "primary"):
        assert after["properties"][owned] == document["properties"][owned]

    await put(world, {"location": "eastus", "properties": {"ipConfigurations": configs_of(after)[:1]}})
    bare = world.azure.nic("vm1-nic")
    assert "tags" not in bare
    assert "unheardOf" not in bare["properties"]
    assert bare["properties"]["macAddress"] == after["properties"]["macAddress"]


async def test_a_dynamic_address_stays_whatever_the_body_says(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    configs_of(document)[1]["properties"]["privateIPAddress"] = "10.240.0.20"
    del configs_of(document)[0]["properties"]["privateIPAddress"]
    await put(world, document)
    assert addresses_of(world.azure.nic("vm1-nic")) == ["10.240.0.4", "10.240.0.5"]


async def test_a_static_address_is_what_it_says(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    configs_of(document).append(static(world, "fixed", "10.240.0.20"))
    await put(world, document)
    assert addresses_of(world.azure.nic("vm1-nic"))[2] == "10.240.0.20"
    configs_of(document)[2]["properties"]["privateIPAddress"] = "10.240.0.21"
    await put(world, document)
    assert addresses_of(world.azure.nic("vm1-nic"))[2] == "10.240.0.21"
    assert world.azure.subnet("nodes").holder("10.240.0.20") is None


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.240.0.4", "PrivateIPAddressIsAllocated"),
        ("10.240.0.3", "PrivateIPAddressInReservedRange"),
        ("10.240.0.63", "PrivateIPAddressInReservedRange"),
        ("10.240.1.4", "PrivateIPAddressNotInSubnet"),
        ("nonsense", "InvalidRequestFormat"),
        ("", "InvalidRequestFormat"),
    ],
)
async def test_static_addresses_that_cannot_be_had(world: ServedAzure, address: str, code: str) -> None:
    document = world.azure.nic("vm1-nic")
    configs_of(document).append(static(world, "fixed", address))
    assert await refusal(world, document) == (400, code)


async def test_two_configurations_cannot_ask_for_the_same_address(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    configs_of(document).extend(static(world, name, "10.240.0.20") for name in ("one", "two"))
    assert await refusal(world, document) == (400, "PrivateIPAddressIsAllocated")


async def test_the_primary_configuration_is_there_to_stay(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    renamed = {**configs_of(document)[0], "name": "other"}
    kept = configs_of(document)[1]
    for wanted in ([kept], [renamed, kept]):
        document["properties"]["ipConfigurations"] = wanted
        assert await refusal(world, document) == (400, "IpConfigDeleteNotSupported")


async def test_exactly_one_primary_configuration(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    for flags in ((False, False), (True, True)):
        for one, flag in zip(configs_of(document), flags, strict=True):
            one["properties"]["primary"] = flag
        assert await refusal(world, document) == (400, "NetworkInterfaceMustHaveOneOneIPConfigAsPrimary")
    only = {**document, "properties": {"ipConfigurations": [config(world, "sole", primary=False)]}}
    _, made = await put(world, only, name="other-nic")
    assert configs_of(made)[0]["properties"]["primary"] is True


async def test_one_subnet_for_all_configurations() -> None:
    subnets = {"nodes": "10.240.0.0/26", "other": "10.240.1.0/26"}
    async with served(FakeAzure(), subnets=subnets) as world:
        document = world.azure.nic("vm1-nic")
        elsewhere = {"name": "new", "properties": {"subnet": {"id": world.azure.subnet("other").id}}}
        configs_of(document).append(elsewhere)
        assert await refusal(world, document) == (400, "IpConfigurationsOnSameNicCannotUseDifferentSubnets")


async def test_a_full_subnet_gives_nothing(world: ServedAzure) -> None:
    world.azure.outside.leave(2)
    document = world.azure.nic("vm1-nic")
    configs_of(document).extend(config(world, f"new-{index}") for index in range(3))
    status, body = await put(world, document)
    assert (status, body["error"]["code"]) == (400, "SubnetIsFull")
    assert body["error"]["message"].endswith(
        "with address prefix 10.240.0.0/26 does not have enough capacity for 3 IP addresses."
    )
    del configs_of(document)[-1]
    assert (await put(world, document))[0] == 200
    assert world.azure.subnet("nodes").free == 0


async def test_256_configurations_and_no_more() -> None:
    async with served(FakeAzure(), subnets={"nodes": "10.240.0.0/22"}) as world:
        document = world.azure.nic("vm1-nic")
        configs_of(document).extend(config(world, f"new-{index}") for index in range(256))
        status, code = await refusal(world, document)
        assert (status, code) == (400, "IpConfigurationCountPerNicExceeded")
        del configs_of(document)[-1]
        assert (await put(world, document))[0] == 200
        assert len(configs_of(world.azure.nic("vm1-nic"))) == 256


async def test_a_vms_configurations_count_over_all_its_nics() -> None:
    async with served(FakeAzure(), subnets={"nodes": "10.240.0.0/22"}) as world:
        world.azure.add_nic("vm1")
        document = world.azure.nic("vm1-nic")
        configs_of(document).extend(config(world, f"new-{index}") for index in range(255))
        status, code = await refusal(world, document)
        assert (status, code) == (400, "IpConfigurationCountPerNicExceeded")
        del configs_of(document)[-1]
        assert (await put(world, document))[0] == 200


async def test_65536_addresses_in_a_network_and_no_more() -> None:
    async with served(FakeAzure(), subnets={"nodes": "10.240.0.0/26", "big": "10.0.0.0/15"}) as world:
        world.azure.outside.take(65_534, "big")
        document = world.azure.nic("vm1-nic")
        configs_of(document).append(config(world, "last"))
        assert (await put(world, document))[0] == 200
        configs_of(document).append(config(world, "too-many"))
        assert await refusal(world, document) == (400, "PrivateIPAddressCountPerVirtualNetworkExceeded")


async def test_blocks_of_sixteen(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    block = config(world, "block", privateIPAddressPrefixLength=28)
    configs_of(document).extend([block, {**block, "name": "block-2"}])
    await put(world, document)

    assert addresses_of(world.azure.nic("vm1-nic"))[2:] == ["10.240.0.16/28", "10.240.0.32/28"]
    assert [one.address for one in world.azure.effective().nics[0].addresses][2:] == [
        "10.240.0.16/28",
        "10.240.0.32/28",
    ]
    assert world.azure.subnet("nodes").free == 59 - 2 - 32
    assert world.azure.changes[-1].allocated_after == 4  # a block counts as one
    configs_of(document).append({**block, "name": "block-3"})  # the last one holds the reserved address
    assert await refusal(world, document) == (400, "SubnetIsFull")


@pytest.mark.parametrize(
    "properties",
    [
        {"privateIPAddressPrefixLength": 27},
        {"privateIPAddressPrefixLength": 28, "primary": True},
        {"privateIPAddressPrefixLength": 28, "publicIPAddress": {"id": "/x"}},
        {
            "privateIPAddressPrefixLength": 28,
            "privateIPAllocationMethod": "Static",
            "privateIPAddress": "10.240.0.16/29",
        },
        {"privateIPAllocationMethod": "Static", "privateIPAddress": "10.240.0.16/28"},
    ],
)
async def test_blocks_that_are_not_allowed(world: ServedAzure, properties: Document) -> None:
    document = world.azure.nic("vm1-nic")
    configs_of(document).append(config(world, "block", **properties))
    assert await refusal(world, document) == (400, "InvalidPrivateIPAddressPrefixConfiguration")


async def test_malformed_writes(world: ServedAzure) -> None:
    document = world.azure.nic("vm1-nic")
    one = configs_of(document)[0]
    cases: list[tuple[Any, int, str]] = [
        ([], 400, "InvalidRequestContent"),
        ({**document, "location": None}, 400, "LocationRequired"),
        ({**document, "location": "westus"}, 409, "InvalidResourceLocation"),
        ({**document, "properties": {}}, 400, "InvalidRequestFormat"),
        ({**document, "properties": {"ipConfigurations": [one, one]}}, 400, "DuplicateResourceName"),
        ({**document, "properties": {"ipConfigurations": [{"name": "ipconfig1"}]}}, 400, "SubnetRequired"),
    ]
    unknown = {"name": "new", "properties": {"subnet": {"id": one["properties"]["subnet"]["id"] + "x"}}}
    cases.append(({**document, "properties": {"ipConfigurations": [unknown]}}, 400, "InvalidResourceReference"))
    for body, status, code in cases:
        name = "new-nic" if code == "InvalidResourceReference" else "vm1-nic"
        assert await refusal(world, body, name=name) == (status, code)


async def test_ids_are_compared_without_case(world: ServedAzure) -> None:
    path = f"/subscriptions/{world.azure.subscription_id.upper()}/resourcegroups/AZBOX/providers/microsoft.network"
    response = await world.get(f"{path}/NETWORKINTERFACES/VM1-NIC")
    assert response.status == 200
    assert (await response.json())["id"] == world.azure.nic("vm1-nic")["id"]


async def test_a_public_address_and_pools_belong_to_one_configuration(world: ServedAzure) -> None:
    world.azure.add_vm("vm2", public_ip="198.51.100.7")
    pool = world.azure.add_other("loadBalancers", "lb") + "/backendAddressPools/pods"
    document = world.azure.nic("vm1-nic")
    configs_of(document)[1]["properties"]["loadBalancerBackendAddressPools"] = [{"id": pool}]
    assert (await put(world, document))[0] == 200

    first, second = world.azure.effective().nics
    assert [one.load_balancer_pools for one in first.addresses] == [(), (pool,)]
    assert [one.public_ip for one in second.addresses] == ["198.51.100.7"]


async def test_a_public_address_is_had_once(world: ServedAzure) -> None:
    public_ip = world.azure.add_public_ip("ip", "198.51.100.7")
    document = world.azure.nic("vm1-nic")
    first, second = (one["properties"] for one in configs_of(document))
    first["publicIPAddress"] = {"id": public_ip}
    assert (await put(world, document))[0] == 200
    second["publicIPAddress"] = first["publicIPAddress"]
    assert await refusal(world, document) == (400, "PublicIPAddressInUse")
    del first["publicIPAddress"], second["publicIPAddress"]
    assert (await put(world, document))[0] == 200
    second["publicIPAddress"] = {"id": public_ip}
    assert (await put(world, document))[0] == 200
    assert [one.public_ip for one in world.azure.effective().nics[0].addresses] == [None, "198.51.100.7"]


def test_a_subnet_keeps_its_books() -> None:
    subnet = Subnet("/v/subnets/s", IPv4Network("10.0.0.0/29"), etag="", guid="")
    assert subnet.capacity == 3
    assert list(subnet.free_addresses()) == ["10.0.0.4", "10.0.0.5", "10.0.0.6"]
    subnet.take("10.0.0.5", "someone")
    with pytest.raises(ValueError, match="someone holds it"):
        subnet.take("10.0.0.5", "other")
    assert list(subnet.free_addresses()) == ["10.0.0.4", "10.0.0.6"]
    subnet.resize(IPv4Network("10.0.0.0/28"))
    assert subnet.free == 10
    subnet.release(["10.0.0.5", "10.0.0.5"])
    assert (subnet.free, subnet.entries) == (11, 0)
