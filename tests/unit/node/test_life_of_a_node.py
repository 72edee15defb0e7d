"""What becomes of a node's addresses when its VM is stopped, moved, replaced under its name, or made from its disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.ipam.sizing import Policy
from fakes.cloud import IDENTITY, FakeCloud
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime

SMALL = Policy(min_free=2, max_free=8, batch=4)
ANOTHER = replace(IDENTITY, vm_id="0f1e2d3c-4b5a-4697-8879-a6b5c4d3e2f1")
"""Of the same name, as a scale set or Terraform makes it anew."""
PRIMARY = IPv4Address("10.240.2.9")
"""Of that one; its subnet is another, so that no address is in both NICs."""
PODS = 6


def list_pods(node: SimulatedNode, *names: str) -> None:
    """The API server's list of the node's pods."""
    node.demand.begin_list()
    node.demand.replace([pod_body(name) for name in names])
    node.reconciler.wake()


async def add(node: SimulatedNode, *names: str) -> list[IPv4Address]:
    """Pods start; their addresses."""
    list_pods(node, *names)
    wirings = []
    for name in names:
        await node.until(lambda: node.state.ready and node.counts.free > 0)
        wirings.append(await node.add(name))
    return [address.ip for wiring in wirings for address in wiring.pod.addresses]


async def with_pods() -> SimulatedNode:
    """The agent of a node with pods, when its VM stops."""
    node = SimulatedNode(policy=SMALL)
    async with node.running():
        await add(node, *(f"p{number}" for number in range(PODS)))
        await asyncio.sleep(60)
    return node


@pytest.mark.parametrize("off_s", [30, 40 * 3600], ids=["rebooted, resized, moved to another host", "off for days"])
async def test_a_vm_that_comes_back_has_its_addresses_and_writes_nothing(off_s: float) -> None:
    """Its NIC and its GUID stay; of the machine below nothing is known to the agent."""
    before = await with_pods()
    held, writes, asked = before.nic.addresses, before.nic.writes, before.status["requested"]
    await asyncio.sleep(off_s)
    after = SimulatedNode(before=before, rebooted=True, policy=SMALL)
    async with after.running():
        got = await add(after, *(f"p{number}" for number in range(PODS)))
        await asyncio.sleep(60)
    assert set(got) <= held
    assert len(set(got)) == PODS
    assert (after.nic.addresses, after.nic.writes) == (held, writes)
    assert after.status["requested"] == asked


async def test_a_vm_that_was_replaced_under_its_name_begins_with_its_own_nic() -> None:
    """The Node stayed, and with it the pool of the VM that is gone. Nothing of what that held is taken for ours."""
    before = await with_pods()
    requested, number = before.status["requested"], before.status["requestID"]
    nic = FakeNic(primary=str(PRIMARY), subnet="10.240.2.0/24")
    after = SimulatedNode(before=before, rebooted=True, nic=nic, cloud=FakeCloud(ANOTHER), policy=SMALL)
    async with after.running():
        await after.until(lambda: after.status["vmID"] == ANOTHER.vm_id)
        await after.until(lambda: after.status["requested"] < requested)  # what a node without pods needs
        assert after.status["requestID"] > number, "an answer to the former VM is none to this one"
        got = await add(after, "q0", "q1")
        await after.until(lambda: after.status["allocated"] == len(nic.addresses - {PRIMARY}))
    assert set(got) <= nic.addresses
    assert not nic.addresses & before.nic.addresses
    assert after.condition("Ready")["status"] == "True"


async def test_a_vm_made_from_the_disk_of_another_gives_out_its_own_addresses_only() -> None:
    """Even where the ledger was on that disk: the other's pods run there, with these addresses."""
    before = await with_pods()
    others = before.nic.addresses
    nic = FakeNic(primary=str(PRIMARY), subnet="10.240.2.0/24")
    nic.taken |= dict.fromkeys(others, "/subscriptions/s/networkInterfaces/vm1-nic/ipConfigurations/azure-cni-1a2b3c4d")
    clone = SimulatedNode(nic=nic, cloud=FakeCloud(ANOTHER), store=before.store, policy=SMALL)
    async with clone.running():
        got = await add(clone, "q0", "q1")
        repair = clone.repair()
        for _ in range(10):
            await repair.compare()
            await asyncio.sleep(30)
            list_pods(clone, "q0", "q1")
        left = {slot.address for slot in clone.stored.ledger.slots}
    assert set(got) <= nic.addresses
    assert left == nic.addresses - {PRIMARY}, "what the ledger said of the other VM is gone"
    assert not {one.address for one in (await nic.read()).secondaries if one.static}, "and nobody asked Azure for it"
