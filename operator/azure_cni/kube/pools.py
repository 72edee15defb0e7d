"""This node's NodeIPPool: made once, owned by the Node so that it goes with it, its status written by merge patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from azure_cni.api import pool as pool_api
from azure_cni.errors import KubeConflict, KubeNotFound
from azure_cni.kube.client import KubeClient

GROUP_VERSION: Final = f"{pool_api.GROUP}/{pool_api.VERSION}"
COLLECTION: Final = f"/apis/{GROUP_VERSION}/{pool_api.PLURAL}"


class KubePools:
    """Implements `azure_cni.node.ports.Pools` for the node of that name."""

    def __init__(self, client: KubeClient, *, node_name: str) -> None:
        self._client = client
        self._path = f"{COLLECTION}/{node_name}"

    async def read(self) -> dict[str, Any] | None:
        """The object, or None when there is none."""
        try:
            return await self._client.get(self._path)
        except KubeNotFound:
            return None

    async def create(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Make the object, owned by the Node; the one that exists is returned as it is."""
        try:
            return await self._client.create(COLLECTION, _new_pool(node))
        except KubeConflict:
            existing = await self.read()
            if existing is None:  # deleted between the two calls: the next reconciliation makes it
                raise
            return existing

    async def patch_status(
        self, pool: Mapping[str, Any], status: Mapping[str, Any], *, guarded: bool = False
    ) -> dict[str, Any]:
        """Merge `status` into the status subresource and return the object.

        `guarded` makes it a compare-and-swap on `pool`'s resourceVersion: KubeConflict when it changed since.
        """
        patch: dict[str, Any] = {"status": status}
        if guarded:
            patch["metadata"] = {"resourceVersion": pool["metadata"]["resourceVersion"]}
        return await self._client.merge_patch(f"{self._path}/status", patch)


def _new_pool(node: Mapping[str, Any]) -> dict[str, Any]:
    meta = node["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": GROUP_VERSION,
        "kind": pool_api.KIND,
        "metadata": {"name": meta["name"], "ownerReferences": [owner]},
        "spec": {},
    }
