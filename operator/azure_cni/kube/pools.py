"""NodeIPPools: the node's own for its agent, and those of all nodes for the controller.

An agent creates its pool once, owned by the Node so that both are deleted together. Every status is a merge patch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from azure_cni.api import node_ip_pool
from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.errors import KubeConflict, KubeNotFound
from azure_cni.kube.client import KubeClient
from azure_cni.kube.lean_objects import POOLS

GROUP_VERSION: Final = f"{node_ip_pool.GROUP}/{node_ip_pool.VERSION}"
COLLECTION: Final = POOLS
PAGE: Final = 100
"""Pools of one answer: a pool with 250 addresses is some 20 KiB."""
LIST_TIMEOUT_S: Final = 60.0
"""Of one answer: pools of up to a megabyte each take long to arrive; they are parsed as they arrive."""


class KubePools:
    """Implements `azure_cni.node.ports.Pools` for the node of that name."""

    def __init__(self, client: KubeClient, *, node_name: str) -> None:
        self._client = client
        self._path = f"{COLLECTION}/{node_name}"

    async def read(self) -> NodeIPPool | None:
        """The object, or None when there is none."""
        try:
            return parse(await self._client.get(self._path))
        except KubeNotFound:
            return None

    async def create(self, node: Mapping[str, Any]) -> NodeIPPool:
        """Make the object, owned by the Node; the one that exists is returned as it is."""
        try:
            return parse(await self._client.create(COLLECTION, _new_pool(node)))
        except KubeConflict:
            existing = await self.read()
            if existing is None:  # deleted between the two calls: the next reconciliation makes it
                raise
            return existing

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        """Merge `status` into the status subresource and return the object.

        `guarded` makes it a compare-and-swap on `pool`'s resourceVersion: KubeConflict when it changed since.
        """
        patch: dict[str, Any] = {"status": status}
        if guarded:
            patch["metadata"] = {"resourceVersion": pool.version.number}
        return parse(await self._client.merge_patch(f"{self._path}/status", patch))


class KubeMemberPools:
    """Implements `azure_cni.cluster.ports.MemberPools`."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def walk(self) -> AsyncIterator[NodeIPPool]:
        """Every pool, page by page, reduced to the fields that decisions use (`lean_objects`)."""
        async for body in self._client.items(COLLECTION, timeout_s=LIST_TIMEOUT_S, limit=str(PAGE)):
            yield parse(body)

    async def read(self, name: str) -> NodeIPPool | None:
        """One pool, None when there is none."""
        try:
            return parse(await self._client.get(f"{COLLECTION}/{name}"))
        except KubeNotFound:
            return None

    async def write(self, name: str, *, version: str, status: Mapping[str, Any]) -> NodeIPPool:
        """Merge `status` into a pool that is still at that version."""
        patch = {"metadata": {"resourceVersion": version}, "status": status}
        return parse(await self._client.merge_patch(f"{COLLECTION}/{name}/status", patch))


def _new_pool(node: Mapping[str, Any]) -> dict[str, Any]:
    meta = node["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": GROUP_VERSION,
        "kind": node_ip_pool.KIND,
        "metadata": {"name": meta["name"], "ownerReferences": [owner]},
        "spec": {},
    }
