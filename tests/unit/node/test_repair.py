"""What is compared between ledger and kernel, what is put right, and what is left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from azure_cni.errors import DatapathError, LedgerError, NoAddress
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pods.repair import Repair
from azure_cni.node.ports import ObservedSandbox
from azure_cni.node.stored_ledger import StoredLedger
from fakes.ledger_store import FakeLedgerStore, without_network
from fakes.simulated_node import SimulatedNode, holder, pod_body
from fakes.veth import key_of

pytestmark = pytest.mark.looptime


async def test_a_link_that_no_ledger_knows_is_removed():
    async with SimulatedNode().running() as node:
        await node.add("p")
        node.stored.commit(node.stored.ledger.unassign(holder("p").sandbox, now_s=node.clock.boottime_s()))
        await node.repair().compare()
        assert not await node.datapath.sandboxes()
        assert ("repaired", "stale_link") in node.observer.recorded


async def test_what_leads_to_a_pod_is_put_back_and_the_pod_with_a_link_that_is_off_is_left_to_who_did_that():
    async with SimulatedNode().running() as node:
        made = {name: (await node.add(name)) for name in ("whole", "cut", "off")}
        node.datapath.lose(key_of(made["cut"]), where="node", routes=())
        node.datapath.lose(key_of(made["off"]), where="node", routes=(), up=False)
        await node.repair().compare()
        assert node.observer.recorded.count(("repaired", "route")) == 1
        await node.sandboxes.check(holder("cut"), expected=made["cut"].addresses)
        with pytest.raises(DatapathError, match="is down"):
            await node.sandboxes.check(holder("off"), expected=made["off"].addresses)


async def test_routes_that_cannot_be_put_back_yet_hold_nothing_else_up_and_are_tried_again():
    """The node's primary address is away: the kernel takes no route with it as the source."""
    async with SimulatedNode().running() as node:
        made = [await node.add(name) for name in ("a", "b", "gone")]
        for attachment in made[:2]:
            node.datapath.lose(key_of(attachment), where="node", routes=())
        await node.datapath.detach(holder("gone").sandbox)
        repair = node.repair()
        node.datapath.refuses_routes = DatapathError("cannot add route 10.240.0.7/32 src 10.240.0.4: Invalid argument")
        node.demand.replace([])
        with pytest.raises(DatapathError, match=r"^cannot put back the routes of 2 of 2 pods .*Invalid argument"):
            await repair.compare()
        await asyncio.sleep(61)
        with pytest.raises(DatapathError):
            await repair.compare()
        assert node.counts.assigned == 2
        node.datapath.refuses_routes = None
        await repair.compare()
        assert node.observer.recorded.count(("repaired", "route")) == 2


async def test_a_node_that_has_not_found_its_nic_repairs_nothing_yet():
    async with SimulatedNode().running() as first:
        made = await first.add("p")
    second = SimulatedNode(before=first)
    second.datapath.lose(key_of(made), where="node", routes=())
    await second.repair().compare()
    assert ("repaired", "route") not in second.observer.recorded


async def test_a_sandbox_that_ends_while_the_kernel_is_being_read_is_no_stale_link():
    async with SimulatedNode().running() as node:
        await node.add("p")
        seen = await node.datapath.sandboxes()

        async def slowly() -> tuple[ObservedSandbox, ...]:
            await node.delete("p")
            return seen

        node.datapath.sandboxes = slowly  # type: ignore[method-assign]
        await node.repair().compare()
        assert ("repaired", "stale_link") not in node.observer.recorded


async def test_a_ledger_that_was_lost_under_running_pods_is_found_before_it_cuts_them_off():
    async with SimulatedNode().running() as first:
        addresses = [(await first.add(f"p{number}")).addresses[0] for number in range(7)]
    second = SimulatedNode(before=first)
    second.stored = StoredLedger(store=FakeLedgerStore(), broadcast=second.state.broadcast)
    for _ in range(2):  # the kubelet starts it again, and nothing has become better
        with pytest.raises(LedgerError, match=r"pods run with .* and 2 more; was .* removed.* Drain the node"):
            await second.repair().verify_ledger()
    running = {address for seen in await second.datapath.sandboxes() for address in seen.addresses}
    assert running == set(addresses)


async def test_no_start_but_that_one_is_refused():
    """Nothing yet; a ledger that knows its pods; what a crash leaves; a reboot; pods that went while it was lost."""
    await SimulatedNode().repair().verify_ledger()
    async with SimulatedNode().running() as first:
        await first.add("p")
        await first.add("q")
    await SimulatedNode(before=first).repair().verify_ledger()
    await SimulatedNode(before=first, rebooted=True).repair().verify_ledger()
    leftover = SimulatedNode(before=first)
    leftover.stored.commit(leftover.stored.ledger.unassign(holder("p").sandbox, now_s=0.0))
    await leftover.repair().verify_ledger()
    lost = SimulatedNode(before=first)
    lost.stored = StoredLedger(store=FakeLedgerStore(), broadcast=lost.state.broadcast)
    for seen in await lost.datapath.sandboxes():  # recorded DELs are carried out first
        await lost.datapath.remove(seen.key)
    await lost.repair().verify_ledger()


