"""Two nodes of forty write anything they may into their pools, at any time: the other 38 have what they need."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from azure_cni.api.vnet_quota import Limits
from azure_cni.model.text import time_text
from fakes.clocks import EPOCH_S
from fakes.cluster import NICS, VNET
from unit.cluster.test_liars import entries_of, lying, served_in_s
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

LIARS = ("x", "y")
WANTED = (8, 40, 16)


def anything(chance: Random) -> dict[str, Any]:
    """One status, as the definition lets it pass; some of it true."""
    later_s = asyncio.get_running_loop().time() + chance.choice((60, 1200, 10**7))
    lies = {
        "requested": chance.choice((0, 1, 250, 256)),
        "number": chance.choice((chance.randint(1, 10**6), chance.randint(1, 10**6), 0, 2**53 - 1)),
        "writeIntent": chance.choice(("None", "Grow", "Grow", "Shrink", "Rewrite")),
        "waiting": chance.choice((0, 1, 100, 10_000)),
        "allocated": chance.choice((0, 1, 250, 256)),
        "free": chance.choice((0, 8, 512)),
        "throttledUntil": time_text(EPOCH_S + later_s),
        "nicID": f"{NICS}/{chance.choice(('x-nic', 'n3-nic', f'made-up-{chance.randint(0, 99)}'))}",
        "vnetID": chance.choice((VNET, VNET, VNET, f"{VNET}-{chance.randint(0, 10**6)}")),
    }
    return {key: lies[key] for key in chance.sample(sorted(lies), k=chance.randint(3, len(lies)))}


async def times_to_serve(world: SimulatedCluster) -> list[float]:
    """How long it takes each time that the honest nodes want another number."""
    served = []
    for want in WANTED:
        for node in world.nodes.values():
            node.want = node.waiting = want
        served.append(await served_in_s(world))
        await asyncio.sleep(300)
    return served


def forty() -> SimulatedCluster:
    world = SimulatedCluster(limits=Limits(limit=2400, writes_per_minute=60), reclaim_s=60, usages_s=60)
    world.vnets.vnets = {VNET}
    for index in range(38):
        node = world.node(f"n{index}")
        world.vnets.ours[node.nic] = 0
    return world


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_honest_have_what_they_need_within_little_more_time(seed: int) -> None:
    honest = forty()
    async with honest.agents(), honest.controller():
        without = await times_to_serve(honest)
    world, chance = forty(), Random(seed)
    held: list[int] = []
    world.cluster.quotas.watchers.append(lambda *_: held.extend(sum(entries_of(world, one).values()) for one in LIARS))
    async with lying(world, *LIARS, status=lambda _: anything(chance), every_s=1.7), world.agents(), world.controller():
        took = await times_to_serve(world)
        assert list(world.cluster.quotas.objects) == ["vnet"]
        assert world.observer.recorded.count(("internal_error", "grants")) == 0
    slack_s = 5.0  # the moment at which a round looks
    assert [t for t, alone in zip(took, without, strict=True) if t > 1.2 * alone + slack_s] == [], (took, without)
    assert max(held) <= 250
