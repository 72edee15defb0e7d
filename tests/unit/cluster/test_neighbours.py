"""One node that writes its status as fast as it can: what its neighbours ask is answered as soon as without it."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from azure_cni.api.vnet_quota import Limits
from azure_cni.cluster.reclaimer import SETTLE_S
from azure_cni.model.text import time_text
from fakes.clocks import EPOCH_S
from fakes.cluster import NICS, VNET
from unit.cluster.test_liars import lying
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

LIE_EVERY_S = 0.1
"""As fast as one caller of an API server with other work is answered."""
CALL_S, SLOW_S = 0.04, 4.5
"""How long the API server takes for an answer, and Azure when it is slow: an answer within 5 s is waited for."""
PROMPT_S = 1.0
"""Longer than a round in progress, the wait for a burst, and a round; shorter than a second of either."""
MOST_ROUNDS = 70
"""In a minute: thirty for its changes, and those in which it is looked at again by the clock."""
ASKED = range(2, 32)
LIAR, HONEST = "x", "n"


def lies(kind: str, turn: int) -> dict[str, Any]:
    """As `scenarios.harness.liar` writes them."""
    asked = {"number": turn + 1, "requested": 250}
    later_s = asyncio.get_running_loop().time() + 1200 + turn % 60
    return {
        "nic": {**asked, "nicID": f"{NICS}/made-up-{turn}"},
        "nothing": {**asked, "nicID": f"{NICS}/made-up-{turn}", "requested": 0},
        "vnet": {**asked, "vnetID": f"{VNET}-{turn}"},
        "throttled": {"number": 1, "requested": 8, "throttledUntil": time_text(EPOCH_S + later_s)},
        "waiting": {**asked, "waiting": 100},
        "allocated": {**asked, "allocated": 256, "requested": 256},
    }[kind]


def two() -> SimulatedCluster:
    """Two nodes that have what they asked for, on an API server that takes its time.

    What is due each `reclaim_s` is waited for in a round, whoever lies or does not: here it was due before.
    """
    world = SimulatedCluster(limits=Limits(limit=400), reclaim_s=3600)
    world.cluster.latency_s = CALL_S / 2
    world.vnets.vnets = {VNET}
    for name in (LIAR, HONEST):
        world.cluster.node(name, requested=8, allocated=8, free=8, writeIntent="None")
        world.vnets.ours[f"{name}-nic"] = 8
    return world


async def waits_s(world: SimulatedCluster) -> list[float]:
    """How long the honest node waits for the answer each time that it asks for another number, every 4 to 6 s."""
    waits, chance, loop = [], Random(1), asyncio.get_running_loop()
    for number in ASKED:
        more = number % 2 == 0
        world.cluster.node(HONEST, requested=16 if more else 8, number=number, allocated=8, free=8,
                           writeIntent="Grow" if more else "None")  # fmt: skip
        asked_s = loop.time()
        await world.until(lambda number=number: world.cluster.granted_of(HONEST)[1] == number)
        waits.append(round(loop.time() - asked_s, 2))
        await asyncio.sleep(chance.uniform(4.0, 6.0))
    return waits


@pytest.mark.parametrize("kind", ["nic", "nothing", "vnet", "throttled", "waiting", "allocated"])
async def test_each_answer_comes_at_once_whatever_another_node_says(kind: str) -> None:
    world = two()
    async with world.controller():
        await asyncio.sleep(2 * SETTLE_S)
        async with lying(world, LIAR, status=lambda turn: lies(kind, turn), every_s=LIE_EVERY_S):
            waits = await waits_s(world)
    assert [wait for wait in waits if wait > PROMPT_S] == [], waits


@pytest.mark.parametrize("exist", [True, False], ids=["that_exist", "that_do_not"])
async def test_a_slow_answer_of_azure_about_one_nodes_nic_delays_that_node_alone(exist: bool) -> None:  # noqa: FBT001
    world = two()
    world.vnets.ours |= {f"made-up-{turn}": 8 for turn in range(20_000)} if exist else {}
    world.vnets.delay_s = SLOW_S
    async with world.controller():
        await asyncio.sleep(2 * SETTLE_S)
        async with lying(world, LIAR, status=lambda turn: lies("nic", turn), every_s=LIE_EVERY_S):
            waits = await waits_s(world)
    assert [wait for wait in waits if wait > PROMPT_S] == [], waits


@pytest.mark.parametrize("kind", ["nic", "waiting", "allocated"])
async def test_one_node_begins_a_bounded_number_of_rounds(kind: str) -> None:
    """Each looks at all nodes, and may write the ledger."""
    world = two()
    async with world.controller(), lying(world, LIAR, status=lambda turn: lies(kind, turn), every_s=LIE_EVERY_S):
        await asyncio.sleep(60)
        before = len(world.observer.recorded)
        await asyncio.sleep(300)
    rounds = sum(what == "round" for what, *_ in world.observer.recorded[before:])
    assert rounds <= 5 * MOST_ROUNDS


async def test_an_answer_that_another_write_overtook_is_given_soon_and_ever_more_rarely_tried() -> None:
    """Of a pool that changes each time before its answer is written."""
    world, tried = two(), []

    def overtake(call: str) -> None:
        if call == "pools.write":
            tried.append(asyncio.get_running_loop().time())
            world.cluster.node(LIAR, requested=16, number=2, note=len(tried))

    async with world.controller():
        await asyncio.sleep(5)
        world.cluster.before_call = overtake
        world.cluster.node(LIAR, requested=16, number=2)
        await asyncio.sleep(300)
        assert tried[1] - tried[0] < PROMPT_S
        assert 60 <= len(tried) <= 90
        world.cluster.before_call = lambda _: None
        await world.until(lambda: world.cluster.granted_of(LIAR) == (16, 2), within_s=10)
