"""What a sandbox was wired with: CHECK judges it by that, also when the NIC changes, and with several addresses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import DatapathError, SandboxUnknown
from azure_cni.ipam.ledger import Change, LinkParameters, State
from fakes.simulated_node import SimulatedNode, holder
from fakes.veth import key_of

pytestmark = pytest.mark.looptime


async def test_check_finds_nothing_wrong_then_names_what_is():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        await node.sandboxes.check(holder("p"), expected=made.addresses)
        with pytest.raises(DatapathError, match="previous result"):
            await node.sandboxes.check(holder("p"), expected=[made.addresses[0] + 1])
        with pytest.raises(SandboxUnknown):
            await node.sandboxes.check(holder("q"), expected=made.addresses)


async def test_check_judges_a_pod_by_what_it_was_given_when_the_nics_mtu_changes_and_is_put_back():
    async with SimulatedNode().running() as node:
        before = await node.add("before")
        changed = []
        for name, mtu in (("lower", 1400), ("higher", 9000), ("back", 1500)):
            node.datapath.mtu = mtu
            await asyncio.sleep(61)
            await node.repair().compare()
            changed.append((name, await node.add(name)))
            assert changed[-1][1].pod.mtu == mtu
            await node.sandboxes.check(holder("before"), expected=before.addresses)
            for made, attachment in changed:
                await node.sandboxes.check(holder(made), expected=attachment.addresses)
        node.datapath.lose(key_of(before), where="pod", mtu=1400)
        with pytest.raises(DatapathError, match="pod: interface eth0 has MTU 1400, not 1500"):
            await node.sandboxes.check(holder("before"), expected=before.addresses)
    after = SimulatedNode(before=node)
    after.datapath.lose(key_of(before), where="pod", mtu=1500)
    await after.sandboxes.check(holder("before"), expected=before.addresses)  # also before the NIC is known again


async def test_a_new_primary_address_becomes_the_source_of_running_pods_and_check_knows_it():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        link = node.state.link
        assert link is not None
        node.state.link = replace(link, primary=IPv4Address("10.240.0.99"))
        await node.sandboxes.check(holder("p"), expected=made.addresses)
        await node.repair().compare()
        (seen,) = await node.datapath.sandboxes()
        assert {route.source for route in seen.node[0].routes} == {IPv4Address("10.240.0.99"), None}
        await node.sandboxes.check(holder("p"), expected=made.addresses)
        (slot,) = node.stored.ledger.holding(holder("p").sandbox)
        assert slot.link == node.state.link


async def test_what_the_kernel_refuses_to_adapt_is_still_judged_by_what_was_given():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        given = node.state.link
        assert given is not None
        node.state.link = replace(given, primary=IPv4Address("10.240.0.99"))
        node.datapath.refuses_routes = DatapathError("cannot add route 10.240.0.7/32 src 10.240.0.99: Invalid argument")
        with pytest.raises(DatapathError):
            await node.repair().compare()
        await node.sandboxes.check(holder("p"), expected=made.addresses)
        (slot,) = node.stored.ledger.holding(holder("p").sandbox)
        assert slot.link == given


async def test_a_pod_of_an_older_ledger_is_given_what_its_link_has():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        (slot,) = node.stored.ledger.holding(holder("p").sandbox)
        node.stored.commit(Change(put=(replace(slot, link=None),)))
        node.state.link = replace(node.state.link or LinkParameters(0, made.addresses[0]), mtu=9000)
        await node.repair().compare()
        await node.sandboxes.check(holder("p"), expected=made.addresses)


async def second_address(node: SimulatedNode, name: str) -> tuple[IPv4Address, ...]:
    """The pod gets one more address, and is wired with both by a repeat of its ADD."""
    (first,) = node.stored.ledger.holding(holder(name).sandbox)
    free = next(slot for slot in node.stored.ledger.slots if slot.state is State.FREE)
    node.stored.commit(Change(put=(replace(free, state=State.ASSIGNED, holder=first.holder, link=first.link),)))
    return (await node.add(name)).addresses


async def test_a_sandbox_with_two_addresses_is_wired_checked_restored_and_ended_as_a_whole():
    async with SimulatedNode().running() as node:
        (first,) = (await node.add("p")).addresses
        both = await second_address(node, "p")
        assert (first in both, len(both)) == (True, 2)
        (observed,) = await node.datapath.sandboxes()
        assert observed.addresses == set(both)
        await node.sandboxes.check(holder("p"), expected=(*both, IPv4Address("10.9.9.9")))
        with pytest.raises(DatapathError, match=rf"previous result says {first}, the ledger {both[0]}, {both[1]}"):
            await node.sandboxes.check(holder("p"), expected=[first])
        node.datapath.lose(observed.key, where="node", routes=(), neighbours=())
        with pytest.raises(DatapathError, match=f"lacks route {both[0]}.*lacks route {both[1]}"):
            await node.sandboxes.check(holder("p"), expected=both)
        assert await node.repair().compare()
        await node.sandboxes.check(holder("p"), expected=both)
        link = LinkParameters(1500, IPv4Address("10.240.0.99"))
        node.state.link = link
        await node.repair().compare()
        assert {slot.link for slot in node.stored.ledger.holding(holder("p").sandbox)} == {link}
        await node.delete("p")
        assert (node.counts.assigned, node.counts.cooling) == (0, 2)
        assert not await node.datapath.sandboxes()


async def test_check_names_the_one_of_two_addresses_that_left_the_nic_and_gc_frees_both():
    async with SimulatedNode().running() as node:
        await node.add("p")
        both = await second_address(node, "p")
        lost = node.stored.ledger.holding(holder("p").sandbox)[1]
        node.nic.elsewhere_give(lost.config)
        await node.until(lambda: not node.stored.ledger.holding(holder("p").sandbox)[1].on_nic, within_s=700)
        with pytest.raises(DatapathError, match=rf"as it should be: address {lost.address} is no longer on the NIC$"):
            await node.sandboxes.check(holder("p"), expected=both)
        assert await node.sandboxes.collect("azure-cni", ()) == (holder("p").sandbox,)
        assert (node.counts.assigned, node.counts.cooling) == (0, 1)
