"""ADD, DEL, CHECK, GC and STATUS as a runtime sees them, also when calls meet or the agent dies in between."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.datapath.interface import Wiring
from azure_cni.errors import DatapathError, DatapathOutcomeUnknown, NoAddress, NodeNotReady
from azure_cni.ipam.address_state import Sandbox
from azure_cni.ipam.sizing import Policy
from azure_cni.node.ports import SandboxSpec
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


async def test_an_add_of_which_nobody_knows_whether_it_was_wired_keeps_its_address_until_its_del():
    """The data plane may wire it a moment later: another pod must not have the address then."""
    async with SimulatedNode().running() as node:
        node.datapath.fail_next = DatapathOutcomeUnknown("cannot use HNS: it has not answered for 20 s")
        with pytest.raises(DatapathOutcomeUnknown):
            await node.add("p")
        assert (node.counts.assigned, node.counts.cooling) == (1, 0)
        kept = node.stored.ledger.holding(holder("p").sandbox)[0].address
        assert (await node.add("q")).addresses != (kept,)
        assert (await node.add("p")).addresses == (kept,)
        await node.delete("p")
        assert node.counts.cooling == 1


async def test_an_add_on_an_empty_pool_waits_for_the_growth_that_it_causes():
    async with SimulatedNode(policy=Policy(min_free=1, batch=1, max_free=2)).running() as node:
        made = await asyncio.gather(*(node.add(f"p{number}") for number in range(20)))
        assert len({attachment.addresses[0] for attachment in made}) == 20


async def test_an_add_that_waited_in_vain_names_the_cause_on_the_pod_too():
    nic = FakeNic(room=0)
    async with SimulatedNode(nic=nic).running() as node:
        await node.until(lambda: node.state.forecast.reason == "SubnetFull")
        node.demand.observe_pod(pod_body("p"))
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

        async def slowly(spec: SandboxSpec) -> Wiring:
            await kernel.wait()
            return await wire(spec)

        node.datapath.attach = slowly  # type: ignore[method-assign]
        adding = asyncio.create_task(node.add("p"))
        await asyncio.sleep(1)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        (kept,) = node.stored.ledger.holding(holder("p").sandbox)
        kernel.set()
        assert (await node.add("q")).addresses[0] != kept.address
        if then == "repeated":
            assert (await node.add("p")).addresses[0] == kept.address
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
        assert node.demand.waiting(node.stored.ledger) == 0
        nic.finish()
        await node.until(lambda: node.counts.free == 16)
        assert node.counts.assigned == 0


async def test_gc_frees_what_is_not_listed():
    async with SimulatedNode().running() as node:
        for name in ("a", "b", "c"):
            await node.add(name)
        freed = await node.sandboxes.collect("azure-cni", {holder("b").sandbox})
        assert {sandbox.container_id for sandbox in freed} == {"container-a", "container-c"}
        assert node.counts.assigned == 1


async def test_gc_goes_on_after_one_that_fails_and_reports_it_at_the_end():
    async with SimulatedNode().running() as node:
        for name in ("a", "b", "c", "d", "e"):
            await node.add(name)
        stuck = {holder(name).sandbox for name in ("a", "c")}
        really = node.datapath.detach

        async def detach(sandbox: Sandbox) -> None:
            if sandbox in stuck:
                raise DatapathError(f"cannot set {sandbox.container_id} down: Device or resource busy")
            await really(sandbox)

        node.datapath.detach = detach  # type: ignore[method-assign]
        with pytest.raises(DatapathError, match=r"^cannot free 2 of 4 sandboxes: pod default/a: .*busy; pod .*busy$"):
            await node.sandboxes.collect("azure-cni", {holder("e").sandbox})
        assert node.counts.assigned == 3
        stuck.clear()
        assert len(await node.sandboxes.collect("azure-cni", {holder("e").sandbox})) == 2


async def test_status_fails_until_the_first_address():
    nic = FakeNic(room=0)
    async with SimulatedNode(nic=nic).running() as node:
        with pytest.raises(NodeNotReady, match="not yet"):
            node.sandboxes.status()
        await node.until(lambda: node.state.forecast.reason == "SubnetFull")
        with pytest.raises(NodeNotReady):
            node.sandboxes.status()
        nic.room = 50
        await node.until(lambda: node.counts.free > 0)
        node.sandboxes.status()


async def test_status_does_not_fail_because_the_node_is_full():
    async with SimulatedNode(policy=Policy(maximum=16)).running() as node:
        for number in range(16):
            await node.add(f"p{number}")
        await node.until(lambda: node.state.forecast.reason == "NodeAtLimit")
        assert not node.state.can_take_a_pod
        node.sandboxes.status()


async def test_status_does_not_fail_while_a_restarted_agent_serves_from_its_ledger():
    async with SimulatedNode().running() as first:
        await first.add("p")
    second = SimulatedNode(before=first)
    second.cloud.silent = True
    async with second.running():
        await second.until(lambda: second.state.ready)
        second.sandboxes.status()


async def test_a_node_with_an_obstacle_can_take_no_pod_however_many_addresses_are_free():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        await node.until(lambda: node.state.can_take_a_pod)
        node.state.obstacle = "the plugin portmap is missing in /opt/cni/bin"
        assert not node.state.can_take_a_pod
        node.reconciler.wake()
        await node.until(lambda: node.condition("Ready")["status"] == "False")
        assert node.condition("Ready")["reason"] == "PluginMissing"
        assert "portmap is missing" in node.condition("Ready")["message"]


async def test_after_a_restart_every_pod_still_holds_its_address():
    async with SimulatedNode().running() as first:
        made = {name: (await first.add(name)).addresses[0] for name in ("a", "b")}
    async with SimulatedNode(before=first).running() as second:
        await second.until(lambda: second.state.ready)
        again = {name: (await second.add(name)).addresses[0] for name in ("a", "b")}
        assert again == made
        assert second.counts.assigned == 2


async def test_a_restarted_agent_serves_pods_while_azure_is_silent():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("free") == 16)
        await first.add("before")
    second = SimulatedNode(before=first)
    second.cloud.silent = True
    async with second.running():
        await second.until(lambda: second.state.ready)
        assert await second.add("after")
        await second.delete("before")
        await second.until(lambda: second.condition("Ready")["reason"] == "AzureUnreachable")
        second.cloud.silent = False
        await second.until(lambda: second.state.identity is not None)
        await second.until(lambda: second.condition("Ready")["reason"] == "PodsCanStart")


async def test_after_a_reboot_nothing_of_the_old_ledger_is_believed():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("free") == 16)
    second = SimulatedNode(before=first, rebooted=True)
    second.cloud.silent = True
    async with second.running():
        await asyncio.sleep(30)
        assert not second.state.ready
