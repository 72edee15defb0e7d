"""The Lease (coordination.k8s.io/v1) that controllers compete for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure_cni.errors import KubeNotFound
from azure_cni.kube.client import KubeClient


class KubeLease:
    """Implements `azure_cni.cluster.ports.Leases` for the lease of that name."""

    def __init__(self, client: KubeClient, *, namespace: str, name: str) -> None:
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name

    async def read(self) -> Mapping[str, Any] | None:
        """The object, None when there is none."""
        try:
            return await self._client.get(f"{self._collection}/{self._name}")
        except KubeNotFound:
            return None

    async def create(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make it; KubeConflict when somebody was faster."""
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name},
            "spec": dict(spec),
        }
        return await self._client.create(self._collection, body)

    async def write(self, observed: Mapping[str, Any], spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change it: a compare-and-swap on `observed`."""
        patch = {"metadata": {"resourceVersion": observed["metadata"]["resourceVersion"]}, "spec": dict(spec)}
        return await self._client.merge_patch(f"{self._collection}/{self._name}", patch)
