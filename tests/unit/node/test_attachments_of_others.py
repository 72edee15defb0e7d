"""Load balancer pools and addresses that others attached by hand, and addresses that others made."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic
from unit.node.attaching import OTHERS, WEB, answering, node, started

pytestmark = pytest.mark.looptime


async def test_what_others_attached_stays_and_no_pod_gets_such_an_address() -> None:
    async with node(policy=Policy(size=4)).running() as one:
        await one.until(lambda: one.counts.free == 4)
        config = one.stored.ledger.slots[0].config
        one.nic.elsewhere_put(config, OTHERS)
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: any(config in line for line in one.status.get("excluded", [])))
        assert "is in the load balancer pool lb/others" in one.status["excluded"][0]
        await asyncio.sleep(600.0)
        assert one.nic.resources[config] == {OTHERS}


async def test_the_request_covers_what_others_use_and_the_pool_grows_beside_it() -> None:
    """Else a controller that counts what the node added would refuse the address in its place."""
    one = node(grants=ControllerGrants(), policy=Policy(size=4))
    async with one.running(), asyncio.TaskGroup() as tasks:
        answers = tasks.create_task(answering(one))
        await one.until(lambda: one.counts.free == 4)
        one.nic.elsewhere_put(one.stored.ledger.slots[0].config, OTHERS)
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: bool(one.status.get("excluded")) and one.counts.free == 4)
        await one.until(lambda: (one.status["requested"], one.status["granted"], one.status["target"]) == (5, 5, 4))
        before, writes = one.status["requestID"], one.nic.writes
        await asyncio.sleep(600.0)
        assert (one.status["requestID"], one.nic.writes) == (before, writes)
        answers.cancel()


async def test_of_what_a_hand_attached_only_what_is_managed_is_removed() -> None:
    async with node(policy=Policy(size=2)).running() as one:
        await one.until(lambda: one.counts.free == 2)
        first, second = (slot.config for slot in one.stored.ledger.slots)
        one.nic.elsewhere_put(first, OTHERS, WEB)
        one.nic.elsewhere_put(second, WEB)
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: one.nic.resources == {first: {OTHERS}})


async def test_an_address_that_others_made_gets_nothing() -> None:
    async with node(nic=FakeNic(adopted=["10.240.0.9"]), policy=Policy(size=1)).running() as one:
        assert await started(one, "web", pools=WEB.id) == IPv4Address("10.240.0.9")
        await asyncio.sleep(120.0)
        assert one.nic.resources == {}