async def grace(node: SimulatedNode, repair: Repair, *, listed: bool = True) -> None:
    """The grace time passes, with a pass each ten seconds and, if asked for, a list of pods."""
    for _ in range(8):
        await repair.compare()
        if listed and node.relisted:
            node.relisted = 0
            node.demand.begin_list()
            node.demand.replace([pod_body(name, phase="Running", ip="10.240.0.9") for name in node_pods(node)])
        await asyncio.sleep(10)
    await repair.compare()


def node_pods(node: SimulatedNode) -> list[str]:
    return [name for name in ("p", "q", "r") if node.demand.pod("default", name)]


def sandbox_of(pod: str, number: int) -> Holder:
    """One of several sandboxes of a pod."""
    return replace(
        holder(pod), sandbox=Sandbox("azure-cni", f"container-{pod}{number}", "eth0"), netns=f"/run/netns/{pod}{number}"
    )


async def test_older_sandboxes_of_a_pod_that_the_runtime_forgot_are_taken_back_and_no_other():
    """The runtime was killed and its state wiped, again and again, and the pod lives on in a new sandbox each time."""
    async with SimulatedNode().running() as node:
        node.demand.observe_pod(pod_body("p", phase="Running", ip="10.240.0.9"))
        sandboxes = [sandbox_of("p", number) for number in range(6)]
        for one in sandboxes:
            await node.sandboxes.add(one)
            await asyncio.sleep(1)
        node.datapath.processes[sandboxes[2].netns] = 2  # whose processes outlived the runtime
        second_interface = replace(
            sandboxes[5], sandbox=Sandbox("azure-cni", sandboxes[5].sandbox.container_id, "net1")
        )
        await node.sandboxes.add(second_interface)
        repair = node.repair()
        await repair.compare()
        await asyncio.sleep(50)
        await repair.compare()
        assert node.counts.assigned == 7
        await grace(node, repair)
        held = {slot.holder for slot in node.stored.ledger.slots if slot.holder}
        assert held == {sandboxes[2], sandboxes[5], second_interface}
        assert node.observer.recorded.count(("repaired", "leaked_address")) == 4
        node.datapath.processes.clear()
        await grace(node, repair)
        assert {slot.holder for slot in node.stored.ledger.slots if slot.holder} == {sandboxes[5], second_interface}
        assert len(await node.datapath.sandboxes()) == 2


async def test_on_a_full_node_a_pod_gets_what_its_own_first_attempt_holds():
    """A chained plugin was missing: the sandbox went without a DEL of ours, and nothing else is left for the next."""
    async with SimulatedNode(policy=Policy(size=1)).running() as node:
        node.demand.observe_pod(pod_body("p"))
        first, second = sandbox_of("p", 0), sandbox_of("p", 1)
        await node.sandboxes.add(first)
        node.datapath.remove_netns(first.netns)
        repair = node.repair()
        await grace(node, repair)
        assert node.counts.assigned == 1  # the runtime may still send its DEL
        with pytest.raises(NoAddress):
            await node.sandboxes.add(second)
        await grace(node, repair)
        await asyncio.sleep(COOLING_AT_LIMIT_S)
        await node.sandboxes.add(second)
        assert {slot.holder for slot in node.stored.ledger.slots} == {second}
        await grace(node, repair)
        assert node.counts.assigned == 1


async def test_a_container_that_asked_for_a_further_address_in_vain_keeps_the_one_that_it_has():
    """Its second interface (Multus): no newer sandbox. Its namespace may be empty (CRI-O keeps no pause process)."""
    async with SimulatedNode(policy=Policy(size=1)).running() as node:
        node.demand.observe_pod(pod_body("p"))
        await node.sandboxes.add(first := sandbox_of("p", 0))
        await asyncio.sleep(1)
        with pytest.raises(NoAddress):
            await node.sandboxes.add(replace(first, sandbox=first.sandbox._replace(ifname="net1")))
        repair = node.repair()
        for _ in range(3):
            await grace(node, repair)
        assert {slot.holder for slot in node.stored.ledger.slots} == {first}


async def test_a_link_without_a_pod_is_taken_back_when_a_list_has_confirmed_it_and_nobody_lives_in_it():
    """The runtime died between an ADD and its own records, and the pod was deleted."""
    async with SimulatedNode().running() as node:
        for name in ("p", "q", "r"):
            await node.add(name)
        node.demand.observe_pod(pod_body("p", phase="Running", ip="10.240.0.9"))  # q and r are deleted
        node.datapath.processes["/run/netns/r"] = 1
        repair = node.repair()
        await grace(node, repair, listed=False)
        assert node.counts.assigned == 3
        assert node.relisted == 1
        await grace(node, repair)
        assert {slot.holder for slot in node.stored.ledger.slots if slot.holder} == {holder("p"), holder("r")}
        assert node.relisted == 0


