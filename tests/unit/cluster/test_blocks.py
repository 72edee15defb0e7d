"""Nodes of blocks share a quota that has no room for all: whole blocks are granted and taken back, and none is lost."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.sizing import Policy
from unit.cluster.real_nodes import RealNodes, Subnet

pytestmark = pytest.mark.looptime

OF_BLOCKS = Policy(min_free=4, batch=16, max_free=20, blocks=28)


def cluster_of(*names: str, limit: int) -> RealNodes:
    return RealNodes(*names, limit=limit, policy=OF_BLOCKS)


async def test_pods_of_each_node_get_whole_blocks_up_to_the_limit() -> None:
    cluster = cluster_of("a", "b", "c", limit=100)
    async with cluster.running():
        await cluster.run_pods(a=20, b=20, c=20)
        assert cluster.held() == {"a": 32, "b": 32, "c": 32}
        assert all(node.nic.writes <= 3 for node in cluster.nodes.values())


async def test_what_is_less_than_a_block_is_granted_to_nobody_and_said() -> None:
    cluster = cluster_of("a", "b", limit=42)
    async with cluster.running():
        await cluster.run_pods(a=16, b=16)
        (pod,) = await cluster.start_pods("a", 1)
        await cluster.until(lambda: cluster.status("a").get("grantReason") == "QuotaExceeded")
        await asyncio.sleep(300)
        assert not pod.done()
        assert {cluster.status(name)["granted"] for name in cluster.nodes} == {16}


async def test_an_idle_block_is_taken_back_for_pods_that_wait_for_a_part_of_one() -> None:
    cluster = cluster_of("a", "b", limit=56)
    async with cluster.running():
        tasks = await cluster.start_pods("b", 20)
        await cluster.until(lambda: all(task.done() for task in tasks))
        for number in range(20):
            await cluster.nodes["b"].delete(f"b-{number}")
            cluster.nodes["b"].demand.forget_pod(f"uid-b-{number}")
        await cluster.run_pods(a=20, within_s=200)  # b would shrink by itself after 300 s
        assert cluster.held() == {"a": 32, "b": 16}


async def test_the_last_block_of_a_node_stays_and_nobody_asks_for_it_again_and_again() -> None:
    cluster = cluster_of("a", "b", limit=32)
    async with cluster.running():
        await cluster.run_pods(a=16)
        await cluster.start_pods("a", 1)
        await asyncio.sleep(1800)
        assert cluster.held() == {"a": 16, "b": 16}
        assert cluster.nodes["b"].nic.writes == 1
        assert not any(kind == "recalled" for kind, _ in cluster.world.observer.recorded)


async def test_in_a_full_subnet_a_block_comes_from_who_has_one_to_spare() -> None:
    cluster = RealNodes("a", "b", limit=1000, policy=OF_BLOCKS, subnet=Subnet(48))
    async with cluster.running():
        await cluster.run_pods(b=20)
        for number in range(20):
            await cluster.nodes["b"].delete(f"b-{number}")
            cluster.nodes["b"].demand.forget_pod(f"uid-b-{number}")
        await cluster.run_pods(a=20, within_s=200)  # b would shrink by itself after 300 s
        assert cluster.held() == {"a": 32, "b": 16}
