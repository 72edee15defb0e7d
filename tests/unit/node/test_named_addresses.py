"""An address that the runtime names: given where the NIC has it and nobody else, and never on a node of a cluster.

What cooled before cools again when its new holder is never wired, whoever chose it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import ConfigInvalid, DatapathError, EnvironmentInvalid, NoAddress, NodeNotReady
from azure_cni.ipam.address_state import Holder, State
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from azure_cni.ipam.sizing import Policy
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder

pytestmark = pytest.mark.looptime


def one_of(node: SimulatedNode) -> IPv4Address:
    """The last that would be given to somebody who names none."""
    return next(slot.address for slot in reversed(node.stored.ledger.slots) if slot.state is State.FREE)


def has(node: SimulatedNode, who: Holder) -> list[IPv4Address]:
    return [slot.address for slot in node.stored.ledger.holding(who.sandbox)]


async def test_a_named_address_is_given_and_given_again_while_it_cools():
    async with SimulatedNode(in_cluster=False).running() as node:
        await node.until(lambda: node.counts.free == 16)
        wanted = one_of(node)
        first = await node.sandboxes.add(holder("web"), wanted=wanted)
        assert await node.sandboxes.add(holder("web"), wanted=wanted) == first
        await node.delete("web")
        assert node.counts.cooling == 1
        await node.sandboxes.add(holder("web"), wanted=wanted)
        assert has(node, holder("web")) == [wanted]


async def test_an_address_that_another_has_or_the_nic_does_not_is_refused_with_those_that_can_be_had():
    async with SimulatedNode(in_cluster=False).running() as node:
        await node.until(lambda: node.counts.free == 16)
        wanted = one_of(node)
        await node.sandboxes.add(holder("web"), wanted=wanted)
        with pytest.raises(
            NoAddress, match=rf"cannot assign {wanted}: it is assigned to .*; free of the others: 10\."
        ) as no:
            await node.sandboxes.add(holder("other"), wanted=wanted)
        assert no.value.cause == "AddressInUse"
        with pytest.raises(NoAddress, match="NIC does not hold it for containers; it holds 16 addresses") as no:
            await node.sandboxes.add(holder("other"), wanted=IPv4Address("192.0.2.1"))
        assert no.value.cause == "AddressNotOnNic"
        with pytest.raises(ConfigInvalid, match=f"it has {wanted} already"):
            await node.sandboxes.add(holder("web"), wanted=IPv4Address(int(wanted) - 1))
        assert (has(node, holder("other")), has(node, holder("web"))) == ([], [wanted])


async def test_an_interface_of_another_network_gets_no_second_address():
    async with SimulatedNode(in_cluster=False).running() as node:
        await node.until(lambda: node.counts.free == 16)
        await node.add("web")
        elsewhere = replace(holder("web"), sandbox=holder("web").sandbox._replace(network="other"))
        with pytest.raises(EnvironmentInvalid, match='in network "azure-cni" already'):
            await node.sandboxes.add(elsewhere, wanted=one_of(node))
        assert node.counts.assigned == 1


async def test_a_named_address_that_the_kernel_refuses_cools_for_it_may_have_been_anothers():
    async with SimulatedNode(in_cluster=False).running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.datapath.fail_next = DatapathError("cannot enter /run/netns/web: it does not exist")
        with pytest.raises(DatapathError):
            await node.sandboxes.add(holder("web"), wanted=one_of(node))
        assert (node.counts.free, node.counts.cooling) == (15, 1)
        await asyncio.sleep(COOLING_S + 5)
        assert node.counts.free == 16


async def test_what_cooled_at_the_nodes_limit_cools_again_when_the_kernel_refuses():
    async with SimulatedNode(policy=Policy(min_free=1, max_free=2, batch=1, maximum=2)).running() as node:
        for name in ("web", "db"):
            await node.add(name)
        await node.delete("db")
        await node.until(lambda: node.state.at_limit)
        await asyncio.sleep(COOLING_AT_LIMIT_S)
        assert node.counts.cooling == 1
        node.datapath.fail_next = DatapathError("cannot enter /run/netns/other: it does not exist")
        with pytest.raises(DatapathError):
            await node.add("other")
        assert (node.counts.free, node.counts.cooling) == (0, 1)


async def test_what_was_free_at_the_nodes_limit_is_free_again_when_the_kernel_refuses():
    """A runtime repeats the ADD: what cooled each time would be missing for other pods, and add to what is wanted."""
    async with SimulatedNode(policy=Policy(size=4)).running() as node:
        await node.add("web")
        await node.until(lambda: node.state.at_limit)
        for _ in range(3):
            node.datapath.fail_next = DatapathError("cannot enter /run/netns/other: it does not exist")
            with pytest.raises(DatapathError):
                await node.add("other")
        assert (node.counts.free, node.counts.cooling) == (3, 0)


async def test_before_the_nic_is_known_it_is_said_what_is_missing():
    nic = FakeNic()
    nic.hold()
    node = SimulatedNode(nic=nic, in_cluster=False)
    with pytest.raises(NodeNotReady, match=r"cannot assign 10\.240\.0\.9: this VM cannot wire a container yet"):
        await node.sandboxes.add(holder("web"), wanted=IPv4Address("10.240.0.9"))


async def test_in_a_cluster_nobody_names_an_address_not_even_the_one_that_the_pod_has():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        wanted = one_of(node)
        with pytest.raises(
            ConfigInvalid, match=f"cannot give pod default/web the address {wanted}: on a node of a cluster"
        ):
            await node.sandboxes.add(holder("web"), wanted=wanted)
        assert node.counts.free == 16
        await node.add("web")
        with pytest.raises(ConfigInvalid, match="azure-cni chooses each address"):
            await node.sandboxes.add(holder("web"), wanted=has(node, holder("web"))[0])
