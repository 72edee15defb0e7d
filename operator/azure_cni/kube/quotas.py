"""The VNetQuota objects in the Kubernetes API: few, made once, their status written by compare-and-swap."""

from __future__ import annotations

from typing import Final

from azure_cni.api import pool as pool_api
from azure_cni.api import quota as quota_api
from azure_cni.api.nic import VNetID
from azure_cni.api.quota import Draft, Limits, VNetQuota
from azure_cni.errors import KubeNotFound
from azure_cni.kube.client import KubeClient

GROUP_VERSION: Final = f"{pool_api.GROUP}/{pool_api.VERSION}"
QUOTAS: Final = f"/apis/{GROUP_VERSION}/{quota_api.PLURAL}"


class KubeQuotas:
    """Implements `azure_cni.cluster.ports.Quotas`."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def list(self) -> tuple[VNetQuota, ...]:
        """All of them."""
        return tuple([quota_api.read(body) async for body in self._client.items(QUOTAS)])

    async def read(self, name: str) -> VNetQuota | None:
        """One of them, None when there is none of that name."""
        try:
            return quota_api.read(await self._client.get(f"{QUOTAS}/{name}"))
        except KubeNotFound:
            return None

    async def create(self, name: str, *, vnet_id: VNetID, limits: Limits) -> VNetQuota:
        """Make one; KubeConflict when the name is taken."""
        body = quota_api.new_body(name, vnet_id=vnet_id, limits=limits, api_version=GROUP_VERSION)
        return quota_api.read(await self._client.create(QUOTAS, body))

    async def delete(self, seen: VNetQuota) -> None:
        """Remove one that is still as it was seen."""
        await self._client.delete(f"{QUOTAS}/{seen.name}", uid=seen.version.uid, version=seen.version.number)

    async def write(self, seen: VNetQuota, draft: Draft) -> VNetQuota:
        """Change the status: a compare-and-swap on `seen`."""
        patch = {"metadata": {"resourceVersion": seen.version.number}, "status": draft.status()}
        return quota_api.read(await self._client.merge_patch(f"{QUOTAS}/{seen.name}/status", patch))
