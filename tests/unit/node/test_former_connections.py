"""The kernel forgets the connections of pods that have ended, before their addresses can go to others."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import Address
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime

SOON_S = 5.0


async def addresses_of(node: SimulatedNode, *names: str) -> list[Address]:
    return [(await node.add(name)).pod.addresses[0].ip for name in names]


async def test_each_is_forgotten_once_and_soon_after_its_pod() -> None:
    async with SimulatedNode().running() as node:
        web, db, _ = await addresses_of(node, "web", "db", "other")
        await node.delete("web")
        await node.until(lambda: node.datapath.forgotten == [web], within_s=SOON_S)
        await node.delete("db")
        await node.until(lambda: node.datapath.forgotten == [web, db], within_s=SOON_S)
        await asyncio.sleep(2 * COOLING_S)
        assert node.datapath.forgotten == [web, db]


async def test_at_the_nodes_limit_it_is_forgotten_before_the_next_pod_gets_it_and_after_that_one() -> None:
    async with SimulatedNode(policy=Policy(size=1)).running() as node:
        (address,) = await addresses_of(node, "web")
        await node.until(lambda: node.state.at_limit)
        for number in (1, 2):
            await node.delete("web")
            await asyncio.sleep(COOLING_AT_LIMIT_S + 1)
            assert node.datapath.forgotten == [address] * number
            assert await addresses_of(node, "web") == [address]


async def test_an_agent_that_was_killed_in_between_forgets_them_when_it_is_back() -> None:
    async with SimulatedNode().running() as first:
        (address,) = await addresses_of(first, "web")
        await first.delete("web")
        first.datapath.forgotten.clear()
    async with SimulatedNode(before=first).running() as node:
        await node.until(lambda: node.datapath.forgotten == [address], within_s=SOON_S)


async def test_a_write_of_the_nic_delays_nothing() -> None:
    nic = FakeNic()
    async with SimulatedNode(nic=nic).running() as node:
        (address,) = await addresses_of(node, "web")
        nic.hold()
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: node.condition("Growing")["reason"] == "NicWriteInFlight", within_s=10)
        await node.delete("web")
        await node.until(lambda: node.datapath.forgotten == [address], within_s=SOON_S)
        nic.finish()
