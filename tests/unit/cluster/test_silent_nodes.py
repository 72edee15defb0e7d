"""A node goes down while its pods wait: nobody gives addresses for them, until it is heard from again."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.cluster.silent_nodes import AGAIN_S
from azure_cni.errors import KubeUnreachable
from azure_cni.ipam.sizing import Policy
from azure_cni.quota.recall_tracker import REST_S
from unit.cluster.real_nodes import RealNodes

pytestmark = pytest.mark.looptime

ROOMY = Policy(min_free=8, batch=8, max_free=24)
DOWN = {"requested": 9, "number": 1, "waiting": 9, "writeIntent": "Grow"}
"""What the pool of a node goes on saying that went down when nine of its pods had no address."""


async def with_one_down(cluster: RealNodes) -> None:
    """All is granted, nothing can be recalled (all pools are paused), and one node is down whose pods wait."""
    await cluster.until(lambda: sum(cluster.held().values()) == 16)
    for node in cluster.nodes.values():
        node.pools.pause()  # type: ignore[attr-defined]
        node.reconciler.pool_seen(node.pools.shown())
    await cluster.until(lambda: all(cluster.status(name)["releasable"] == 0 for name in "ab"))
    cluster.nodes["down"] = cluster._node("down")
    cluster.world.cluster.node("down", **DOWN)
    await cluster.until(lambda: cluster.status("down").get("grantReason") == "QuotaExceeded")


def resume(cluster: RealNodes) -> None:
    for name in "ab":
        cluster.nodes[name].pools.pause(paused=False)  # type: ignore[attr-defined]


async def test_nothing_is_taken_back_for_pods_of_a_node_that_is_down() -> None:
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await with_one_down(cluster)
        cluster.world.cluster.silent.add("down")
        await asyncio.sleep(2 * AGAIN_S)
        resume(cluster)
        await asyncio.sleep(60)
        assert cluster.held() == {"a": 8, "b": 8, "down": 0}
        assert not any("recall" in cluster.status(name) for name in "ab")
        cluster.world.cluster.silent.clear()  # it is back
        await cluster.until(lambda: sum(cluster.held().values()) < 16, within_s=2 * AGAIN_S)


async def test_who_gave_for_a_node_that_went_down_has_its_reserve_again_once_there_is_room() -> None:
    """The room that it was granted stays its own: what is on its NIC is not known."""
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await with_one_down(cluster)
        resume(cluster)
        await cluster.until(lambda: cluster.world.cluster.counts()["down"] == 9)
        cluster.world.cluster.silent.add("down")
        await cluster.until(lambda: not any("recall" in cluster.status(name) for name in "ab"), within_s=2 * REST_S)
        assert cluster.world.cluster.counts()["down"] == 9


def refuse_nodes(what: str) -> None:
    if what == "nodes.read":
        raise KubeUnreachable("cannot read the node: no answer")


async def test_an_api_server_that_does_not_say_changes_nothing() -> None:
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await with_one_down(cluster)
        cluster.world.cluster.before_call = refuse_nodes
        cluster.world.cluster.silent.add("down")
        await asyncio.sleep(2 * AGAIN_S)
        resume(cluster)
        await cluster.until(lambda: cluster.world.cluster.counts()["down"] == 9)
