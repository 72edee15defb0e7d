"""The NodeIPPools of all nodes, as the controller needs them: read, and answered by compare-and-swap."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from azure_cni.errors import KubeNotFound
from azure_cni.kube.client import KubeClient
from azure_cni.kube.pools import COLLECTION

PAGE: Final = 100
"""Pools of one answer: a pool with 250 addresses is some 20 KiB, and ten times that as objects."""


class KubeMemberPools:
    """Implements `azure_cni.cluster.ports.Pools`."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def walk(self) -> AsyncIterator[Mapping[str, Any]]:
        """Every pool, page by page."""
        async for body in self._client.items(COLLECTION, limit=str(PAGE)):
            yield body

    async def read(self, name: str) -> Mapping[str, Any] | None:
        """One pool, None when there is none."""
        try:
            return await self._client.get(f"{COLLECTION}/{name}")
        except KubeNotFound:
            return None

    async def write(self, name: str, *, version: str, status: Mapping[str, Any]) -> Mapping[str, Any]:
        """Merge `status` into a pool that is still at that version."""
        patch = {"metadata": {"resourceVersion": version}, "status": status}
        return await self._client.merge_patch(f"{COLLECTION}/{name}/status", patch)