async def test_what_the_watch_missed_is_found_by_the_list_and_keeps_its_address():
    async with SimulatedNode().running() as node:
        node.demand.observe_pod(pod_body("p", phase="Running", ip="10.240.0.9"))
        await node.add("q")  # its pod was made while the watch was broken, and its first process starts late
        repair = node.repair()
        await grace(node, repair, listed=False)
        assert node.relisted == 1
        node.demand.begin_list()
        node.demand.replace([pod_body("p", phase="Running"), pod_body("q")])
        await grace(node, repair, listed=False)
        assert node.counts.assigned == 1


async def test_where_processes_cannot_be_seen_nothing_with_a_link_is_taken_and_that_is_logged_once(
    caplog: pytest.LogCaptureFixture,
):
    async with SimulatedNode().running() as node:
        node.demand.observe_pod(pod_body("p", phase="Running", ip="10.240.0.9"))
        for number in range(2):
            await node.sandboxes.add(sandbox_of("p", number))
            await asyncio.sleep(1)
        node.datapath.processes_hidden = True
        repair = node.repair()
        for _ in range(3):
            await grace(node, repair)
        assert node.counts.assigned == 2
        assert [line.message for line in caplog.records if "cannot be seen" in line.message] == [
            "address held by a sandbox that no pod or container uses: whether processes run in it cannot be seen"
        ]


async def test_a_container_without_a_pod_keeps_its_address_while_its_link_is_there():
    async with SimulatedNode().running() as node:
        bare = Holder(Sandbox("azure-cni", "by-cnitool", "eth0"), "/run/netns/by-cnitool")
        await node.sandboxes.add(bare)
        node.demand.replace([])
        repair = node.repair()
        await grace(node, repair)
        assert node.counts.assigned == 1
        node.datapath.remove_netns(bare.netns)
        await grace(node, repair)
        assert node.counts.assigned == 0


async def test_a_static_pod_is_known_by_the_uid_that_the_runtime_has():
    async with SimulatedNode().running() as node:
        await node.sandboxes.add(replace(holder("p"), pod_uid="hash-of-its-file"))
        body = pod_body("p", phase="Running", ip="10.240.0.9")
        body["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "hash-of-its-file"}
        node.demand.observe_pod(body)
        repair = node.repair()
        await grace(node, repair)
        assert node.counts.assigned == 1
        assert node.relisted == 0


async def test_one_that_cannot_be_taken_back_holds_up_no_other():
    async with SimulatedNode().running() as node:
        for name in ("p", "q"):
            await node.add(name)
        node.demand.replace([])
        really = node.datapath.detach

        async def detach(sandbox: Sandbox) -> None:
            if sandbox == holder("p").sandbox:
                raise DatapathError(f"cannot set {sandbox.container_id} down: Device or resource busy")
            await really(sandbox)

        node.datapath.detach = detach  # type: ignore[method-assign]
        repair = node.repair()
        await grace(node, repair)
        assert not node.stored.ledger.holding(holder("q").sandbox)
        node.datapath.detach = really  # type: ignore[method-assign]
        await grace(node, repair)
        assert node.counts.assigned == 0


async def test_an_address_whose_sandbox_and_pod_are_gone_is_taken_back_but_not_before_a_minute():
    async with SimulatedNode().running() as node:
        await node.add("gone")
        await node.add("alive")
        node.demand.observe_pod(pod_body("alive", phase="Running", ip="10.240.0.9"))
        for seen in await node.datapath.sandboxes():
            await node.datapath.remove(seen.key)
        repair = node.repair()
        await repair.compare()
        await asyncio.sleep(50)
        await repair.compare()
        assert node.counts.assigned == 2
        await asyncio.sleep(11)
        await repair.compare()
        assert node.counts.assigned == 1
        assert node.stored.ledger.holding(holder("alive").sandbox)


async def test_an_agent_that_finds_no_networks_in_its_ledger_keeps_every_pod():
    """As after an upgrade from a release that did not write them down: the links are known by the same names."""
    async with SimulatedNode().running() as before:
        made = {name: await before.add(name) for name in ("a", "b")}
    before.store = FakeLedgerStore(map(without_network, before.store.load()))
    async with SimulatedNode(before=before).running() as node:
        for name in made:
            node.demand.observe_pod(pod_body(name))
        await node.repair().compare()
        await asyncio.sleep(600)
        await node.repair().compare()
        assert {observed.key for observed in await node.datapath.sandboxes()} == set(map(key_of, made.values()))
        for name, wiring in made.items():
            await node.sandboxes.check(holder(name), expected=wiring.addresses)
        await node.delete("a")
        assert await node.add("b") == made["b"]
        assert node.counts.assigned == 1
