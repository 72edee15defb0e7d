"""The LinkHandover port: one suite for the memory that unit tests use, and for a real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.interface import ANYWHERE, Route
from azure_cni.errors import DatapathError
from azure_cni.ipam.address_state import Holder
from azure_cni.model.identity import ModeName
from azure_cni.node.pods.liveness import Occupancy
from contract.datapath_world import MTU, WORLDS, DatapathUnderTest, a_spec, open_world

A = "10.240.0.7"


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[DatapathUnderTest]:
    async with open_world(request.param, ModeName.TRANSPARENT) as opened:
        yield opened


async def test_an_offer_shows_both_ends_and_the_runtime_has_the_rest_to_do(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    wiring = await world.datapath.offer(spec)
    (node,), container = wiring.node, wiring.pod
    assert (node.name, node.mtu) == (spec.host_ifname, MTU)
    assert node.mac == container.mac == world.datapath.mac(spec.sandbox) == spec.pod_mac
    assert (container.mtu, container.up, container.neighbours) == (MTU, False, ())
    gateway = container.routes[0].destination.network_address
    assert gateway in IPv4Network("169.254.64.0/18")
    assert container.routes == (Route(IPv4Network(gateway)), Route(ANYWHERE, gateway=gateway))
    (observed,) = await world.datapath.sandboxes()
    assert observed.key == world.datapath.key(spec.sandbox)
    assert observed.addresses == {IPv4Address(A)}
    assert world.datapath.is_complete(observed, spec)


async def test_a_repeat_is_the_same_until_it_was_moved(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    assert await world.datapath.offer(spec) == await world.datapath.offer(spec)
    world.move(spec)
    with pytest.raises(DatapathError, match="has been moved into a container already"):
        await world.datapath.offer(spec)
    assert len(await world.datapath.sandboxes()) == 1


@pytest.mark.parametrize("moved", [True, False])
async def test_a_detach_ends_it_wherever_it_is_and_it_can_be_offered_again(
    world: DatapathUnderTest, *, moved: bool
) -> None:
    spec = a_spec(world, "one", A)
    for _ in range(2):
        await world.datapath.offer(spec)
        if moved:
            world.move(spec)
        await world.datapath.detach(spec.sandbox)
    await world.datapath.detach(spec.sandbox)
    await world.settle()
    assert await world.datapath.sandboxes() == ()


async def test_nobody_lives_in_what_was_offered_and_not_moved(world: DatapathUnderTest) -> None:
    """Also where no path of a namespace is known: the plugin died before it wrote that down."""
    spec = a_spec(world, "one", A)
    await world.datapath.offer(spec)
    holders = [Holder(spec.sandbox), Holder(spec.sandbox, spec.netns)]
    assert await world.datapath.occupancy(holders) == (Occupancy.EMPTY, Occupancy.EMPTY)
    world.move(spec)
    assert await world.datapath.occupancy(holders) == (Occupancy.UNREADABLE, Occupancy.EMPTY)


async def test_what_leads_there_is_put_back(world: DatapathUnderTest) -> None:
    spec = a_spec(world, "one", A)
    await world.datapath.offer(spec)
    world.move(spec)
    world.lose_routes(spec)
    assert await world.datapath.restore_routes(spec)
    (observed,) = await world.datapath.sandboxes()
    assert world.datapath.is_complete(observed, spec)
