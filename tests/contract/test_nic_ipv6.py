"""The NIC's port, for IPv6: in memory, and by the real adapters on the fake Azure."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv6Network

import pytest

from azure_cni.api.nic_view_codec import nic_shape, read_nic
from azure_cni.azure import nic_document
from azure_cni.errors import CloudError, RequestRefused
from azure_cni.model.config_names import ConfigName, is_ipv6_block_name, is_ipv6_name, is_our_name, made_here
from azure_cni.model.ipv6 import IPv6Configuration, IPv6Growth, network_of
from contract.nic_documents import PRIMARY, config, nic
from contract.nic_world import WORLDS, NicUnderTest, open_world

BLOCK = IPv6Growth(block=True)
WITH_IPV6 = pytest.mark.parametrize("world", ["memory", "azure", "delegated"], indirect=True)


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[NicUnderTest]:
    async with open_world(request.param, adopted=2) as opened:
        yield opened


@WITH_IPV6
async def test_a_block_comes_in_the_write_that_adds_addresses(world: NicUnderTest) -> None:
    world.give_ipv6()
    before = await world.nic.read()
    after = await world.nic.write(before, add=3, ipv6=BLOCK)
    assert (world.writes, after.held, after.config_count) == (1, 2 + 3, 1 + 5 + 1)
    (block,) = after.ipv6
    assert (block.block, block.usable, is_ipv6_block_name(block.name)) == (True, True, True)
    assert block.network is not None
    assert block.network.prefixlen == 112
    assert after.excluded == before.excluded
    assert (await world.nic.read()).ipv6 == after.ipv6


@WITH_IPV6
async def test_it_stays_through_other_writes_and_is_not_removed(world: NicUnderTest) -> None:
    world.give_ipv6()
    before = await world.nic.write(await world.nic.read(), add=2, ipv6=BLOCK)
    ours = [one.name for one in before.secondaries if one.ours]
    after = await world.nic.write(before, remove=ours)
    assert (after.ipv6, after.held) == (before.ipv6, 2)
    with pytest.raises(CloudError):
        await world.nic.write(after, remove=[after.ipv6[0].name])
    assert (await world.nic.read()).ipv6 == before.ipv6


@WITH_IPV6
async def test_single_addresses_come_and_go(world: NicUnderTest) -> None:
    world.give_ipv6()
    after = await world.nic.write(await world.nic.read(), add=2, ipv6=IPv6Growth(singles=2))
    assert [(one.block, one.usable, one.network and one.network.prefixlen) for one in after.ipv6] == [
        (False, True, 128)
    ] * 2
    gone = await world.nic.write(after, remove=[after.ipv6[0].name])
    assert gone.ipv6 == after.ipv6[1:]
    assert gone.held == after.held


@WITH_IPV6
async def test_single_addresses_where_azure_gives_no_block(world: NicUnderTest) -> None:
    world.give_ipv6(blocks=False)
    before = await world.nic.read()
    with pytest.raises(RequestRefused):
        await world.nic.write(before, add=1, ipv6=BLOCK)
    assert (await world.nic.read()).held == before.held
    after = await world.nic.write(await world.nic.read(), add=1, ipv6=IPv6Growth(singles=1))
    assert (after.held, len(after.ipv6)) == (before.held + 1, 1)


@WITH_IPV6
async def test_a_subnet_without_ipv6_refuses_it(world: NicUnderTest) -> None:
    before = await world.nic.read()
    for growth in (BLOCK, IPv6Growth(singles=1)):
        with pytest.raises(RequestRefused):
            await world.nic.write(before, add=1, ipv6=growth)
    assert await world.nic.read() == before


@WITH_IPV6
async def test_a_second_block_is_refused(world: NicUnderTest) -> None:
    world.give_ipv6()
    before = await world.nic.write(await world.nic.read(), ipv6=BLOCK)
    with pytest.raises(RequestRefused):
        await world.nic.write(before, ipv6=BLOCK)


@pytest.mark.parametrize("world", ["instance", "delegated instance"], indirect=True)
async def test_an_instance_of_a_uniform_scale_set_gets_none(world: NicUnderTest) -> None:
    with pytest.raises(RequestRefused):
        await world.nic.write(await world.nic.read(), add=1, ipv6=BLOCK)
    assert world.writes == 0


V6 = {"privateIPAddressVersion": "IPv6", "privateIPAllocationMethod": "Dynamic"}
OURS, SINGLE = "azure-cni-1abcdefg-112", "azure-cni-1abcdefg-v6"


@pytest.mark.parametrize(
    ("name", "address", "more", "network"),
    [
        (OURS, "fd00::1:0/112", {}, "fd00::1:0/112"),
        (OURS, "fd00::1:0", {"privateIPAddressPrefixLength": 112}, "fd00::1:0/112"),
        (OURS, "fd00::1:5", {"privateIPAddressPrefixLength": 112}, "fd00::1:0/112"),
        (SINGLE, "fd00::5", {}, "fd00::5/128"),
        (SINGLE, "fd00::5/128", {}, "fd00::5/128"),
        (OURS, None, {}, None),
        (SINGLE, "fd00::zz", {}, None),
        (OURS, "fd00::/64", {}, None),
    ],
)
def test_what_a_document_shows(name: str, address: str | None, more: dict[str, int], network: str | None) -> None:
    view = nic_document.view(nic(PRIMARY, config(name, address, **V6, **more)), working={})
    (found,) = view.ipv6
    assert found.network == (None if network is None else IPv6Network(network))
    assert found.usable == (network is not None)
    assert view.excluded == ()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("theirs", {}),
        ("azure-cni-1abcdefg", {}),
        (OURS, {"privateIPAllocationMethod": "Static"}),
        (OURS, {"loadBalancerBackendAddressPools": [{"id": "/pools/p"}]}),
        (OURS, {"loadBalancerInboundNatRules": [{"id": "/rules/r"}]}),
        (OURS, {"publicIPAddress": {"id": "/ips/i"}}),
    ],
)
def test_what_others_made_or_use_is_left_alone(name: str, more: dict[str, object]) -> None:
    view = nic_document.view(nic(PRIMARY, config(name, "fd00::1:0/112", **{**V6, **more})), working={})
    assert view.ipv6 == ()
    assert [(one.name, one.why) for one in view.excluded] == [(name, "is IPv6")]
    assert nic_document.removable(nic(PRIMARY, config(name, "fd00::1:0/112", **{**V6, **more}))) == set()


def test_a_name_that_is_there_twice_is_nobodys() -> None:
    twice = [config(OURS, f"fd00::{number}:0/112", **V6) for number in (1, 2)]
    assert nic_document.view(nic(PRIMARY, *twice), working={}).ipv6 == ()


def test_what_worked_works_while_azure_updates_the_nic() -> None:
    updating = {**V6, "provisioningState": "Updating"}
    document = nic(PRIMARY, config(OURS, "fd00::1:0/112", **updating), state="Updating")
    worked = {ConfigName(OURS): IPv6Network("fd00::1:0/112")}
    assert [one.ready for one in nic_document.view(document, working={}).ipv6] == [False]
    assert [one.ready for one in nic_document.view(document, working=worked).ipv6] == [True]
    other = {ConfigName(OURS): IPv6Network("fd00::2:0/112")}
    assert [one.ready for one in nic_document.view(document, working=other).ipv6] == [False]


def test_the_document_of_a_new_one() -> None:
    subnet = {"subnet": {"id": "/subnets/s"}, "applicationSecurityGroups": [{"id": "/groups/g"}]}
    before = nic(config("ipconfig1", "10.0.0.4", primary=True, **subnet))
    after = nic_document.changed(before, add=[ConfigName(OURS), ConfigName(SINGLE)], remove=())
    block, single = (one["properties"] for one in after["properties"]["ipConfigurations"][1:])
    shared = {"primary": False, "privateIPAllocationMethod": "Dynamic", "privateIPAddressVersion": "IPv6", **subnet}
    assert block == {**shared, "privateIPAddressPrefixLength": 112}
    assert single == shared


def test_names() -> None:
    assert all(is_our_name(name) and is_ipv6_name(name) and made_here(name, static=False) for name in (OURS, SINGLE))
    assert not any(made_here(name, static=True) for name in (OURS, SINGLE))
    assert (is_ipv6_block_name(OURS), is_ipv6_block_name(SINGLE)) == (True, False)
    assert not any(map(is_ipv6_name, ("azure-cni-1abcdefg", "azure-cni-1abcdefg-28", "azure-cni-1abcdefg-112-28")))


def test_a_result_has_it() -> None:
    view = nic_document.view(nic(PRIMARY), working={})
    configs = (
        IPv6Configuration(ConfigName(OURS), network_of("fd00::1:7", block=True), ready=True, block=True),
        IPv6Configuration(ConfigName(SINGLE), None, ready=False),
    )
    assert read_nic(nic_shape(replace(view, ipv6=configs))) == replace(view, ipv6=configs)
    assert nic_shape(view).ipv6 is None
