"""How old the reading of the NIC is, and how a person has it read now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from azure_cni.entrypoints.metrics import Metrics
from azure_cni.ipam.sizing import Policy
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime
TEN_MINUTES_S = 600.0


@asynccontextmanager
async def settled(before: SimulatedNode | None = None) -> AsyncIterator[SimulatedNode]:
    """A node with one pod and free addresses, some time after anything changed."""
    async with SimulatedNode(before=before, policy=Policy()).running() as node:
        node.demand.observe_pod(pod_body("p"))
        await node.until(lambda: node.state.ready and node.counts.free > 0)
        await node.add("p")
        await asyncio.sleep(60)
        yield node


def ask(node: SimulatedNode, value: str) -> None:
    """`kubectl annotate nodeippool NODE azure-cni.io/read-now=VALUE`, as the watch shows it."""
    node.pools.annotate(**{"azure-cni.io/read-now": value})
    node.reconciler.pool_seen(node.pools.shown())


async def test_an_address_that_was_taken_away_is_found_as_soon_as_somebody_asks():
    async with settled() as node:
        (lost,) = (slot for slot in node.stored.ledger.slots if slot.holder is not None)
        node.nic.elsewhere_give(lost.config)
        await asyncio.sleep(60)
        assert node.condition("Drifted")["status"] == "False"
        ask(node, "1")
        await asyncio.sleep(6)
        assert node.condition("Drifted")["status"] == "True"
        assert node.status["lastRead"]["request"] == "1"


async def test_a_reading_that_was_asked_for_is_reported_even_when_it_found_nothing():
    async with settled() as node:
        before = node.status["lastRead"]["time"]
        ask(node, "1")
        await asyncio.sleep(6)
        assert node.status["lastRead"]["request"] == "1"
        assert node.status["lastRead"]["time"] > before


async def test_one_request_is_one_reading_also_for_the_agent_that_comes_next():
    async with settled() as node:
        ask(node, "1")
        await asyncio.sleep(6)
        reads = node.nic.reads
        await asyncio.sleep(300)
        assert node.nic.reads == reads
    async with settled(before=node) as successor:
        assert successor.nic.reads == reads + 1


async def test_readings_that_find_nothing_are_no_writes():
    async with settled() as node:
        patches, reads = len(node.pools.patches), node.nic.reads
        await asyncio.sleep(3 * TEN_MINUTES_S)
        assert node.nic.reads >= reads + 2
        assert len(node.pools.patches) == patches


async def test_the_metric_says_the_age_to_the_second():
    async with settled() as node:
        metrics = Metrics()
        metrics.watch_pool(stored=node.stored, state=node.state, clock=node.clock)
        ask(node, "1")
        await asyncio.sleep(120)
        assert metrics.registry.get_sample_value("azure_cni_nic_read_age_seconds") == pytest.approx(120, abs=1)
