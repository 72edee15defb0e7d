"""Agents that order and controllers that carry out, joined over the API server in memory."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from azure_cni.cluster.orders import OrderDesk
from azure_cni.cluster.ports import Machines
from azure_cni.node.ordered import OrderPost
from fakes.cluster import FakeCluster, FakeMemberNodes, FakeMemberPools
from fakes.faults import NO_FAULTS


class OwnPool:
    """Implements `azure_cni.node.ports.Pools` for one node of the cluster."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self._cluster, self._name = cluster, name

    async def read(self) -> dict[str, Any] | None:
        return await self._cluster.call("own.read", lambda: self._cluster.pools.get(self._name))

    async def create(self, node: Mapping[str, Any]) -> dict[str, Any]:
        body = {"kind": "NodeIPPool", "spec": {}}
        return await self._cluster.call("own.create", lambda: self._cluster.pools.create(self._name, body))

    async def patch_status(
        self, pool: Mapping[str, Any], status: Mapping[str, Any], *, guarded: bool = False
    ) -> dict[str, Any]:
        version = pool["metadata"]["resourceVersion"] if guarded else None
        patch = copy.deepcopy({"status": dict(status)})
        return await self._cluster.call(
            "own.write", lambda: self._cluster.pools.patch(self._name, patch, version=version)
        )


def post_of(cluster: FakeCluster, name: str, *, watched: bool = True, **patience: float) -> OrderPost:
    """An agent's side, its watch at work."""
    post = OrderPost(OwnPool(cluster, name), **patience)

    def see(_: Any, after: dict[str, Any] | None) -> None:
        if after is not None and after["metadata"]["name"] == name:
            post.see(after)

    if watched:
        cluster.pools.watchers.append(see)
    return post


@asynccontextmanager
async def carrying_out(cluster: FakeCluster, machines: Machines, *, spacing_s: float = 0.0) -> AsyncIterator[OrderDesk]:
    """A controller at work: it sees all pools, as a leader's watch would show them."""
    desk = OrderDesk(
        pools=FakeMemberPools(cluster),
        nodes=FakeMemberNodes(cluster),
        machines=machines,
        faults=NO_FAULTS,
        spacing_s=spacing_s,
    )

    def see(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if after is not None:
            desk.see(after)
        elif before is not None:
            desk.forget(before["metadata"]["name"], before["metadata"]["uid"])

    for body in cluster.pools.objects.values():
        desk.see(body)
    cluster.pools.watchers.append(see)
    task = asyncio.create_task(desk.run())
    try:
        yield desk
        assert not task.done(), task
    finally:
        cluster.pools.watchers.remove(see)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
