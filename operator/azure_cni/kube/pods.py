"""The pods of this node, listed."""

from __future__ import annotations

from typing import Any, Final

from azure_cni.kube.client import KubeClient

PODS: Final = "/api/v1/pods"


class KubePods:
    """Implements `azure_cni.node.census.Pods` for the node of that name."""

    def __init__(self, client: KubeClient, *, node_name: str) -> None:
        self._client = client
        self._selector = f"spec.nodeName={node_name}"

    async def list(self) -> list[dict[str, Any]]:
        """All of them in one answer: a node has some hundreds at most.

        Not in pages, which API servers take from etcd and not from their index of pods by node: each of these small
        lists would then read every pod of the cluster.
        """
        return [pod async for pod in self._client.items(PODS, fieldSelector=self._selector)]
