"""A node whose pods have most of its addresses says so once: an event, its status, a figure for Prometheus."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.sizing import Policy
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

SMALL = Policy(maximum=20, min_free=1, batch=1, max_free=30)
"""Above 16 is near, 14 no more; the pool keeps one spare, so it is not at its limit."""


def told(node: SimulatedNode) -> int:
    return sum(event.count for event in node.events.published if event.reason == "NearLimit")


async def fill(node: SimulatedNode, first: int, last: int) -> None:
    for number in range(first, last):
        await node.add(f"p{number}")


async def test_it_is_told_once_when_it_begins_and_again_only_after_it_ended():
    async with SimulatedNode(policy=SMALL).running() as node:
        await fill(node, 0, 16)
        await node.until(lambda: node.state.near_limit is False)
        assert (told(node), node.condition("AtLimit")["reason"]) == (0, "BelowLimit")
        await fill(node, 16, 17)
        await node.until(lambda: node.condition("AtLimit")["reason"] == "NearLimit")
        await node.until(lambda: told(node) == 1)
        assert "17 of the 20 addresses" in node.condition("AtLimit")["message"]
        for number in (0, 1):
            await node.delete(f"p{number}")
        await fill(node, 20, 22)
        await asyncio.sleep(30)
        assert (node.state.near_limit, told(node)) == (True, 1)
        for number in (2, 3, 4):
            await node.delete(f"p{number}")
        await node.until(lambda: node.state.near_limit is False)
        await fill(node, 30, 33)
        await node.until(lambda: told(node) == 2)


async def test_an_agent_that_starts_again_does_not_repeat_it():
    before = SimulatedNode(policy=SMALL)
    async with before.running():
        await fill(before, 0, 17)
        await before.until(lambda: before.condition("AtLimit")["reason"] == "NearLimit")
        await before.until(lambda: told(before) == 1)
        for number in (0, 1):
            await before.delete(f"p{number}")
    again = SimulatedNode(policy=SMALL, before=before)
    async with again.running():
        await again.until(lambda: again.state.near_limit is True)
        await asyncio.sleep(30)
        assert told(again) == 1
