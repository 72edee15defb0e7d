"""The Node objects of all nodes, as far as the controller looks at them."""

from __future__ import annotations

from azure_cni.api.reading import spec_of, text
from azure_cni.errors import KubeNotFound
from azure_cni.kube.client import KubeClient


class KubeMemberNodes:
    """Implements `azure_cni.cluster.ports.Nodes`."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def provider_id(self, name: str) -> str:
        """`spec.providerID`; "" when it is not set, or there is no such Node."""
        try:
            node = await self._client.get(f"/api/v1/nodes/{name}")
        except KubeNotFound:
            return ""
        return text(spec_of(node).get("providerID"))
