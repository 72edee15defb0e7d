"""The mode in which pods are wired: taken when no pod is there, refused in words while pods run in another."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.datapath.interface import Wiring
from azure_cni.errors import DatapathError, NoAddress
from azure_cni.model.identity import ModeName
from fakes.simulated_node import SimulatedNode, holder

pytestmark = pytest.mark.looptime

TRANSPARENT, BRIDGE = ModeName.TRANSPARENT, ModeName.BRIDGE
PENDING = "ModeChangePending"


def mode_of(wiring: Wiring) -> ModeName:
    return BRIDGE if wiring.node[0].port else TRANSPARENT


def want(node: SimulatedNode, mode: ModeName | None) -> None:
    """A person changes the pool's spec."""
    node.pools.edit_spec(mode=mode)
    node.reconciler.pool_seen(node.pools.shown())


def tables(node: SimulatedNode) -> list[ModeName]:
    return [table.mode for table in node.datapath.tables]


@pytest.mark.parametrize("mode", list(ModeName))
async def test_the_charts_mode_counts_where_the_pool_says_none(mode: ModeName) -> None:
    async with SimulatedNode(mode=mode).running() as node:
        await node.until(lambda: bool(node.counts.free))
        assert mode_of(await node.add("a")) is mode
        assert set(tables(node)) == {mode}
        await node.until(lambda: node.status.get("mode") == mode)
        reported = node.condition(PENDING)
        assert (reported["status"], reported["reason"]) == ("False", "ModeAsWanted")
        assert reported["message"] == f"pods of this node are wired in mode {mode}"


async def test_a_node_without_pods_changes_over_at_once() -> None:
    async with SimulatedNode().running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, BRIDGE)
        await node.until(lambda: node.status.get("mode") == "bridge", within_s=10)
        assert mode_of(await node.add("a")) is BRIDGE
        assert node.condition(PENDING)["status"] == "False"


async def test_pods_go_on_in_their_mode_and_the_pool_says_which_are_in_the_way() -> None:
    async with SimulatedNode().running() as node:
        await node.until(lambda: bool(node.counts.free))
        first = await node.add("a")
        want(node, BRIDGE)
        await node.until(lambda: node.condition(PENDING)["status"] == "True", within_s=10)
        reported = node.condition(PENDING)
        assert reported["reason"] == "PodsRunning"
        assert reported["message"] == (
            "mode bridge is wanted, but 1 pod of this node was wired in mode transparent: pod default/a. They keep "
            "their network, and new pods are wired alike. Drain the node (kubectl drain vm1 --ignore-daemonsets "
            "--delete-emptydir-data) and delete the pods that are left there, or reboot it: the mode changes as soon "
            "as no pod is left"
        )
        assert [event.message for event in node.events.published if event.reason == PENDING] == [reported["message"]]
        assert node.status["mode"] == "transparent"
        assert node.condition("Ready")["status"] == "True"
        assert mode_of(await node.add("b")) is TRANSPARENT
        await node.sandboxes.check(holder("a"), expected=first.addresses)
        assert set(tables(node)) == {TRANSPARENT}
        await node.delete("a")
        await asyncio.sleep(5)
        assert set(tables(node)) == {TRANSPARENT}
        await node.delete("b")
        await node.until(lambda: node.condition(PENDING)["status"] == "False", within_s=10)
        assert node.status["mode"] == "bridge"
        assert mode_of(await node.add("c")) is BRIDGE


async def test_a_pod_that_comes_right_after_the_last_one_waits_for_the_new_mode() -> None:
    """As one of a DaemonSet, which is made again as soon as it is deleted."""
    async with SimulatedNode().running() as node:
        await node.until(lambda: bool(node.counts.free))
        await node.add("a")
        want(node, BRIDGE)
        await node.until(lambda: node.condition(PENDING)["status"] == "True", within_s=10)
        await node.delete("a")
        assert mode_of(await node.add("b")) is BRIDGE
        assert tables(node)[-1] is BRIDGE


