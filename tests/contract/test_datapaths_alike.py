"""The Datapath port: what every data plane has to do, those of Linux and of Windows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.errors import DatapathError
from contract.datapath_world import (
    EVERYWHERE,
    MTU,
    PRIMARY,
    TABLE,
    UPLINK_MAC,
    A,
    B,
    DatapathUnderTest,
    a_spec,
    open_world,
)


@pytest.fixture(params=EVERYWHERE)
async def bare(request: pytest.FixtureRequest) -> AsyncIterator[DatapathUnderTest]:
    """Nobody has applied a table yet."""
    async with open_world(*request.param) as opened:
        yield opened


@pytest.fixture
async def world(bare: DatapathUnderTest) -> DatapathUnderTest:
    await bare.prepare()
    return bare


async def wired(world: DatapathUnderTest) -> dict[str, set[str]]:
    return {found.key: set(map(str, found.addresses)) for found in await world.datapath.sandboxes()}


async def test_at_first_there_is_nothing(world: DatapathUnderTest) -> None:
    assert await world.datapath.sandboxes() == ()
    await world.settle()


async def test_a_repeat_is_the_same_result(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    assert await world.datapath.attach(spec) == await world.datapath.attach(spec)
    assert await wired(world) == {spec.host_ifname: {A}}


async def test_addresses_without_connections_are_forgotten_in_silence(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    await world.datapath.forget_connections(frozenset({IPv4Address(B)}))
    assert await world.datapath.check(spec) == ()


async def test_a_change_of_address_replaces_the_sandbox(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    moved = replace(spec, addresses=(IPv4Address(B),))
    assert await world.datapath.check(moved)
    await world.datapath.attach(moved)
    assert await world.datapath.check(moved) == ()
    assert await wired(world) == {spec.host_ifname: {B}}


async def test_an_address_leads_to_whoever_got_it_last(world: DatapathUnderTest) -> None:
    first, second = a_spec(world, "one", A), a_spec(world, "two", A)
    await world.datapath.attach(first)
    await world.datapath.attach(second)
    assert {key: found for key, found in (await wired(world)).items() if found} == {second.host_ifname: {A}}
    assert await world.datapath.check(first)
    await world.datapath.detach(first.sandbox)
    assert await world.datapath.check(second) == ()


async def test_a_missing_namespace_is_named_and_nothing_is_left(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    world.remove_netns(spec.netns)
    with pytest.raises(DatapathError, match=spec.netns):
        await world.datapath.attach(spec)
    assert await wired(world) == {}


@pytest.mark.parametrize("by_us", [True, False])
async def test_an_interface_that_is_there_already_stays_and_nothing_is_left(
    world: DatapathUnderTest, *, by_us: bool
) -> None:
    first = a_spec(world, "one", A)
    if by_us:
        await world.datapath.attach(first)
    else:
        world.occupy(first.netns, "eth0")
    second = a_spec(world, "two", B, netns=first.netns)
    with pytest.raises(DatapathError, match="has an interface eth0 already"):
        await world.datapath.attach(second)
    assert await wired(world) == ({first.host_ifname: {A}} if by_us else {})


@pytest.mark.parametrize("known", [True, False])
async def test_detach_removes_link_and_routes(world: DatapathUnderTest, *, known: bool) -> None:
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    await world.datapath.attach(one)
    await world.datapath.attach(two)
    if known:
        await world.datapath.detach(one.sandbox)
    else:
        await world.datapath.remove(world.datapath.key(one.sandbox))
    assert await world.datapath.check(one)
    await world.settle()
    assert await wired(world) == {two.host_ifname: {B}}
    assert await world.datapath.check(two) == ()


async def test_detach_forgives_what_is_not_there(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.detach(spec.sandbox)
    await world.datapath.attach(spec)
    world.remove_netns(spec.netns)
    await world.datapath.detach(spec.sandbox)
    await world.datapath.detach(spec.sandbox)
    await world.settle()
    assert await wired(world) == {}


async def test_a_sandbox_may_come_back_before_its_removal_is_done(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    await world.datapath.detach(spec.sandbox)
    await world.datapath.attach(spec)
    await world.settle()
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A}}


async def test_check_without_the_namespace_names_it(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    world.remove_netns(spec.netns)
    (words,) = await world.datapath.check(spec)
    assert spec.netns in words


async def test_the_uplink_is_found_by_its_mac(world: DatapathUnderTest) -> None:
    uplink = await world.datapath.uplink(UPLINK_MAC, IPv4Address(PRIMARY))
    assert (uplink.name, uplink.mtu) == (world.uplink, MTU)
    with pytest.raises(DatapathError, match="no interface has the NIC's MAC 00:0d:3a:00:00:0b"):
        await world.datapath.uplink("00:0d:3a:00:00:0b", IPv4Address(PRIMARY))


async def test_egress_changes_nothing_else_and_a_later_table_has_its_own(bare: DatapathUnderTest) -> None:
    table = replace(TABLE, mode=bare.mode)
    await bare.datapath.set_egress(frozenset())
    with pytest.raises(DatapathError, match="cannot change"):
        await bare.datapath.set_egress(frozenset({IPv4Address(A)}))
    await bare.datapath.apply_node(table)
    for container, address in (("one", A), ("two", B)):
        await bare.datapath.attach(a_spec(bare, container, address))
    for own in ({IPv4Address(A)}, {IPv4Address(A), IPv4Address(B)}, {IPv4Address(B)}, set[IPv4Address]()):
        await bare.datapath.set_egress(frozenset(own))
        assert bare.own_egress() == own
        assert (await bare.datapath.apply_node(replace(table, own_egress=frozenset(own)))).repaired == ()
        assert bare.own_egress() == own
    await bare.datapath.apply_node(replace(table, own_egress=frozenset({IPv4Address(A)})))
    assert bare.own_egress() == {IPv4Address(A)}


async def test_the_pods_end_is_reported_and_check_is_content(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    wiring = await world.datapath.attach(spec)
    assert (wiring.pod.name, wiring.pod.mtu, wiring.addresses) == ("eth0", MTU, (IPv4Address(A),))
    assert [route.is_default for route in wiring.pod.routes].count(True) == 1
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A}}
    assert world.datapath.key(spec.sandbox) == spec.host_ifname


async def test_check_of_what_was_never_wired_finds_it_missing(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    assert [words for words in await world.datapath.check(spec) if f"{spec.host_ifname} is missing" in words]


async def test_what_broke_is_reported_and_made_again_by_the_next_attach(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    world.break_link(spec)
    assert await world.datapath.check(spec)
    await world.datapath.attach(spec)
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A}}


async def test_nothing_is_restored_of_a_whole_sandbox_nor_of_none(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    assert await world.datapath.restore_routes(spec) == ()
    await world.datapath.attach(spec)
    (observed,) = await world.datapath.sandboxes()
    assert world.datapath.is_complete(observed, spec)
    assert await world.datapath.restore_routes(spec) == ()
    await world.datapath.detach(spec.sandbox)
    assert await world.datapath.restore_routes(spec) == ()
    await world.settle()
    assert await wired(world) == {}


async def test_the_nodes_part_is_made_once_and_then_kept(bare: DatapathUnderTest) -> None:
    table = replace(TABLE, mode=bare.mode)
    assert await bare.datapath.guarded_mode() is None
    report = await bare.datapath.apply_node(table)
    assert [what for what in report.repaired if "was missing: made" in what]
    assert report.conflicts == ()
    assert await bare.datapath.guarded_mode() is bare.mode
    assert (await bare.datapath.apply_node(table)).repaired == ()
    assert (await bare.datapath.apply_node(replace(table, pool=frozenset()))).repaired == ()
    with pytest.raises(DatapathError, match="no interface has the NIC's MAC"):
        await bare.datapath.apply_node(replace(table, uplink_mac="00:0d:3a:00:00:0b"))


async def test_a_tables_new_prefixes_reach_pods_that_run(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    table = replace(TABLE, mode=world.mode)
    await world.datapath.apply_node(table)
    await world.datapath.attach(spec)
    await world.datapath.apply_node(replace(table, routable=table.routable | {IPv4Network("192.168.0.0/16")}))
    assert await world.datapath.check(spec) == ()
    assert (await world.datapath.apply_node(table)).conflicts == ()
    assert await world.datapath.check(spec) == ()
