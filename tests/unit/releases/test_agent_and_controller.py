"""Agents and controllers of two releases: each answers what the other wrote, whichever is older (docs/releases.md)."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.sizing import Policy
from fakes.machines import FakeMachines
from unit.cluster.test_delegating_nodes import agent, on_nic
from unit.cluster.worlds import SimulatedCluster
from unit.releases.exchanges import NEWER, RELEASES, AgentOfThen, ControllerOfThen, patches
from unit.releases.record import NODE, SETTLED_S, SIZES

pytestmark = [pytest.mark.looptime, pytest.mark.parametrize("release", [*RELEASES, NEWER])]


def test_something_is_recorded(release: str) -> None:
    exchange = patches(release)
    kinds = {(one.status.get("nicOperation") or {}).get("kind") for one in exchange if one.by == "agent"}
    assert {"identify", "vnet", "read", "write"} <= kinds
    assert {one.by for one in exchange} == {"agent", "controller"}


async def test_the_controller_serves_an_agent_of_another_release(release: str) -> None:
    """It identifies the node, grants each of its requests, and makes its writes: more addresses, and fewer."""
    world, machines = SimulatedCluster(), FakeMachines(NODE)
    told: list[object] = []

    def see(_: object, after: dict[str, object] | None) -> None:
        result = (world.cluster.status(NODE) if after else {}).get("nicOperationResult") or {}
        told.append(None if result.get("challenge") else result.get("error"))

    world.cluster.pools.watchers.append(see)
    life = AgentOfThen(world.cluster, NODE, patches(release))
    async with world.controller(machines=machines):
        ended = []
        task = asyncio.create_task(life.live())
        task.add_done_callback(ended.append)
        await world.until(lambda: bool(ended), within_s=SETTLED_S)
        await task
    assert set(told) == {None}
    assert on_nic(machines, NODE) == SIZES[-1]
    assert machines.nics[NODE].writes == len(SIZES)


async def test_the_agent_is_served_by_a_controller_of_another_release(release: str) -> None:
    """It believes who it is, what it is granted and what the NIC shows: its pool grows, and shrinks."""
    world = SimulatedCluster()
    ControllerOfThen(world.cluster, NODE, patches(release))
    for size in SIZES:
        async with agent(world, NODE, policy=Policy(size=size)) as stored:
            await world.until(lambda: stored.ledger.counts().free == size, within_s=SETTLED_S)  # noqa: B023
            await world.until(lambda: world.cluster.status(NODE)["allocated"] == size)  # noqa: B023
    ready = next(one for one in world.cluster.status(NODE)["conditions"] if one["type"] == "Ready")
    assert ready["status"] == "True"
