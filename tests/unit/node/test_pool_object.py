"""The NodeIPPool of a node over time: what its spec asks for, what its status says, and who else writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.errors import KubeUnreachable
from azure_cni.ipam.sizing import Policy
from fakes.pools import FakePools
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime


async def test_a_silent_api_server_keeps_no_pod_from_starting():
    node = SimulatedNode()
    node.pools.fail_next = KubeUnreachable("cannot read nodeippools/vm1: no answer")
    async with node.running():
        await node.until(lambda: node.counts.free == 16)
        assert (await node.add("p")).addresses[0]


async def test_nothing_is_written_before_the_pool_has_been_read():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("allocated") == 16)
        first.pools.edit_spec(size=40)
        first.reconciler.pool_seen(first.pools.shown())
        await first.until(lambda: first.status["allocated"] == 40)
    writes, number = first.nic.writes, first.status["requestID"]
    second = SimulatedNode(before=first, shrink_delay_s=0)
    second.pools.fail_next = KubeUnreachable("cannot read nodeippools/vm1: no answer")
    async with second.running():
        await second.until(second.reconciler.pool_known.is_set)
        await asyncio.sleep(10)
        assert second.nic.writes == writes
        second.pools.edit_spec(size=44)
        second.reconciler.pool_seen(second.pools.shown())
        await second.until(lambda: second.status["allocated"] == 44)
        assert second.status["requestID"] > number


class OlderDefinition(FakePools):
    """The API server drops what its definition does not name."""

    writes = 0

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        self.writes += 1
        kept = {key: value for key, value in status.items() if key != "releasable"}
        return await super().patch_status(pool, kept, guarded=guarded)


async def test_what_the_api_server_drops_is_not_written_again_and_again():
    pools = OlderDefinition()
    async with SimulatedNode(pools=pools).running() as node:
        await node.until(lambda: node.counts.free == 16)
        await asyncio.sleep(60)
        before = pools.writes
        await asyncio.sleep(600)
        assert pools.writes == before
        await node.add("p")
        await node.until(lambda: node.status["assigned"] == 1)


async def test_a_restarted_agent_goes_on_saying_which_recall_it_met():
    """It said that it met none until its first plan, and gave again what it was asked for before."""
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("allocated") == 16)
    shown = first.pools.shown()
    await first.pools.patch_status(shown, {"recall": {"number": 7, "hold": 12}, "recallMet": 7})
    second = SimulatedNode(before=first)
    second.cloud.silent = True
    async with second.running():
        await asyncio.sleep(30)
        assert second.status["recallMet"] == 7
        second.cloud.silent = False
        await second.until(lambda: bool(second.state.ready))
        assert second.status["recallMet"] == 7


async def test_a_bad_spec_is_reported_and_the_last_good_one_stays():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.pools.edit_spec(maxFree=4)
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: "InvalidConfig" in node.events.reasons)
        assert node.counts.allocated == 16
        node.pools.edit_spec(maxFree=None, minFree=20, batch=4)
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: node.counts.allocated == 20)


async def test_a_paused_pool_writes_nothing_and_says_why_pods_wait():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        node.pools.edit_spec(paused=True)
        node.reconciler.pool_seen(node.pools.shown())
        for number in range(16):
            await node.add(f"p{number}")
        await asyncio.sleep(60)
        assert node.nic.writes == 1
        assert node.condition("Ready")["reason"] == "PoolPaused"


async def test_the_node_at_its_limit_says_so():
    async with SimulatedNode(policy=Policy(maximum=16)).running() as node:
        for number in range(16):
            await node.add(f"p{number}")
        await node.until(lambda: node.condition("AtLimit")["status"] == "True")
        await node.until(lambda: node.condition("Ready")["status"] == "False")
        assert "16 of at most 16" in node.condition("Ready")["message"]


async def test_what_somebody_else_wrote_over_the_status_is_put_right_within_seconds():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        await asyncio.sleep(10)
        reported = dict(node.status)
        fields = {"free": 3, "allocated": 5, "vnetAddresses": [], "conditions": None}
        node.reconciler.pool_seen(await node.pools.patch_status(node.pools.shown(), fields))
        await node.until(lambda: node.status["allocated"] == 16, within_s=1)
        await asyncio.sleep(10)
        times = {"lastTransitionTime": ""}
        for status in (reported, node.status):
            status["conditions"] = [one | times for one in status["conditions"]]
        assert node.status == reported


async def test_a_node_at_rest_writes_nothing_whatever_the_watch_repeats():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        await asyncio.sleep(30)
        old, before, reads = node.pools.shown(), len(node.pools.patches), node.nic.reads
        for _ in range(60):
            await asyncio.sleep(60)
            node.reconciler.pool_seen(old)
        assert len(node.pools.patches) == before
        assert (node.nic.writes, node.nic.reads - reads) == (1, 6)


async def test_a_deleted_pool_object_is_made_again_with_all_it_said():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        number = node.status["requestID"]
        node.pools.pool = None
        node.reconciler.pool_gone()
        await node.until(lambda: node.status.get("allocated") == 16)
        assert node.status["vmID"]
        await node.until(lambda: node.status.get("requested") == 16)
        assert abs(node.status["requestID"] - number) > 1000  # nothing decided for the former object is for this one


async def test_a_pool_object_that_was_replaced_unnoticed_gets_the_whole_status():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.status.get("free") == 16)
        number = node.status["requestID"]
        node.pools.pool = None
        node.reconciler.pool_seen(await node.pools.create(node.pools.node))
        await node.until(lambda: node.status.get("requested") == 16)
        assert node.status["vmID"]
        assert abs(node.status["requestID"] - number) > 1000


async def test_the_request_id_goes_on_rising_after_a_restart():
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.status.get("allocated") == 16)
        number = first.status["requestID"]
    async with SimulatedNode(before=first).running() as second:
        await second.until(lambda: second.counts.free == 16)
        for count in range(10):
            second.demand.observe_pod(pod_body(f"p{count}"))
        second.reconciler.wake()
        await second.until(lambda: second.status["allocated"] == 32)
        assert second.status["requestID"] > number
