"""A small cluster for tests of the command line: one node vm1 with its pool, quota, agent, controller and a pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure_cni import __version__
from azure_cni.commands.reads import NODES, PODS, POOLS, QUOTAS
from fakes.cluster_access import FakeClusterAccess

VNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/vnet"
NIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/vm1-nic"
THEN = "2026-11-28T06:00:00Z"
NOW_S = 1795846766.0  # 2026-11-28T06:19:26Z
EVENTS = "/api/v1/events"
OF_STATUS = ("conditions", "capacity", "nodeInfo")


def condition(kind: str, holds: bool, reason: str, message: str = "") -> dict[str, str]:  # noqa: FBT001
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": THEN,
    }


def pool(node: str = "vm1", *conditions: Mapping[str, str], **status: Any) -> dict[str, Any]:
    """A NodeIPPool with two addresses, and Ready if no condition says otherwise."""
    ready = [] if any(one["type"] == "Ready" for one in conditions) else [condition("Ready", True, "PodsCanStart")]
    filled = {
        "vnetID": VNET,
        "nicID": NIC,
        "macAddress": "00:0d:3a:00:00:01",
        "primaryIP": "10.240.0.4",
        "allocated": 2,
        "assigned": 1,
        "free": 1,
        "granted": 2,
        "vnetAddresses": ["10.240.0.36 azure-cni-0aaaaaaa", "10.240.0.37 azure-cni-0bbbbbbb"],
        "lastRead": {"time": THEN, "request": ""},
        "conditions": [*ready, *conditions],
    }
    return {"metadata": {"name": node, "uid": f"pool-{node}"}, "spec": {}, "status": filled | status}


def quota(*conditions: Mapping[str, str], **status: Any) -> dict[str, Any]:
    filled = {
        "grants": {"vm1": {"count": 2, "requestID": 1}},
        "assigned": 1,
        "budget": {"tokens": 5, "capacity": 5, "time": THEN, "pace": 1.0},
        "conditions": list(conditions) or [condition("Ready", True, "Granting")],
    }
    return {"metadata": {"name": "vnet"}, "spec": {"vnetID": VNET, "limit": 100}, "status": filled | status}


def pod(
    name: str = "web", *, node: str = "vm1", ip: str = "", phase: str = "Pending", host: bool = False, message: str = ""
) -> dict[str, Any]:
    """A pod of namespace default, placed on that node; "" for none yet, and then `message` is the scheduler's."""
    scheduled = {"type": "PodScheduled", "status": "True" if node else "False", "message": message}
    return {
        "metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}", "creationTimestamp": THEN},
        "spec": {**({"nodeName": node} if node else {}), **({"hostNetwork": True} if host else {})},
        "status": {
            "phase": phase,
            "conditions": [scheduled | {"lastTransitionTime": THEN}],
            **({"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}),
        },
    }


def event(
    name: str, reason: str, message: str, *, at: str = "2026-11-28T06:19:20Z", kind: str = "Pod"
) -> dict[str, Any]:
    """One about that pod, or another object of that name."""
    return {
        "metadata": {"namespace": "default", "name": f"{name}-{reason}-{at}"},
        "involvedObject": {"kind": kind, "name": name, "uid": f"uid-{name}"},
        "reason": reason,
        "message": message,
        "firstTimestamp": THEN,
        "lastTimestamp": at,
        "count": 3,
    }


def process(component: str, node: str = "vm1", *, ready: bool = True, version: str = __version__) -> dict[str, Any]:
    """A pod of azure-cni's own."""
    labels = {
        "app.kubernetes.io/name": "azure-cni",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/version": version,
    }
    return {
        "metadata": {
            "namespace": "kube-system",
            "name": f"azure-cni-{component}-{node}",
            "labels": labels,
            "ownerReferences": [
                {
                    "kind": "DaemonSet" if component == "agent" else "ReplicaSet",
                    "name": f"azure-cni-{component}",
                    "controller": True,
                }
            ],
        },
        "spec": {"nodeName": node, "hostNetwork": True, "priorityClassName": "system-node-critical"},
        "status": {
            "phase": "Running",
            "podIP": "10.240.0.4",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"restartCount": 0, "state": {"running": {}}}],
        },
    }


def on_windows(body: dict[str, Any]) -> dict[str, Any]:
    """The same Node or agent, of Windows."""
    labels = body["metadata"]["labels"]
    own = "kubernetes.io/os" if "kubernetes.io/os" in labels else "azure-cni.io/system"
    return body | {"metadata": body["metadata"] | {"labels": labels | {own: "windows"}}}


def node(name: str = "vm1", *, tainted: bool = False, **changes: Any) -> dict[str, Any]:
    """A Node for which every check is good; `changes` are of its spec, or of its status where the key is there."""
    taints = [{"key": "azure-cni.io/no-free-addresses", "effect": "NoSchedule"}] if tainted else []
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
        "spec": {"taints": taints, "providerID": f"azure:///subscriptions/s/virtualMachines/{name}"}
        | {key: value for key, value in changes.items() if key not in OF_STATUS},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "capacity": {"pods": "110"},
            "nodeInfo": {"kubeletVersion": "v1.36.3"},
        }
        | {key: value for key, value in changes.items() if key in OF_STATUS},
    }


def cluster(
    *pods: Mapping[str, Any],
    pools: list[dict[str, Any]] | None = None,
    quotas: list[dict[str, Any]] | None = None,
    nodes: list[dict[str, Any]] | None = None,
    processes: list[dict[str, Any]] | None = None,
    events: list[dict[str, Any]] | None = None,
) -> FakeClusterAccess:
    """A cluster in which all is well but what is said."""
    own = [process("agent"), process("controller")] if processes is None else processes
    return FakeClusterAccess(
        {
            POOLS: [pool()] if pools is None else pools,
            QUOTAS: [quota()] if quotas is None else quotas,
            NODES: [node()] if nodes is None else nodes,
            PODS: [*own, *pods],
            EVENTS: events or [],
        }
    )
