"""Entries that the API server refuses: their nodes are found and learn why, and no other waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.api.vnet_quota import Limits
from azure_cni.errors import KubeInvalid
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime


def refuse(world: SimulatedCluster, *names: str) -> None:
    """The API server takes no ledger in which these have an entry."""
    patch = world.cluster.quotas.patch

    def judged(name: str, body: Any, **how: Any) -> dict[str, Any]:
        if bad := sorted(body.get("status", {}).get("grants", {}).keys() & set(names)):
            raise KubeInvalid(f"cannot patch {name}: status.grants[{bad[0]}]: Invalid value")
        return patch(name, body, **how)

    world.cluster.quotas.patch = judged  # type: ignore[method-assign]


@pytest.mark.parametrize("bad", [("n17",), ("n00", "n39"), ("n03", "n04", "n05")], ids="-".join)
async def test_the_one_is_found_and_reported_and_the_others_are_granted(bad: tuple[str, ...]) -> None:
    world = SimulatedCluster()
    for index in range(40):
        world.node(f"n{index:02}", want=8, waiting=8)
    refuse(world, *bad)
    async with world.agents(), world.controller():
        good = [node for name, node in world.nodes.items() if name not in bad]
        await world.until(lambda: all(node.on_nic == 8 for node in good), within_s=60)
        assert world.cluster.counts().keys().isdisjoint(bad)
        await world.until(lambda: ", ".join(bad) in world.condition("EntriesRefused")["message"], within_s=30)
        assert world.condition("EntriesRefused")["status"] == "True"
        await world.until(lambda: all(world.cluster.status(name).get("grantReason") for name in bad), within_s=30)
        for name in bad:
            assert world.cluster.status(name)["grantReason"] == "EntryRefused"
            assert f"status.grants[{name}]: Invalid value" in world.cluster.status(name)["grantMessage"]
        written = world.cluster.calls.count("quotas.write")
        await asyncio.sleep(280)
        assert world.cluster.calls.count("quotas.write") - written < 20
        del world.cluster.quotas.patch  # type: ignore[method-assign]
        await world.until(lambda: all(node.on_nic == 8 for node in world.nodes.values()), within_s=400)
        await world.until(lambda: world.condition("EntriesRefused")["status"] == "False", within_s=60)


async def test_a_ledger_that_is_refused_as_a_whole_writes_nothing_apart() -> None:
    """A limit that somebody lowered meanwhile refuses each entry: that is nobody's fault."""
    world = SimulatedCluster(limits=Limits(limit=100))
    for index in range(4):
        world.node(f"n{index}", want=8, waiting=8)
    async with world.controller():
        async with world.agents():
            await world.until(lambda: all(held == 8 for held in world.held().values()))
        patch = world.cluster.quotas.patch

        def refused(name: str, body: Any, **how: Any) -> dict[str, Any]:
            raise KubeInvalid(f"cannot patch {name}: no")

        world.cluster.quotas.patch = refused  # type: ignore[method-assign]
        for node in world.nodes.values():
            node.want = 16
        async with world.agents():
            await asyncio.sleep(60)
            assert {world.cluster.status(name).get("grantReason") for name in world.nodes} == {None}
            world.cluster.quotas.patch = patch  # type: ignore[method-assign]
            await world.until(lambda: all(held == 16 for held in world.held().values()), within_s=300)
