"""The Datapath port as Linux has it: one suite for the memory that unit tests use, and for a real kernel.

What every data plane has to do is in `test_datapaths_alike`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.interface import Route
from azure_cni.datapath.uplink import RouteKind
from azure_cni.errors import DatapathError
from azure_cni.model.identity import ModeName
from azure_cni.node.pods.liveness import Occupancy
from contract.datapath_world import (
    A6,
    DUAL,
    MTU,
    PRIMARY,
    TABLE,
    WORLDS,
    A,
    B,
    DatapathUnderTest,
    a_spec,
    open_world,
    way_to,
)


@pytest.fixture(params=list(ModeName))
def mode(request: pytest.FixtureRequest) -> ModeName:
    return ModeName(request.param)


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest, mode: ModeName) -> AsyncIterator[DatapathUnderTest]:
    async with open_world(request.param, mode) as opened:
        yield opened


async def wired(world: DatapathUnderTest) -> dict[str, set[str]]:
    return {found.key: set(map(str, found.addresses)) for found in await world.datapath.sandboxes()}


async def test_attach_reports_both_ends_and_check_is_content(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    wiring = await world.datapath.attach(spec)
    node = wiring.node[0]
    assert [end.name for end in wiring.node if end.routes] == [way_to(spec)]
    assert (node.name, node.mac, node.mtu) == (spec.host_ifname, spec.host_mac, MTU)
    assert (wiring.pod.name, wiring.pod.mac, wiring.pod.mtu) == ("eth0", spec.pod_mac, MTU)
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A}}


async def test_routing_is_looked_up_for_packets_of_a_pod(world: DatapathUnderTest) -> None:
    first, second = a_spec(world, "one", A), a_spec(world, "two", B)
    for spec in (first, second):
        await world.datapath.attach(spec)
    await world.datapath.apply_node(TABLE)
    wanted = [IPv4Address(address) for address in (B, PRIMARY)]
    found = await world.datapath.forwarding(wanted, source=IPv4Address(A), interface=way_to(first))
    assert [(one.destination, one.kind, one.interface) for one in found] == [
        (IPv4Address(B), RouteKind.FORWARD, way_to(second)),
        (IPv4Address(PRIMARY), RouteKind.LOCAL, "lo"),
    ]
    with pytest.raises(DatapathError, match="its interface nowhere is not on the node"):
        await world.datapath.forwarding(wanted, source=IPv4Address(A), interface="nowhere")


async def test_a_sandbox_may_have_several_addresses(world: DatapathUnderTest) -> None:
    """Each is routed, known by CHECK, restored when it is lost, and gone with the sandbox."""
    both = (IPv4Address(A), IPv4Address(B))
    spec = replace(a_spec(world, "one", A), addresses=both)
    if world.mode is ModeName.BRIDGE:
        with pytest.raises(DatapathError, match="mode bridge gives a sandbox one IPv4 address, not 2"):
            await world.datapath.attach(spec)
        assert await wired(world) == {}
        return
    wiring = await world.datapath.attach(spec)
    assert tuple(address.ip for address in wiring.pod.addresses) == both
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A, B}}
    world.lose_routes(spec)
    (observed,) = await world.datapath.sandboxes()
    assert not world.datapath.is_complete(observed, spec)
    assert len(await world.datapath.restore_routes(spec)) == 6
    (observed,) = await world.datapath.sandboxes()
    assert world.datapath.is_complete(observed, spec)
    await world.datapath.detach(spec.sandbox)
    await world.settle()
    assert await wired(world) == {}


async def test_a_sandbox_may_have_an_address_of_ipv6_beside_the_other(world: DatapathUnderTest) -> None:
    """Each is routed, known by CHECK, restored when it is lost, and gone with the sandbox; in every mode."""
    await world.datapath.apply_node(DUAL)
    spec = replace(a_spec(world, "one", A), addresses=(IPv4Address(A), A6))
    wiring = await world.datapath.attach(spec)
    assert wiring.addresses == (IPv4Address(A), A6)
    assert await world.datapath.check(spec) == ()
    assert await wired(world) == {spec.host_ifname: {A, str(A6)}}
    world.lose_routes(spec)
    (observed,) = await world.datapath.sandboxes()
    assert not world.datapath.is_complete(observed, spec)
    assert await world.datapath.restore_routes(spec) == (
        f"route {A}/32 src {PRIMARY}",
        f"route {A}/32 metric 1",
        f"route {A6}/128 metric 1",
        f"permanent neighbour {A} at {spec.pod_mac}",
        f"permanent neighbour {A6} at {spec.pod_mac}",
    )
    (observed,) = await world.datapath.sandboxes()
    assert world.datapath.is_complete(observed, spec)
    await world.datapath.detach(spec.sandbox)
    await world.settle()
    assert await wired(world) == {}


async def test_check_of_what_was_never_wired_finds_both_ends_missing(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    bridge = ("node: interface azure0 is missing",) if world.mode is ModeName.BRIDGE else ()
    assert await world.datapath.check(spec) == (
        f"node: interface {spec.host_ifname} is missing",
        *bridge,
        "pod: interface eth0 is missing",
    )


async def test_what_broke_is_reported_and_repaired_by_the_next_attach(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.attach(spec)
    world.break_link(spec)
    assert "pod: interface eth0 is down" in await world.datapath.check(spec)
    await world.datapath.attach(spec)
    assert await world.datapath.check(spec) == ()


async def test_every_route_of_a_sandbox_is_seen_and_what_is_lost_is_put_back(world: DatapathUnderTest) -> None:
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    for spec in (one, two):
        await world.datapath.attach(spec)
    assert await world.datapath.restore_routes(one) == ()
    world.lose_routes(one)
    routes = {found.key: {*found.node[-1].routes} for found in await world.datapath.sandboxes()}
    to_two = IPv4Network(B)
    assert routes == {
        one.host_ifname: set(),
        two.host_ifname: {Route(to_two, source=IPv4Address(PRIMARY)), Route(to_two, metric=1)},
    }
    assert await world.datapath.restore_routes(one) == (
        f"route {A}/32 src {PRIMARY}",
        f"route {A}/32 metric 1",
        f"permanent neighbour {A} at {one.pod_mac}",
    )
    assert await world.datapath.restore_routes(one) == ()
    assert await world.datapath.check(one) == ()
    assert await wired(world) == {one.host_ifname: {A}, two.host_ifname: {B}}


async def test_restoring_leaves_alone_what_is_not_there_and_what_somebody_turned_off(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    assert await world.datapath.restore_routes(spec) == ()
    await world.datapath.attach(spec)
    world.turn_off(spec)
    assert await world.datapath.restore_routes(spec) == ()
    assert await wired(world) == {spec.host_ifname: set() if world.mode is ModeName.TRANSPARENT else {A}}
    await world.datapath.detach(spec.sandbox)
    assert await world.datapath.restore_routes(spec) == ()
    await world.settle()
    assert await wired(world) == {}


async def test_processes_in_a_sandbox_are_seen(world: DatapathUnderTest) -> None:
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    ends = [one.holder, two.holder]
    for spec in (one, two):
        await world.datapath.attach(spec)
    assert await world.datapath.occupancy(ends) == (Occupancy.EMPTY, Occupancy.EMPTY)
    end = world.run_in(one.netns)
    assert await world.datapath.occupancy(ends) == (Occupancy.OCCUPIED, Occupancy.EMPTY)
    end()
    assert await world.datapath.occupancy(ends) == (Occupancy.EMPTY, Occupancy.EMPTY)
    assert await world.datapath.occupancy([]) == ()


async def test_what_processes_a_namespace_has_that_is_not_the_sandboxs_is_not_reported(
    world: DatapathUnderTest,
) -> None:
    """Another sandbox has come to its path, or nothing is there: the answer would be about somebody else."""
    one, two = a_spec(world, "one", A), a_spec(world, "two", B)
    for spec in (one, two):
        await world.datapath.attach(spec)
    elsewhere = replace(one.holder, netns=two.netns)
    missing = replace(one.holder, netns="/run/netns/no-such-namespace")
    assert await world.datapath.occupancy([elsewhere, missing]) == (Occupancy.UNREADABLE, Occupancy.UNREADABLE)
    end = world.run_in(one.netns)
    world.remove_netns(one.netns)
    seen = await world.datapath.occupancy([one.holder])
    end()
    assert seen == (Occupancy.UNREADABLE,)


async def test_the_nodes_table_is_made_once_and_then_kept(world: DatapathUnderTest) -> None:
    table = replace(TABLE, mode=world.mode)
    made = ["nftables table inet azure_cni was missing: made"]
    if world.mode is ModeName.BRIDGE:
        made += ["nftables table bridge azure_cni was missing: made", "bridge azure0 was missing: made"]
    assert (await world.datapath.apply_node(table)).repaired == tuple(made)
    assert (await world.datapath.apply_node(table)).repaired == ()
    assert (await world.datapath.apply_node(replace(table, pool=frozenset()))).repaired == ()
    with pytest.raises(DatapathError, match="no interface has the NIC's MAC"):
        await world.datapath.apply_node(replace(table, uplink_mac="00:0d:3a:00:00:0b"))


async def test_the_guards_that_stand_are_of_one_mode(world: DatapathUnderTest) -> None:
    assert await world.datapath.guarded_mode() is None
    for mode in (world.mode, *ModeName):  # one after the other, over what the one before left
        await world.datapath.apply_node(replace(TABLE, mode=mode))
        assert await world.datapath.guarded_mode() is mode


async def test_a_lost_policy_rule_is_found_by_check_and_put_back(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "c1", A)
    table = replace(TABLE, mode=world.mode)
    await world.datapath.apply_node(table)
    await world.datapath.attach(spec)
    world.lose_rule()
    lost = "policy rule 90: from all lookup main suppress_prefixlength 31 suppress_ifgroup default was missing"
    assert await world.datapath.check(spec) == (f"node: {lost}",)
    assert (await world.datapath.apply_node(table)).repaired == (f"{lost}: added",)
    assert await world.datapath.check(spec) == ()
