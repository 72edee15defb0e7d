"""Node objects (this node's own for the agent, any node's for the controller), and the pods of this node, listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from azure_cni.api.pod_annotations import PodCondition
from azure_cni.api.reading import mappings, object_labels, spec_of, status_of, text
from azure_cni.errors import KubeNotFound
from azure_cni.kube.client import KubeClient
from azure_cni.kube.lean_objects import PODS, pod_selector


class KubeNode:
    """Implements `azure_cni.node.ports.NodeObject` for the node of that name."""

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

    async def labels(self, name: str) -> Mapping[str, str]:
        """`metadata.labels`; none where there is no such Node."""
        try:
            return object_labels(await self._client.get(f"/api/v1/nodes/{name}"))
        except KubeNotFound:
            return {}

    async def is_silent(self, name: str) -> bool:
        """Its condition Ready is Unknown, as Kubernetes' node controller sets it."""
        try:
            node = await self._client.get(f"/api/v1/nodes/{name}")
        except KubeNotFound:
            return False
        ready = (one for one in mappings(status_of(node).get("conditions")) if one.get("type") == "Ready")
        return any(one.get("status") == "Unknown" for one in ready)


class KubePodConditions:
    """Implements `azure_cni.node.ports.PodConditions`."""

    def __init__(self, client: KubeClient, *, utc: Callable[[], str]) -> None:
        self._client = client
        self._utc = utc

    async def write(self, pod: Mapping[str, str], condition: PodCondition) -> None:
        """Set the condition on the pod of that reference, and leave its others alone."""
        written = {
            "type": condition.type,
            "status": "True" if condition.holds else "False",
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": self._utc(),
        }
        path = f"/api/v1/namespaces/{pod['namespace']}/pods/{pod['name']}/status"
        patch = {"metadata": {"uid": pod["uid"]}, "status": {"conditions": [written]}}
        await self._client.strategic_merge_patch(path, patch)


LIST_TIMEOUT_S: Final = 60.0
"""Pods of many hundreds of kilobytes each take long to arrive; they are parsed as they arrive."""


class KubePods:
    """Implements `azure_cni.node.ports.PodList` for the node of that name."""

    def __init__(self, client: KubeClient, *, node_name: str) -> None:
        self._client = client
        self._selector = pod_selector(node_name)

    async def list(self) -> list[dict[str, Any]]:
        """Those that have not ended, in one answer, reduced to the fields that are used (`lean_objects`).

        Not in pages, which API servers take from etcd and not from their index of pods by node: each of these small
        lists would then read every pod of the cluster.
        """
        pods = self._client.items(PODS, timeout_s=LIST_TIMEOUT_S, fieldSelector=self._selector)
        return [pod async for pod in pods]
