"""An API server that is slow to take events and statuses: pods still get what there is, or learn why not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from azure_cni.api.conditions import PoolKind
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.errors import CloudUnreachable, KubeInvalid, KubeUnreachable, NoAddress
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.pool_object import PROTOCOL
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

ANSWERS_AFTER_S = 10.0


def slow_events(node: SimulatedNode) -> None:
    """Each event takes as long as a request to the API server may."""
    publish = node.events.publish

    async def slowly(regarding: Mapping[str, Any], **event: Any) -> None:
        await asyncio.sleep(ANSWERS_AFTER_S)
        await publish(regarding, **event)

    node.events.publish = slowly  # type: ignore[method-assign]


async def test_addresses_that_azure_has_added_wait_for_no_event():
    node = SimulatedNode()
    slow_events(node)
    async with node.running():
        await node.until(lambda: node.counts.free == 16, within_s=2)
        await node.until(lambda: node.events.reasons == ["PoolGrew"], within_s=ANSWERS_AFTER_S + 2)


async def test_what_fails_is_tried_again_in_time_though_its_event_is_on_its_way():
    node = SimulatedNode()
    slow_events(node)
    node.nic.fail_next = CloudUnreachable("cannot read the NIC: no answer")
    async with node.running():
        await node.until(lambda: node.counts.free == 16, within_s=ANSWERS_AFTER_S - 1)


async def test_a_conflict_on_the_host_keeps_no_pod_waiting_for_its_event():
    node = SimulatedNode()
    slow_events(node)
    node.datapath.conflicts = (Conflict(ConflictReason.FOREIGN_POLICY_RULES, "nm-cloud-setup diverts pods"),)
    async with node.running():
        await node.until(lambda: node.state.ready, within_s=2)


async def test_a_pod_waits_for_what_azure_has_added_of_a_request_that_was_granted_in_part():
    node = SimulatedNode(grants=ControllerGrants(), policy=Policy(min_free=2, max_free=8, batch=4))
    apply = node.datapath.apply_node

    async def slowly(table: NodeTable) -> HostReport:
        if table.pool:
            await asyncio.sleep(2.0)
        return await apply(table)

    node.datapath.apply_node = slowly  # type: ignore[method-assign]
    node.nic.hold()
    async with node.running():
        await node.until(lambda: bool(node.status.get("requestID")))
        answer = {"granted": 1, "grantedFor": node.status["requestID"]}
        answer |= {"grantReason": PoolKind.QUOTA_EXCEEDED.value, "grantMessage": "the VNet has one left"}
        node.reconciler.pool_seen(await node.pools.patch_status(node.pools.shown(), answer))
        await node.until(lambda: node.nic.writes == 1)
        adding = asyncio.create_task(node.add("p0"))
        await asyncio.sleep(1.0)
        node.nic.finish()
        assert (await adding).addresses


async def test_a_pod_learns_that_the_node_is_full_while_a_status_is_on_its_way():
    node = SimulatedNode(policy=Policy(min_free=1, max_free=4, batch=2, maximum=2))
    patch, hanging = node.pools.patch_status, asyncio.Event()

    async def silent(_: NodeIPPool, __: Mapping[str, Any], **___: bool) -> NodeIPPool:
        hanging.set()
        await asyncio.sleep(ANSWERS_AFTER_S)
        raise KubeUnreachable(f"cannot patch the NodeIPPool: no answer within {ANSWERS_AFTER_S:g} s")

    async with node.running():
        await node.until(lambda: node.counts.free == 2)
        await asyncio.sleep(6.0)
        node.pools.patch_status = silent  # type: ignore[method-assign]
        await node.add("p0")
        await node.add("p1")
        await hanging.wait()
        began_s = node.clock.boottime_s()
        with pytest.raises(NoAddress) as refused:
            await node.add("p2")
        assert refused.value.cause == "NodeAtLimit"
        assert node.clock.boottime_s() - began_s < 1.0
        node.pools.patch_status = patch  # type: ignore[method-assign]


async def serving_four(node: SimulatedNode) -> int:
    """The controller has granted four addresses; returns the number of the request."""
    await node.until(lambda: bool(node.status.get("requestID")))
    number = int(node.status["requestID"])
    answer = {"granted": 4, "grantedFor": number}
    node.reconciler.pool_seen(await node.pools.patch_status(node.pools.shown(), answer))
    await node.until(lambda: node.status.get("allocated") == 4)
    await asyncio.sleep(10.0)  # all of that is written
    return int(node.status["requestID"])


async def test_a_request_is_written_though_the_status_is_refused():
    """An older definition may refuse one field, and with it the write."""
    node = SimulatedNode(grants=ControllerGrants(), policy=Policy(min_free=1, max_free=8, batch=4))
    patch = node.pools.patch_status

    async def refusing(pool: NodeIPPool, status: Mapping[str, Any], **guarded: bool) -> NodeIPPool:
        if status.keys() - set(PROTOCOL):
            raise KubeInvalid("cannot patch the NodeIPPool: conditions are not valid")
        return await patch(pool, status, **guarded)

    async with node.running(), asyncio.TaskGroup() as pods:
        before = await serving_four(node)
        node.pools.patch_status = refusing  # type: ignore[method-assign]
        adding = [pods.create_task(node.add(f"p{number}")) for number in range(6)]
        await node.until(lambda: node.status["requestID"] > before, within_s=2)
        assert node.status["requested"] == 8
        for task in adding:
            task.cancel()


async def test_a_request_is_written_though_the_status_rests_after_failures():
    node = SimulatedNode(grants=ControllerGrants(), policy=Policy(min_free=1, max_free=8, batch=4))
    patch = node.pools.patch_status

    async def silent(_: NodeIPPool, __: Mapping[str, Any], **___: bool) -> NodeIPPool:
        raise KubeUnreachable("cannot patch the NodeIPPool: no answer")

    async with node.running(), asyncio.TaskGroup() as pods:
        before = await serving_four(node)
        node.pools.patch_status = silent  # type: ignore[method-assign]
        await node.add("p")
        await asyncio.sleep(150)
        node.pools.patch_status = patch  # type: ignore[method-assign]
        adding = [pods.create_task(node.add(f"p{number}")) for number in range(6)]
        await node.until(lambda: node.status["requestID"] > before, within_s=2)
        for task in adding:
            task.cancel()
