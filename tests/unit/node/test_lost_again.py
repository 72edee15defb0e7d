"""A tool that drops pods' addresses from the NIC again and again: a node does not keep up with it for ever."""

from __future__ import annotations

import asyncio
import re

import pytest

from azure_cni.ipam.limits import BACKOFF_MAX_S
from azure_cni.ipam.recovery import REMOVALS_AT_ONCE
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.losing import NOTICED_S, answered_for, of_pods, with_pods

pytestmark = pytest.mark.looptime


async def test_a_tool_that_does_it_again_and_again_costs_few_writes_and_is_reported() -> None:
    async with with_pods() as node:
        had = of_pods(node)
        for _ in range(REMOVALS_AT_ONCE):
            node.nic.elsewhere_forget()
            await asyncio.sleep(60)
            assert answered_for(node) == had
        tries, drifted = node.nic.tries, set[str]()
        for _ in range(80):
            node.nic.elsewhere_forget()
            await asyncio.sleep(15)
            drifted.add(node.condition("Drifted")["message"])
        assert node.nic.tries - tries <= 45  # in twenty minutes: for what pods lost, for the pool, and lost races
        words = r"are asked for again; another tool removed addresses \d+ times in a row.*find what writes this NIC"
        assert any(re.search(words, message) for message in drifted)
        (event,) = [event for event in node.events.published if event.reason == "AddressesRemovedAgain"]
        assert re.search(r"removed addresses \d+ times in a row, each time within 120 s after", event.message)
        await asyncio.sleep(BACKOFF_MAX_S + NOTICED_S)
        assert answered_for(node) == had
        assert node.condition("Drifted")["status"] == "False"


async def until_it_rests(node: SimulatedNode) -> None:
    """A tool has removed all so often that the node waits before it asks again."""
    for _ in range(20):
        node.nic.elsewhere_forget()
        await asyncio.sleep(15)
        if "in a row" in node.condition("Drifted")["message"] and not answered_for(node):
            return
    raise AssertionError(node.condition("Drifted"))


async def test_a_pod_that_waits_meanwhile_gets_an_address_at_once() -> None:
    async with with_pods() as node:
        await until_it_rests(node)
        node.demand.observe_pod(pod_body("new"))
        began_s = node.clock.boottime_s()
        (address,) = (await node.add("new")).addresses
        assert address in node.nic.addresses
        assert node.clock.boottime_s() - began_s < 5


async def test_a_person_that_has_stopped_the_tool_ends_the_pause() -> None:
    async with with_pods() as node:
        had = of_pods(node)
        await until_it_rests(node)
        node.pools.annotate(**{"azure-cni.io/read-now": "2026-11-29T12:00:00Z"})
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: answered_for(node) == had, within_s=5)