async def test_no_pod_is_wired_before_the_guards_of_its_mode_stand() -> None:
    async with SimulatedNode().running() as node:
        await node.until(lambda: bool(node.counts.free))
        node.datapath.refuses_node = DatapathError("cannot use azure0 as the pods' bridge: it has the ports eth0")
        want(node, BRIDGE)
        await node.until(lambda: not node.state.ready, within_s=10)
        with pytest.raises(NoAddress):
            await node.add("a")
        await node.until(lambda: "azure0" in node.condition("Ready")["message"], within_s=60)
        want(node, TRANSPARENT)
        node.datapath.refuses_node = None
        await node.until(lambda: node.state.ready, within_s=120)
        assert mode_of(await node.add("a")) is TRANSPARENT


async def test_no_pod_comes_in_between_while_the_kernel_is_not_tried_again_yet() -> None:
    """A pass over the kernel has just failed, so the change has to wait for the next one."""
    async with SimulatedNode().running() as node:
        await node.until(lambda: bool(node.counts.free))
        await node.add("a")
        want(node, BRIDGE)
        await node.until(lambda: node.condition(PENDING)["status"] == "True", within_s=10)
        node.datapath.refuses_node = DatapathError("cannot apply nftables table azure_cni: nft gave no answer in 20 s")
        await node.until(lambda: "nft" in node.condition("Ready")["message"], within_s=120)
        await node.delete("a")
        await asyncio.sleep(1)
        with pytest.raises(NoAddress):
            await node.add("b")
        node.datapath.refuses_node = None
        await node.until(lambda: node.status["mode"] == "bridge", within_s=300)
        assert mode_of(await node.add("b")) is BRIDGE


async def test_a_pod_whose_address_the_nic_has_lost_keeps_its_way_to_the_node() -> None:
    """Behind a bridge the guards at the ports let in what they know."""
    async with SimulatedNode(mode=BRIDGE).running() as node:
        await node.until(lambda: bool(node.counts.free))
        address = (await node.add("a")).addresses[0]
        assert node.datapath.tables[-1].kept == frozenset()
        config = next(slot.config for slot in node.stored.ledger.slots if slot.address == address)
        node.nic.elsewhere_give(config)
        await node.until(lambda: address not in node.datapath.tables[-1].pool, within_s=700)
        assert node.datapath.tables[-1].kept == {address}


async def test_who_thinks_better_of_it_is_not_asked_to_drain() -> None:
    async with SimulatedNode().running() as node:
        await node.until(lambda: bool(node.counts.free))
        await node.add("a")
        want(node, BRIDGE)
        await node.until(lambda: node.condition(PENDING)["status"] == "True", within_s=10)
        want(node, None)
        await node.until(lambda: node.condition(PENDING)["status"] == "False", within_s=10)
        assert node.state.pending_mode is None


async def test_the_next_agent_goes_on_in_the_mode_of_the_pods_that_run() -> None:
    """Also with other values of the chart, and while Azure is silent."""
    async with SimulatedNode(mode=BRIDGE).running() as before:
        await before.until(lambda: bool(before.counts.free))
        await before.add("a")
        await before.until(lambda: before.status.get("mode") == "bridge")
    for silent in (False, True):
        after = SimulatedNode(mode=TRANSPARENT, before=before)
        after.cloud.silent = silent
        async with after.running() as node:
            await node.until(lambda node=node: node.state.ready)
            assert mode_of(await node.add(f"b{silent}")) is BRIDGE
            await node.delete(f"b{silent}")
            assert await node.repair().compare() is False


async def test_a_reboot_changes_the_mode() -> None:
    async with SimulatedNode(mode=BRIDGE).running() as before:
        await before.until(lambda: bool(before.counts.free))
        await before.add("a")
    async with SimulatedNode(mode=TRANSPARENT, before=before, rebooted=True).running() as node:
        await node.until(lambda: bool(node.counts.free))
        assert mode_of(await node.add("a")) is TRANSPARENT


async def test_a_mode_that_there_is_not_is_refused_in_words() -> None:
    """An older definition may let it in."""
    async with SimulatedNode().running() as node:
        await node.until(lambda: bool(node.counts.free))
        node.pools.edit_spec(mode="tunnel")
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: "spec.mode" in node.condition("Ready")["message"], within_s=10)
        assert "'tunnel' is none of transparent, bridge" in node.condition("Ready")["message"]
        assert mode_of(await node.add("a")) is TRANSPARENT
