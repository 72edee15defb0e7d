"""This node's own Node object."""

from __future__ import annotations

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
