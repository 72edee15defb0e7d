"""Sandboxes of several networks, and of none: each verb of one network leaves the others alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from azure_cni.errors import EnvironmentInvalid, NoAddress, SandboxUnknown
from azure_cni.ipam.address_state import Holder, Sandbox
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder
from fakes.veth import key_of

pytestmark = pytest.mark.looptime


def elsewhere(name: str, network: str, ifname: str = "net1") -> Holder:
    """An interface of the pod in another network."""
    first = holder(name)
    return replace(first, sandbox=Sandbox(network, first.sandbox.container_id, ifname))


async def test_gc_of_one_network_leaves_the_others_alone():
    async with SimulatedNode().running() as node:
        await node.add("a")
        storage = [elsewhere("a", "storage"), elsewhere("b", "storage")]
        for one in storage:
            await node.sandboxes.add(one)
        assert await node.sandboxes.collect("storage", {storage[0].sandbox}) == (storage[1].sandbox,)
        assert await node.sandboxes.collect("azure-cni", ()) == (holder("a").sandbox,)
        assert node.stored.ledger.holding(storage[0].sandbox)
        assert node.counts.assigned == 1


async def test_an_interface_that_another_network_holds_is_refused_and_stays_as_it_is():
    async with SimulatedNode().running() as node:
        made = await node.add("a")
        other = elsewhere("a", "storage", "eth0")
        with pytest.raises(
            EnvironmentInvalid, match=r'CNI_IFNAME "eth0" for pod default/a in network "storage": .*"azure-cni"'
        ):
            await node.sandboxes.add(other)
        with pytest.raises(SandboxUnknown):
            await node.sandboxes.check(other, expected=made.addresses)
        await node.sandboxes.delete(other.sandbox)  # as a runtime does after an ADD that failed
        assert [observed.key for observed in await node.datapath.sandboxes()] == [key_of(made)]
        await node.sandboxes.check(holder("a"), expected=made.addresses)
        await node.delete("a")
        assert (await node.sandboxes.add(other)).addresses[0] != made.addresses[0]


async def test_a_del_of_another_network_does_not_overtake_an_add_that_waits():
    nic = FakeNic()
    nic.hold()
    async with SimulatedNode(nic=nic).running() as node:
        adding = asyncio.create_task(node.add("a"))
        await asyncio.sleep(1)
        ending = asyncio.create_task(node.sandboxes.delete(elsewhere("a", "storage", "eth0").sandbox))
        await asyncio.sleep(1)
        nic.finish()
        made = await adding
        await ending
        await node.sandboxes.check(holder("a"), expected=made.addresses)


def of_before(name: str) -> Holder:
    """The pod's sandbox as a ledger has it that an older agent wrote."""
    return elsewhere(name, "", "eth0")


async def test_a_sandbox_of_before_answers_to_every_network_but_to_no_gc():
    async with SimulatedNode().running() as node:
        made = {name: await node.sandboxes.add(of_before(name)) for name in ("a", "b", "c")}
        assert await node.sandboxes.collect("azure-cni", ()) == ()
        await node.sandboxes.check(holder("a"), expected=made["a"].addresses)
        await node.delete("a")
        await node.sandboxes.delete(elsewhere("b", "storage", "eth0").sandbox)
        assert node.counts.assigned == 1
        assert await node.add("c") == made["c"]  # a repeat, by which the network becomes known
        assert await node.sandboxes.collect("storage", ()) == ()
        assert await node.sandboxes.collect("azure-cni", ()) == (holder("c").sandbox,)
        assert not await node.datapath.sandboxes()


async def test_a_del_that_names_no_network_ends_the_sandbox_and_the_add_that_waits():
    async with SimulatedNode().running() as node:
        await node.add("a")
        await node.sandboxes.delete(of_before("a").sandbox)
        assert node.counts.assigned == 0
    nic = FakeNic()
    nic.hold()
    async with SimulatedNode(nic=nic).running() as node:
        adding = asyncio.create_task(node.add("a"))
        await asyncio.sleep(1)
        await node.sandboxes.delete(of_before("a").sandbox)
        with pytest.raises(NoAddress, match="deleted meanwhile"):
            await adding
