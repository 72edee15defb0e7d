"""The VNetQuota objects in the Kubernetes API: few, created once, their status written by compare-and-swap."""

from __future__ import annotations

from typing import Final

from azure_cni.api import node_ip_pool, vnet_quota
from azure_cni.api.vnet_quota import Draft, Limits, VNetQuota
from azure_cni.errors import KubeNotFound
from azure_cni.kube.client import KubeClient
from azure_cni.model.nic import VNetID

GROUP_VERSION: Final = f"{node_ip_pool.GROUP}/{node_ip_pool.VERSION}"
QUOTAS: Final = f"/apis/{GROUP_VERSION}/{vnet_quota.PLURAL}"


class KubeQuotas:
    """Implements `azure_cni.cluster.ports.Quotas`."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def list(self) -> tuple[VNetQuota, ...]:
        """All of them."""
        return tuple([vnet_quota.parse(body) async for body in self._client.items(QUOTAS)])

    async def read(self, name: str) -> VNetQuota | None:
        """One of them, None when there is none of that name."""
        try:
            return vnet_quota.parse(await self._client.get(f"{QUOTAS}/{name}"))
        except KubeNotFound:
            return None

    async def create(self, name: str, *, vnet_id: VNetID, limits: Limits) -> VNetQuota:
        """Make one; KubeConflict when the name is taken."""
        body = vnet_quota.new_body(name, vnet_id=vnet_id, limits=limits, api_version=GROUP_VERSION)
        return vnet_quota.parse(await self._client.create(QUOTAS, body))

    async def delete(self, observed: VNetQuota) -> None:
        """Remove one that is still as it was observed."""
        await self._client.delete(
            f"{QUOTAS}/{observed.name}", uid=observed.version.uid, version=observed.version.number
        )

    async def write(self, observed: VNetQuota, draft: Draft) -> VNetQuota:
        """Change the status: a compare-and-swap on `observed`."""
        patch = {"metadata": {"resourceVersion": observed.version.number}, "status": draft.status()}
        return vnet_quota.parse(await self._client.merge_patch(f"{QUOTAS}/{observed.name}/status", patch))
