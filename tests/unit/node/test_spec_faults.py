"""A pool's spec of which one field cannot be used: the others count all the same, and a pause before all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.ipam.sizing import Policy
from azure_cni.model.identity import LinkNames, ModeName
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.hanging import HangingCloud

pytestmark = pytest.mark.looptime

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/web"
CHART = Policy(min_free=20, max_free=40, batch=16)
CONTRADICTION = {"maxFree": 24}
"""To CHART, which an upgrade may have brought after the pool's spec was written."""


def write(node: SimulatedNode, **spec: Any) -> None:
    node.pools.edit_spec(**spec)
    node.reconciler.pool_seen(node.pools.shown())


async def test_a_pause_holds_whatever_the_numbers_are() -> None:
    async with SimulatedNode(policy=CHART).running() as node:
        await node.until(lambda: node.counts.free == 32)
        write(node, **CONTRADICTION, paused=True)
        await node.until(lambda: node.condition("Ready")["reason"] == "InvalidConfig" or node.status["free"] == 32)
        writes = node.nic.writes
        for number in range(20):
            await node.add(f"p{number}")
        await asyncio.sleep(600.0)
        assert node.nic.writes == writes


async def test_a_pause_holds_for_the_next_agent_too_and_ends_by_itself() -> None:
    async with SimulatedNode().running() as before:
        await before.until(lambda: before.counts.free == 16)
        write(before, **CONTRADICTION, paused=True)
    async with SimulatedNode(before=before, policy=CHART).running() as node:
        writes = node.nic.writes
        await asyncio.sleep(600.0)
        assert node.nic.writes == writes
        write(node, paused=None)
        await node.until(lambda: node.nic.writes > writes)


@pytest.mark.parametrize("wrong", [CONTRADICTION, {"max": "many"}], ids=["a contradiction", "no number"])
async def test_mode_and_security_groups_do_not_wait_for_the_numbers(wrong: dict[str, Any]) -> None:
    async with SimulatedNode(policy=CHART).running() as node:
        await node.until(lambda: node.counts.free == 32)
        write(node, **wrong, mode="bridge", applicationSecurityGroups=[GROUP])
        await node.until(lambda: node.status.get("mode") == "bridge")
        await node.until(lambda: node.nic.groups == (GROUP,), within_s=300.0)


async def test_the_numbers_and_groups_do_not_wait_for_the_mode() -> None:
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        write(node, mode="tunnel", minFree=30, maxFree=60, applicationSecurityGroups=["web"])
        await node.until(lambda: node.counts.free == 32)
        message = node.condition("Ready")["message"]
        assert "'tunnel' is none of" in message
        assert "spec.applicationSecurityGroups" in message


async def test_a_bridge_in_which_calico_would_find_no_link_is_refused_in_words() -> None:
    """As the chart refuses it for all nodes: Calico would let all of the node's traffic pass."""
    async with SimulatedNode(link_names=LinkNames.CALICO).running() as node:
        await node.until(lambda: node.counts.free == 16)
        write(node, mode="bridge")
        await node.until(lambda: node.condition("Ready")["reason"] == "InvalidConfig")
        assert node.condition("Ready")["status"] == "True"
        said = "cannot use spec.mode of NodeIPPool vm1: it is bridge, and linkNames is calico: behind a bridge Calico"
        assert said in node.condition("Ready")["message"]
        await node.add("a")
        assert {table.mode for table in node.datapath.tables} == {ModeName.TRANSPARENT}
        write(node, mode=None)
        await node.until(lambda: node.condition("Ready")["reason"] == "PodsCanStart")


async def test_pods_that_such_a_bridge_has_keep_it_and_are_named() -> None:
    """An agent of before had not refused it."""
    async with SimulatedNode().running() as before:
        await before.until(lambda: before.counts.free == 16)
        write(before, mode="bridge")
        await before.until(lambda: before.status.get("mode") == "bridge")
        await before.add("a")
    async with SimulatedNode(before=before, link_names=LinkNames.CALICO).running() as node:
        await node.until(lambda: node.condition("ModeChangePending")["status"] == "True")
        assert "mode transparent is wanted, but 1 pod" in node.condition("ModeChangePending")["message"]
        assert node.datapath.tables[-1].mode is ModeName.BRIDGE


async def test_a_restarted_agent_goes_by_the_mode_of_the_spec_whatever_the_numbers_are() -> None:
    async with SimulatedNode(policy=CHART).running() as before:
        await before.until(lambda: before.counts.free == 32)
        write(before, mode="bridge")
        await before.until(lambda: before.status.get("mode") == "bridge")
        write(before, **CONTRADICTION)
    async with SimulatedNode(before=before, policy=CHART).running() as node:
        await node.until(lambda: node.state.ready)
        await asyncio.sleep(60.0)
        assert node.datapath.tables[-1].mode is ModeName.BRIDGE


async def test_a_pause_counts_from_the_pass_that_sees_it_also_while_a_fault_of_the_spec_rests() -> None:
    """What failed is tried again with growing pauses, and no write may come between a pause and its turn."""
    async with SimulatedNode(policy=CHART).running() as node:
        await node.until(lambda: node.counts.free == 32)
        write(node, **CONTRADICTION)
        await asyncio.sleep(1200.0)
        for number in range(32):
            node.demand.observe_pod(pod_body(f"p{number}"))
        writes = node.nic.writes
        write(node, paused=True)
        await asyncio.sleep(300.0)
        assert node.nic.writes == writes


async def test_a_pause_counts_before_the_first_write_also_where_it_came_while_azure_was_silent() -> None:
    node = SimulatedNode(policy=CHART)
    node.cloud = cloud = HangingCloud()
    cloud.hangs = True
    async with SimulatedNode(policy=CHART, before=node).running() as node:
        await asyncio.sleep(5.0)
        write(node, **CONTRADICTION)
        await asyncio.sleep(1200.0)
        write(node, maxFree=60, paused=True)
        cloud.hangs = False
        await node.until(lambda: "primaryIP" in node.status, within_s=300.0)
        await asyncio.sleep(300.0)
        assert node.nic.writes == 0
