"""The node's port: its taints in memory, and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from azure_cni.errors import KubeConflict, KubeDenied
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.nodes import KubeNode
from azure_cni.node.pool.taint import EFFECT, KEY, has_taint, with_taint
from contract.kube_world import Place, PoolsUnderTest, open_world
from fakes.kubeapi import NODES, TOKEN, FakeKubeAPI

OTHERS = [{"key": "dedicated", "value": "db", "effect": "NoExecute"}, {"key": KEY, "effect": "PreferNoSchedule"}]


@pytest.fixture
async def world(place: Place) -> AsyncIterator[PoolsUnderTest]:
    async with open_world(place) as opened:
        yield opened


def taints_of(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Without those that Kubernetes itself puts on a new node."""
    taints = node.get("spec", {}).get("taints") or []
    return [taint for taint in taints if not taint["key"].startswith("node.kubernetes.io/")]


async def test_the_taint_comes_and_goes_and_others_stay(world: PoolsUnderTest) -> None:
    node = await world.node.read_node()
    await world.node.write_taints(node, [*with_taint(node, tainted=False), *OTHERS])
    for tainted in (True, False):
        node = await world.node.read_node()
        await world.node.write_taints(node, with_taint(node, tainted=tainted))
        node = await world.node.read_node()
        assert has_taint(node) is tainted
        assert taints_of(node) == [*OTHERS, *([{"key": KEY, "effect": EFFECT}] if tainted else [])]


async def test_the_last_taint_goes_too(world: PoolsUnderTest) -> None:
    node = await world.node.read_node()
    await world.node.write_taints(node, [{"key": KEY, "effect": EFFECT}])
    await world.node.write_taints(await world.node.read_node(), [])
    assert not has_taint(await world.node.read_node())


async def test_a_taint_that_somebody_adds_meanwhile_is_not_lost(world: PoolsUnderTest) -> None:
    seen = await world.node.read_node()
    await world.node.write_taints(seen, OTHERS)
    with pytest.raises(KubeConflict):
        await world.node.write_taints(seen, with_taint(seen, tainted=True))
    assert taints_of(await world.node.read_node()) == OTHERS


async def test_a_missing_permission_is_reported() -> None:
    api = FakeKubeAPI()
    api.put(NODES, "vm1")
    api.forbidden.add(("patch", "nodes"))
    async with api.serve() as url, KubeClient(KubeEndpoint(url, token=TOKEN)) as client:
        node = KubeNode(client, node_name="vm1")
        with pytest.raises(KubeDenied, match=r"cannot patch resource nodes.*ClusterRole"):
            await node.write_taints(await node.read_node(), [])
