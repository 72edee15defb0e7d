"""The Datapath port: one suite for the memory that unit tests use, and for a real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.sandbox import SandboxLinks, node_end
from azure_cni.datapath.snat import NodeTable
from azure_cni.errors import DatapathError
from azure_cni.node.liveness import Occupancy
from azure_cni.node.ports import PodEnd
from contract.datapath_world import MTU, PRIMARY, UPLINK_MAC, WORLDS, World, a_spec, open_world

A, B = "10.240.0.7", "10.240.0.8"
TABLE = NodeTable(
    uplink_mac=UPLINK_MAC,
    primary=IPv4Address(PRIMARY),
    pool=frozenset({IPv4Address(A), IPv4Address(B)}),
    public=frozenset(),
    routable=frozenset({IPv4Network("10.240.0.0/16")}),
    imds_allowed=False,
)


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with open_world(request.param) as opened:
        yield opened


async def wired(world: World) -> dict[str, frozenset[str]]:
    return {found.host_ifname: found.addresses for found in await world.datapath.sandboxes()}


async def test_at_first_there_is_nothing(world: World) -> None:
    assert await world.datapath.sandboxes() == ()
    await world.datapath.settle()


async def test_attach_tells_both_ends_and_check_is_content(world: World) -> None:
    spec = a_spec(world, "one", A)
    links = await world.datapath.attach(spec)
    assert links == SandboxLinks(spec.host_ifname, spec.host_mac, "eth0", spec.pod_mac, MTU)
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A}}


async def test_a_repeat_is_the_same_result(world: World) -> None:
    spec = a_spec(world, "one", A)
    assert await world.datapath.attach(spec) == await world.datapath.attach(spec)
    assert await wired(world) == {spec.host_ifname: {A}}


async def test_a_change_of_address_replaces_the_sandbox(world: World) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    moved = replace(spec, address=IPv4Address(B))
    assert await world.datapath.check(moved)
    await world.datapath.attach(moved)
    assert await world.datapath.check(moved) == ()
    assert await wired(world) == {spec.host_ifname: {B}}


async def test_an_address_leads_to_whoever_got_it_last(world: World) -> None:
    first, second = a_spec(world, "one", A), a_spec(world, "two", A)
    await world.datapath.attach(first)
    await world.datapath.attach(second)
    assert await wired(world) == {first.host_ifname: frozenset(), second.host_ifname: {A}}
    assert await world.datapath.check(first)
    await world.datapath.detach(first.host_ifname, [A])
    assert await world.datapath.check(second) == ()


async def test_a_missing_namespace_is_named_and_nothing_is_left(world: World) -> None:
    spec = a_spec(world, "one", A)
    world.remove_netns(spec.netns)
    with pytest.raises(DatapathError, match=spec.netns):
        await world.datapath.attach(spec)
    assert await wired(world) == {}


@pytest.mark.parametrize("by_us", [True, False])
async def test_an_interface_that_is_there_already_stays_and_nothing_is_left(world: World, *, by_us: bool) -> None:
    first = a_spec(world, "one", A)
    if by_us:
        await world.datapath.attach(first)
    else:
        world.occupy(first.netns, "eth0")
    second = a_spec(world, "two", B, netns=first.netns)
    with pytest.raises(DatapathError, match="has an interface eth0 already"):
        await world.datapath.attach(second)
    assert await wired(world) == ({first.host_ifname: {A}} if by_us else {})


async def test_check_of_what_was_never_wired_finds_both_ends_missing(world: World) -> None:
    spec = a_spec(world, "one", A)
    assert await world.datapath.check(spec) == (
        f"node: interface {spec.host_ifname} is missing",
        "pod: interface eth0 is missing",
    )


async def test_what_broke_is_told_and_mended_by_the_next_attach(world: World) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    world.break_link(spec)
    assert "pod: interface eth0 is down" in await world.datapath.check(spec)
    await world.datapath.attach(spec)
    assert await world.datapath.check(spec) == ()


async def test_every_route_of_a_sandbox_is_seen_and_what_is_lost_is_put_back(world: World) -> None:
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    for spec in (one, two):
        await world.datapath.attach(spec)
    assert await world.datapath.mend(one) == ()
    world.lose_routes(one)
    seen = {found.host_ifname: found.routes for found in await world.datapath.sandboxes()}
    assert seen == {one.host_ifname: frozenset(), two.host_ifname: frozenset(node_end(two).routes)}
    assert await world.datapath.mend(one) == (
        f"route {A}/32 src {PRIMARY}",
        f"route {A}/32 metric 1",
        f"permanent neighbour {A} at {one.pod_mac}",
    )
    assert await world.datapath.mend(one) == ()
    assert await world.datapath.check(one) == ()
    assert await wired(world) == {one.host_ifname: {A}, two.host_ifname: {B}}


async def test_mending_leaves_alone_what_is_not_there_and_what_somebody_turned_off(world: World) -> None:
    spec = a_spec(world, "one", A)
    assert await world.datapath.mend(spec) == ()
    await world.datapath.attach(spec)
    world.turn_off(spec)
    assert await world.datapath.mend(spec) == ()
    assert await wired(world) == {spec.host_ifname: frozenset()}
    await world.datapath.detach(spec.host_ifname, [A])
    assert await world.datapath.mend(spec) == ()
    await world.datapath.settle()
    assert await wired(world) == {}


async def test_processes_in_a_sandbox_are_seen(world: World) -> None:
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    ends = [PodEnd(spec.netns, spec.ifname, spec.pod_mac) for spec in (one, two)]
    for spec in (one, two):
        await world.datapath.attach(spec)
    assert await world.datapath.occupancy(ends) == (Occupancy.EMPTY, Occupancy.EMPTY)
    end = world.run_in(one.netns)
    assert await world.datapath.occupancy(ends) == (Occupancy.OCCUPIED, Occupancy.EMPTY)
    end()
    assert await world.datapath.occupancy(ends) == (Occupancy.EMPTY, Occupancy.EMPTY)
    assert await world.datapath.occupancy([]) == ()


async def test_what_processes_a_namespace_has_that_is_not_the_sandboxs_is_not_told(world: World) -> None:
    """Another sandbox has come to its path, or nothing is there: the answer would be about somebody else."""
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    for spec in (one, two):
        await world.datapath.attach(spec)
    elsewhere = PodEnd(two.netns, one.ifname, one.pod_mac)
    missing = PodEnd("/run/netns/no-such-namespace", one.ifname, one.pod_mac)
    assert await world.datapath.occupancy([elsewhere, missing]) == (Occupancy.UNREADABLE, Occupancy.UNREADABLE)
    end = world.run_in(one.netns)
    world.remove_netns(one.netns)
    seen = await world.datapath.occupancy([PodEnd(one.netns, one.ifname, one.pod_mac)])
    end()
    assert seen == (Occupancy.UNREADABLE,)


@pytest.mark.parametrize("addresses", [[A], []])
async def test_detach_removes_link_and_routes(world: World, addresses: list[str]) -> None:
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    await world.datapath.attach(one)
    await world.datapath.attach(two)
    await world.datapath.detach(one.host_ifname, addresses)
    assert await world.datapath.check(one)
    await world.datapath.settle()
    assert await wired(world) == {two.host_ifname: {B}}
    assert await world.datapath.check(two) == ()


async def test_detach_forgives_what_is_not_there(world: World) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.detach(spec.host_ifname, [A])
    await world.datapath.attach(spec)
    world.remove_netns(spec.netns)
    await world.datapath.detach(spec.host_ifname, [A])
    await world.datapath.detach(spec.host_ifname, [A])
    await world.datapath.settle()
    assert await wired(world) == {}


async def test_a_sandbox_may_come_back_before_its_removal_is_done(world: World) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    await world.datapath.detach(spec.host_ifname, [A])
    await world.datapath.attach(spec)
    await world.datapath.settle()
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A}}


async def test_check_without_the_namespace_names_it(world: World) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    world.remove_netns(spec.netns)
    (words,) = await world.datapath.check(spec)
    assert spec.netns in words


async def test_the_uplink_is_found_by_its_mac(world: World) -> None:
    uplink = await world.datapath.uplink(UPLINK_MAC, IPv4Address(PRIMARY))
    assert (uplink.name, uplink.mtu) == ("eth0", MTU)
    with pytest.raises(DatapathError, match="no interface has the NIC's MAC 00:0d:3a:00:00:0b"):
        await world.datapath.uplink("00:0d:3a:00:00:0b", IPv4Address(PRIMARY))


async def test_the_nodes_table_is_made_once_and_then_kept(world: World) -> None:
    assert (await world.datapath.apply_node(TABLE)).repaired == ("nftables table inet azure_cni was missing: made",)
    assert (await world.datapath.apply_node(TABLE)).repaired == ()
    assert (await world.datapath.apply_node(replace(TABLE, pool=frozenset()))).repaired == ()
    with pytest.raises(DatapathError, match="no interface has the NIC's MAC"):
        await world.datapath.apply_node(replace(TABLE, uplink_mac="00:0d:3a:00:00:0b"))


async def test_a_lost_policy_rule_is_found_by_check_and_put_back(world: World) -> None:
    spec = a_spec(world, "c1", A)
    await world.datapath.apply_node(TABLE)
    await world.datapath.attach(spec)
    world.lose_rule()
    lost = "policy rule 90: from all lookup main suppress_prefixlength 31 suppress_ifgroup default was missing"
    assert await world.datapath.check(spec) == (f"node: {lost}",)
    assert (await world.datapath.apply_node(TABLE)).repaired == (f"{lost}: added",)
    assert await world.datapath.check(spec) == ()
