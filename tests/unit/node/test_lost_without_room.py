"""Addresses that pods lost, where quota, pool or subnet have no place for all that is wanted: they come first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from azure_cni.errors import Throttled
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.metadata import FakeMetadata
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.attaching import answering, busy, fails
from unit.node.losing import NOTICED_S, OF_ANOTHER, SMALL, answered_for, list_pods, of_pods, with_pods

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def with_a_used_up_quota() -> AsyncIterator[tuple[SimulatedNode, asyncio.Task[None]]]:
    """Eight pods, and a controller that grants no more than their addresses."""
    nic = FakeNic()
    node = SimulatedNode(nic=nic, policy=SMALL, shown_addresses=FakeMetadata(nic), grants=ControllerGrants())
    async with node.running():
        controller = asyncio.create_task(answering(node, most=8))
        await node.until(lambda: node.state.ready and node.counts.free == 4)
        list_pods(node, 8)
        for number in range(8):
            await node.until(lambda: node.counts.free > 0)
            await node.add(f"p{number}")
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True")
        await asyncio.sleep(300)
        yield node, controller
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)


async def lowest_request(node: SimulatedNode, *, for_s: int) -> int:
    """The least that the node asks to hold meanwhile: what is above it, the controller may give to another node."""
    requested = set[int]()
    for _ in range(for_s):
        await asyncio.sleep(1)
        requested.add(node.status["requested"])
    return min(requested)


async def test_with_a_used_up_quota_the_node_keeps_what_it_was_granted() -> None:
    async with with_a_used_up_quota() as (node, _):
        had = of_pods(node)
        node.nic.elsewhere_forget()
        assert await lowest_request(node, for_s=40) >= 8
        assert answered_for(node) == had


async def test_and_while_azure_works_on_what_the_tool_wrote() -> None:
    async with with_a_used_up_quota() as (node, _):
        had = of_pods(node)
        node.nic.hold()
        node.nic.elsewhere_forget()
        assert await lowest_request(node, for_s=60) >= 8
        assert answered_for(node) == set()
        node.nic.finish()
        await asyncio.sleep(NOTICED_S)
        assert answered_for(node) == had


async def test_what_the_quota_has_no_place_for_displaces_no_repair_that_waits_for_its_turn() -> None:
    async with with_a_used_up_quota() as (node, generous):
        generous.cancel()
        controller = asyncio.create_task(busy(node, most=2))
        for _ in range(2):  # the first time by the grant that it has
            node.nic.elsewhere_forget()
            await asyncio.sleep(2 * NOTICED_S)
        assert len(answered_for(node)) == 2
        await fails(node)
        await node.until(lambda: node.status["writeIntent"] == "Rewrite", within_s=60)
        asked = node.status["requestID"]
        await asyncio.sleep(300)
        assert (node.status["requestID"], node.status["writeIntent"]) == (asked, "Rewrite")
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)


async def test_a_failure_to_take_back_ends_with_the_pods_also_while_the_node_wants_more_than_it_gets() -> None:
    async with with_a_used_up_quota() as (node, _):
        node.nic.refusal = Throttled("cannot write NIC: too many requests")
        node.nic.elsewhere_forget()
        await node.until(lambda: node.condition("Throttled")["status"] == "True", within_s=60)
        node.nic.refusal = None
        for number in range(8):
            await node.delete(f"p{number}")
        node.demand.replace([pod_body(f"later{number}") for number in range(30)])
        node.reconciler.wake()
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True", within_s=300)
        await node.until(lambda: node.condition("Throttled")["status"] == "False", within_s=300)


async def test_what_the_pool_has_no_place_for_displaces_no_repair_either() -> None:
    nic, full = FakeNic(), Policy(min_free=2, max_free=8, batch=4, maximum=4)
    node = SimulatedNode(nic=nic, policy=full, shown_addresses=FakeMetadata(nic), grants=ControllerGrants())
    async with node.running():
        controller = asyncio.create_task(answering(node))
        list_pods(node, 4)
        for number in range(4):
            await node.until(lambda: node.counts.free > 0)
            await node.add(f"p{number}")
        taken = max(of_pods(node))
        nic.taken[taken] = OF_ANOTHER
        nic.elsewhere_forget()
        node.demand.observe_pod(pod_body("later"))  # it gets the place of what another has
        node.reconciler.wake()
        await node.until(lambda: node.counts.free == 1, within_s=120)
        await node.add("later")
        del nic.taken[taken]
        await asyncio.sleep(2 * BACKOFF_MAX_S)  # by then it could be had
        assert node.counts.missing == 1
        controller.cancel()
        controller = asyncio.create_task(answering(node, delay_s=60))  # others have their turn first
        writes = nic.writes
        await fails(node)
        await node.until(lambda: nic.writes > writes, within_s=300)
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)


@pytest.mark.parametrize(
    "policy", [Policy(size=8), Policy(size=8, maximum=8), Policy(min_free=2, max_free=10, batch=8, maximum=8)]
)
async def test_idle_addresses_take_no_place_of_those_that_azure_counts_as_used_for_minutes(policy: Policy) -> None:
    async with with_pods(6, policy=policy) as node:
        had = of_pods(node)
        node.nic.taken |= dict.fromkeys(had, OF_ANOTHER)
        node.nic.elsewhere_forget()
        await asyncio.sleep(3 * 60)
        assert node.counts.free >= 2
        node.nic.taken.clear()
        await node.until(lambda: answered_for(node) == had, within_s=2 * BACKOFF_REFUSED_S)


async def test_in_a_full_subnet_while_growth_rests() -> None:
    async with with_pods(4, nic=FakeNic(room=4)) as node:
        await node.until(lambda: node.condition("SubnetFull")["status"] == "True")
        await asyncio.sleep(600)
        had = of_pods(node)
        node.nic.elsewhere_forget()
        await asyncio.sleep(NOTICED_S)
        assert answered_for(node) == had
