"""ADD, DEL, CHECK, GC and STATUS as a runtime sees them, also when calls meet or the agent dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.datapath.sandbox import SandboxLinks, SandboxSpec
from azure_cni.errors import DatapathError, NoAddress, NodeNotReady, SandboxUnknown
from azure_cni.ipam.ledger import Change, LinkParameters
from azure_cni.ipam.sizing import Policy
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder, pod_body

pytestmark = pytest.mark.looptime


async def test_add_is_idempotent():
    async with SimulatedNode().running() as node:
        assert await node.add("p") == await node.add("p")
        assert node.counts.assigned == 1


async def test_del_forgives_everything_and_the_address_cools():
    async with SimulatedNode().running() as node:
        await node.delete("never-seen")
        await node.add("p")
        await node.delete("p")
        await node.delete("p")
        assert (node.counts.assigned, node.counts.cooling) == (0, 1)
        assert not await node.datapath.sandboxes()


async def test_an_add_on_an_empty_pool_waits_for_the_growth_that_it_causes():
    async with SimulatedNode(policy=Policy(min_free=1, batch=1, max_free=2)).running() as node:
        made = await asyncio.gather(*(node.add(f"p{number}") for number in range(20)))
        assert len({attachment.address for attachment in made}) == 20


async def test_an_add_that_waited_in_vain_names_the_cause_on_the_pod_too():
    nic = FakeNic(room=0)
    async with SimulatedNode(nic=nic).running() as node:
        await node.until(lambda: node.board.outlook.cause == "SubnetFull")
        node.demand.see(pod_body("p"))
        with pytest.raises(NoAddress, match="default/p") as raised:
            await node.add("p")
        assert raised.value.cause == "SubnetFull"
        event = next(event for event in node.events.published if event.regarding["kind"] == "Pod")
        assert "SubnetFull" in event.message
        nic.room = 50
        await node.until(lambda: node.counts.free > 0)
        assert await node.add("p")


async def test_an_add_while_azure_is_slow_gives_up_after_five_seconds_and_succeeds_later():
    nic = FakeNic()
    nic.hold()
    async with SimulatedNode(nic=nic).running() as node:
        began = node.clock.boottime_s()
        with pytest.raises(NoAddress) as raised:
            await node.add("p")
        assert 4.9 <= node.clock.boottime_s() - began <= 5.5
        assert raised.value.cause == "PoolGrowing"
        nic.finish()
        await node.until(lambda: node.counts.free == 16)
        assert await node.add("p")


async def test_at_the_limit_an_add_fails_at_once_and_takes_a_cooling_address_after_half_a_minute():
    async with SimulatedNode(policy=Policy(maximum=16)).running() as node:
        for number in range(16):
            await node.add(f"p{number}")
        await node.delete("p0")
        began = node.clock.boottime_s()
        with pytest.raises(NoAddress) as raised:
            await node.add("q")
        assert raised.value.cause == "NodeAtLimit"
        assert node.clock.boottime_s() - began < 1
        await asyncio.sleep(31)
        assert await node.add("q")


async def test_a_del_overtakes_an_add_that_waits():
    nic = FakeNic()
    nic.hold()
    async with SimulatedNode(nic=nic).running() as node:
        adding = asyncio.create_task(node.add("p"))
        await asyncio.sleep(1)
        began = node.clock.boottime_s()
        await node.delete("p")
        assert node.clock.boottime_s() - began < 0.5
        with pytest.raises(NoAddress, match="deleted meanwhile"):
            await adding
        nic.finish()
        await node.until(lambda: node.counts.free == 16)
        assert node.counts.assigned == 0


async def test_an_add_that_the_kernel_refuses_gives_its_address_back_at_once():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.datapath.fail_next = DatapathError("cannot enter /run/netns/p: it does not exist")
        with pytest.raises(DatapathError):
            await node.add("p")
        assert (node.counts.free, node.counts.cooling) == (16, 0)
        assert not await node.datapath.sandboxes()


@pytest.mark.parametrize("then", ["repeated", "deleted"])
async def test_an_add_that_is_cancelled_keeps_its_address_because_the_kernel_may_be_wired_after_all(then: str):
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        kernel, wire = asyncio.Event(), node.datapath.attach

        async def slowly(spec: SandboxSpec) -> SandboxLinks:
            await kernel.wait()
            return await wire(spec)

        node.datapath.attach = slowly  # type: ignore[method-assign]
        adding = asyncio.create_task(node.add("p"))
        await asyncio.sleep(1)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        kept = node.book.ledger.holding(holder("p").sandbox)
        assert kept is not None
        kernel.set()
        assert (await node.add("q")).address != kept.address
        if then == "repeated":
            assert (await node.add("p")).address == kept.address
        else:
            await node.delete("p")
            assert node.counts.cooling == 1


async def test_an_add_that_is_cancelled_while_it_waits_holds_nothing():
    nic = FakeNic()
    nic.hold()
    async with SimulatedNode(nic=nic).running() as node:
        adding = asyncio.create_task(node.add("p"))
        await asyncio.sleep(1)
        adding.cancel()
        await asyncio.gather(adding, return_exceptions=True)
        assert node.demand.waiting(node.book.ledger) == 0
        nic.finish()
        await node.until(lambda: node.counts.free == 16)
        assert node.counts.assigned == 0


async def test_check_finds_nothing_wrong_then_names_what_is():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        await node.sandboxes.check(holder("p"), expected=made.address)
        with pytest.raises(DatapathError, match="previous result"):
            await node.sandboxes.check(holder("p"), expected=made.address + 1)
        with pytest.raises(SandboxUnknown):
            await node.sandboxes.check(holder("q"), expected=made.address)


async def test_check_judges_a_pod_by_what_it_was_given_when_the_nics_mtu_changes_and_is_put_back():
    async with SimulatedNode().running() as node:
        before = await node.add("before")
        changed = []
        for name, mtu in (("lower", 1400), ("higher", 9000), ("back", 1500)):
            node.datapath.mtu = mtu
            await asyncio.sleep(61)
            await node.repair().once()
            changed.append((name, await node.add(name)))
            assert changed[-1][1].links.mtu == mtu
            await node.sandboxes.check(holder("before"), expected=before.address)
            for made, attachment in changed:
                await node.sandboxes.check(holder(made), expected=attachment.address)
        node.datapath.lose(before.links.host_ifname, where="pod", mtu=1400)
        with pytest.raises(DatapathError, match="pod: interface eth0 has MTU 1400, not 1500"):
            await node.sandboxes.check(holder("before"), expected=before.address)
    after = SimulatedNode(before=node)
    after.datapath.lose(before.links.host_ifname, where="pod", mtu=1500)
    await after.sandboxes.check(holder("before"), expected=before.address)  # also before the NIC is known again


async def test_a_new_primary_address_becomes_the_source_of_running_pods_and_check_knows_it():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        link = node.board.link
        assert link is not None
        node.board.link = replace(link, primary=IPv4Address("10.240.0.99"))
        await node.sandboxes.check(holder("p"), expected=made.address)
        await node.repair().once()
        (seen,) = await node.datapath.sandboxes()
        assert {route.source for route in seen.routes} == {IPv4Address("10.240.0.99"), None}
        await node.sandboxes.check(holder("p"), expected=made.address)
        slot = node.book.ledger.holding(holder("p").sandbox)
        assert slot is not None
        assert slot.link == node.board.link


async def test_what_the_kernel_refuses_to_adapt_is_still_judged_by_what_was_given():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        given = node.board.link
        assert given is not None
        node.board.link = replace(given, primary=IPv4Address("10.240.0.99"))
        node.datapath.refuses_routes = DatapathError("cannot add route 10.240.0.7/32 src 10.240.0.99: Invalid argument")
        with pytest.raises(DatapathError):
            await node.repair().once()
        await node.sandboxes.check(holder("p"), expected=made.address)
        slot = node.book.ledger.holding(holder("p").sandbox)
        assert slot is not None
        assert slot.link == given


async def test_a_pod_of_an_older_ledger_is_given_what_its_link_has():
    async with SimulatedNode().running() as node:
        made = await node.add("p")
        slot = node.book.ledger.holding(holder("p").sandbox)
        assert slot is not None
        node.book.commit(Change(put=(replace(slot, link=None),)))
        node.board.link = replace(node.board.link or LinkParameters(0, made.address), mtu=9000)
        await node.repair().once()
        await node.sandboxes.check(holder("p"), expected=made.address)


async def test_gc_frees_what_is_not_listed():
    async with SimulatedNode().running() as node:
        for name in ("a", "b", "c"):
            await node.add(name)
        freed = await node.sandboxes.collect({holder("b").sandbox})
        assert {sandbox.container_id for sandbox in freed} == {"container-a", "container-c"}
        assert node.counts.assigned == 1


async def test_gc_goes_on_after_one_that_fails_and_tells_it_at_the_end():
    async with SimulatedNode().running() as node:
        made = {name: await node.add(name) for name in ("a", "b", "c", "d", "e")}
        stuck = {made[name].links.host_ifname for name in ("a", "c")}
        cut_off = node.datapath.detach

        async def detach(host_ifname: str, addresses: Collection[str]) -> None:
            if host_ifname in stuck:
                raise DatapathError(f"cannot set {host_ifname} down: Device or resource busy")
            await cut_off(host_ifname, addresses)

        node.datapath.detach = detach  # type: ignore[method-assign]
        with pytest.raises(DatapathError, match=r"^cannot free 2 of 4 sandboxes: pod default/a: .*busy; pod .*busy$"):
            await node.sandboxes.collect({holder("e").sandbox})
        assert node.counts.assigned == 3
        stuck.clear()
        assert len(await node.sandboxes.collect({holder("e").sandbox})) == 2


async def test_status_fails_until_the_first_address():
    nic = FakeNic(room=0)
    async with SimulatedNode(nic=nic).running() as node:
        with pytest.raises(NodeNotReady, match="not yet"):
            node.sandboxes.status()
        await node.until(lambda: node.board.outlook.cause == "SubnetFull")
        with pytest.raises(NodeNotReady):
            node.sandboxes.status()
        nic.room = 50
        await node.until(lambda: node.counts.free > 0)
        node.sandboxes.status()


async def test_status_does_not_fail_because_the_node_is_full():
    async with SimulatedNode(policy=Policy(maximum=16)).running() as node:
        for number in range(16):
            await node.add(f"p{number}")
        await node.until(lambda: node.board.outlook.cause == "NodeAtLimit")
        assert not node.board.can_take_a_pod
        node.sandboxes.status()


async def test_status_does_not_fail_while_a_restarted_agent_serves_from_its_ledger():
    async with SimulatedNode().running() as first:
        await first.add("p")
    second = SimulatedNode(before=first)
    second.cloud.silent = True
    async with second.running():
        await second.until(lambda: second.board.ready)
        second.sandboxes.status()


async def test_a_node_with_an_obstacle_can_take_no_pod_however_many_addresses_are_free():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        await node.until(lambda: node.board.can_take_a_pod)
        node.board.obstacle = "the plugin portmap is missing in /opt/cni/bin"
        assert not node.board.can_take_a_pod
        node.reconciler.wake()
        await node.until(lambda: node.condition("Ready")["status"] == "False")
        assert node.condition("Ready")["reason"] == "PluginMissing"
        assert "portmap is missing" in node.condition("Ready")["message"]


async def test_after_a_restart_every_pod_still_holds_its_address():
    async with SimulatedNode().running() as first:
        made = {name: (await first.add(name)).address for name in ("a", "b")}
    async with SimulatedNode(before=first).running() as second:
        await second.until(lambda: second.board.ready)
        again = {name: (await second.add(name)).address for name in ("a", "b")}
        assert again == made
        assert second.counts.assigned == 2


async def test_a_restarted_agent_serves_pods_while_azure_is_silent():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("free") == 16)
        await first.add("before")
    second = SimulatedNode(before=first)
    second.cloud.silent = True
    async with second.running():
        await second.until(lambda: second.board.ready)
        assert await second.add("after")
        await second.delete("before")
        await second.until(lambda: second.condition("Ready")["reason"] == "AzureUnreachable")
        second.cloud.silent = False
        await second.until(lambda: second.board.identity is not None)
        await second.until(lambda: second.condition("Ready")["reason"] == "PodsCanStart")


async def test_after_a_reboot_nothing_of_the_old_ledger_is_believed():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("free") == 16)
    second = SimulatedNode(before=first, rebooted=True)
    second.cloud.silent = True
    async with second.running():
        await asyncio.sleep(30)
        assert not second.board.ready
