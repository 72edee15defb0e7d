"""The pods of this node, listed."""

from __future__ import annotations

from typing import Any, Final

from azure_cni.kube.client import KubeClient
from azure_cni.kube.lean_pods import PODS, selector

__all__ = ["PODS", "KubePods"]

LIST_TIMEOUT_S: Final = 60.0
"""Pods of many hundreds of kilobytes each take their time; they are read as they come."""


class KubePods:
    """Implements `azure_cni.node.census.Pods` for the node of that name."""

    def __init__(self, client: KubeClient, *, node_name: str) -> None:
        self._client = client
        self._selector = selector(node_name)

    async def list(self) -> list[dict[str, Any]]:
        """Those that have not ended, in one answer, of which only the little that is used is kept (`lean_pods`).

        Not in pages, which API servers take from etcd and not from their index of pods by node: each of these small
        lists would then read every pod of the cluster.
        """
        pods = self._client.items(PODS, timeout_s=LIST_TIMEOUT_S, fieldSelector=self._selector)
        return [pod async for pod in pods]
