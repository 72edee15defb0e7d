"""This node's own Node object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from azure_cni.kube.client import KubeClient


class KubeNode:
    """Implements `azure_cni.node.ports.Node` for the node of that name."""

    def __init__(self, client: KubeClient, *, node_name: str) -> None:
        self._client = client
        self._path = f"/api/v1/nodes/{node_name}"

    async def read_node(self) -> dict[str, Any]:
        """The object; KubeNotFound when no node of this name has registered yet."""
        return await self._client.get(self._path)

    async def write_taints(self, node: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> None:
        """Make `taints` the object's taints; KubeConflict when it changed since `node` was read.

        A merge patch replaces the list as a whole, so that a taint which somebody adds meanwhile must fail it.
        """
        version = {"resourceVersion": node["metadata"]["resourceVersion"]}
        patch = {"metadata": version, "spec": {"taints": list(taints) or None}}
        await self._client.merge_patch(self._path, patch)
