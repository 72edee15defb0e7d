"""What others take off the NIC is found in seconds by the metadata service, which costs no call; and what it costs when
that service is wrong, slow or away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import CloudUnreachable, Throttled
from azure_cni.node.pool.azure_reader import LAG_POLL_S
from fakes.metadata import FakeMetadata
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime

FOUND_S = 20.0
"""The period with its spread, and a pass."""
AN_HOUR_S = 3600.0


@asynccontextmanager
async def settled() -> AsyncIterator[tuple[SimulatedNode, FakeMetadata]]:
    """A node with one pod and free addresses, some time after anything changed."""
    nic = FakeNic()
    metadata = FakeMetadata(nic)
    async with SimulatedNode(nic=nic, shown_addresses=metadata).running() as node:
        node.demand.observe_pod(pod_body("p"))
        await node.until(lambda: node.state.ready and node.counts.free > 0)
        await node.add("p")
        await asyncio.sleep(60)
        yield node, metadata


def lose(node: SimulatedNode) -> IPv4Address:
    """Another tool takes the pod's address off the NIC, and another node gets it; gives it."""
    (lost,) = (slot for slot in node.stored.ledger.slots if slot.holder is not None)
    node.nic.elsewhere_give(lost.config)  # or it would be asked for again, and come back
    return lost.address


async def test_a_lost_address_is_found_in_seconds() -> None:
    async with settled() as (node, _):
        reads = node.nic.reads
        await asyncio.sleep(300)
        assert node.nic.reads == reads
        lost = lose(node)
        await asyncio.sleep(FOUND_S)
        assert node.counts.missing == 1
        await asyncio.sleep(5)
        assert str(lost) in node.condition("Drifted")["message"]


async def test_an_added_address_is_found_in_seconds() -> None:
    async with settled() as (node, _):
        allocated = node.counts.allocated
        node.nic.elsewhere_add("10.240.0.200")
        await asyncio.sleep(FOUND_S)
        assert node.counts.allocated == allocated + 1


async def test_our_own_writes_need_no_hint() -> None:
    async with settled() as (node, _):
        reads = node.nic.reads
        for number in range(20):
            await node.add(f"q{number}")
        await node.until(lambda: node.counts.allocated > 30)
        await asyncio.sleep(60)
        assert node.nic.reads - reads == node.nic.writes - 1  # each write reads the NIC once


@pytest.mark.parametrize(("lag_s", "costs"), [(10.0, 0), (120.0, 1)])
async def test_what_a_service_costs_that_lags_behind_our_own_writes(lag_s: float, costs: int) -> None:
    async with settled() as (node, metadata):
        reads, metadata.frozen = node.nic.reads, node.nic.addresses
        for number in range(20):
            await node.add(f"q{number}")
        await node.until(lambda: node.counts.allocated > 30)
        await asyncio.sleep(lag_s)
        metadata.frozen = None
        await asyncio.sleep(120)
        assert node.nic.reads - reads == node.nic.writes - 1 + costs


async def test_a_service_that_wavers_costs_few_readings() -> None:
    async with settled() as (node, metadata):
        reads = node.nic.reads
        victim = {next(slot.address for slot in node.stored.ledger.slots)}
        began_s = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began_s + AN_HOUR_S:
            metadata.hidden = set() if metadata.hidden else victim
            await asyncio.sleep(17)
        assert node.nic.reads - reads <= 6 + 12  # of its own accord, and by hints: 30, 60, ... 600 s
        metadata.hidden = set()
        await asyncio.sleep(600)
        lose(node)
        await asyncio.sleep(FOUND_S)
        assert node.counts.missing == 1


async def test_a_service_that_is_away_costs_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with settled() as (node, metadata):
        reads, asked = node.nic.reads, metadata.asked
        metadata.error = CloudUnreachable("cannot read the instance metadata")
        with caplog.at_level(logging.WARNING):
            await asyncio.sleep(300)
        assert [record.message for record in caplog.records] == [
            "cannot ask for a hint: changes of the nic by others are found later"
        ]
        assert metadata.asked - asked in range(15, 25)
        assert node.nic.reads == reads
        assert node.condition("Ready")["reason"] == "PodsCanStart"
        metadata.error = None
        lose(node)
        await asyncio.sleep(FOUND_S)
        assert node.counts.missing == 1


async def test_a_service_that_does_not_answer_holds_nothing_up() -> None:
    async with settled() as (node, metadata):
        metadata.answer_s = AN_HOUR_S
        await asyncio.sleep(60)
        for number in range(20):
            await node.add(f"q{number}")
        await node.until(lambda: node.counts.allocated > 30)


async def test_a_hint_is_followed_when_azure_can_be_asked_again() -> None:
    async with settled() as (node, _):
        node.nic.fail_next_read = Throttled("Azure asks to wait", retry_after_s=100.0)
        reads = node.nic.reads
        lose(node)
        await asyncio.sleep(FOUND_S + 60)
        assert node.nic.reads == reads + 1
        assert node.counts.missing == 0
        await asyncio.sleep(60)
        assert node.counts.missing == 1


async def test_no_hint_has_the_nic_read_again_and_again_while_reads_lag() -> None:
    async with settled() as (node, metadata):
        old = await node.nic.read()
        node.nic.elsewhere_add("10.240.0.200")
        await asyncio.sleep(FOUND_S)
        real, reads = node.nic.read, 0

        async def lagging():
            nonlocal reads
            reads += 1
            return old

        node.nic.read = lagging  # type: ignore[method-assign]
        metadata.hidden = {IPv4Address("10.240.0.200")}
        for _ in range(300):
            node.reconciler.wake()
            await asyncio.sleep(0.2)
        assert 0 < reads <= 60 / LAG_POLL_S + 1
        node.nic.read = real  # type: ignore[method-assign]
