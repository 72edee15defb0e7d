"""The pods of the demo: for each node a Deployment of ten that serve HTTP, bound to that node, and their Service.
For Docker's tour one such pod.

Nothing here belongs to azure-cni: they are the pods of anyone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from azurebox.client import Box
from azurebox.facts import AGNHOST, PREFIX
from azurebox.steps import wait_for

LABEL = "app=demo"
PODS_PER_NODE = 10
PORT = 8080
START_TIMEOUT_S = 90
SERVER = {
    "name": "server",
    "image": AGNHOST,
    "args": ["netexec", f"--http-port={PORT}"],
    "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs."""

    name: str
    node: str
    address: IPv4Address


def workload_name(node: str) -> str:
    """Of the Deployment of the pods on `node`, and of their Service."""
    return f"demo-{node.removeprefix(PREFIX)}"


def start(box: Box) -> list[Pod]:
    """Have ten pods on each node, whatever was there of them before, and wait until they serve.

    Raises:
        StepError: they do not; carries what there is and the last events.

    """
    box.apply(*(make(node) for node in box.nodes for make in (_deployment, _service)))
    wanted = dict.fromkeys(box.nodes, PODS_PER_NODE)

    def complete() -> list[Pod]:
        items = box.kubectl_json("get", "pods", "--selector", LABEL)["items"]
        serving = _serving(items)
        counts = Counter(pod.node for pod in serving)
        return serving if len(items) == len(serving) and counts == wanted else []

    return wait_for(complete, timeout_s=START_TIMEOUT_S, what="the demo's pods to serve", explain=lambda: _explain(box))


@contextmanager
def one_pod(box: Box, name: str) -> Iterator[Pod]:
    """A pod of that name on the first node, which serves, and which nobody waits for when it ends.

    Raises:
        StepError: it does not serve; carries what there is and the last events.

    """
    box.kubectl("delete", "pod", name, "--ignore-not-found")
    where = {"nodeSelector": {"kubernetes.io/hostname": box.nodes[0]}, "terminationGracePeriodSeconds": 1}
    box.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {**where, "containers": [SERVER]},
        }
    )
    try:
        [pod] = wait_for(
            lambda: _serving([box.kubectl_json("get", "pod", name)]),
            timeout_s=START_TIMEOUT_S,
            what=f"the pod {name} to serve",
            explain=lambda: box.kubectl("get", "pod", name) + box.kubectl("events", "--types=Warning"),
        )
        yield pod
    finally:
        box.kubectl("delete", "pod", name, "--wait=false")


def addressed(box: Box) -> dict[str, int]:
    """How many pods on each node have an address of their own, anyone's pods."""
    counts = dict.fromkeys(box.nodes, 0)
    for item in box.kubectl_json("get", "pods", "--all-namespaces")["items"]:
        spec, status = item["spec"], item["status"]
        if not spec.get("hostNetwork") and status.get("podIP") and status["phase"] in {"Pending", "Running"}:
            counts[spec["nodeName"]] += 1
    return counts


def _serving(items: Sequence[dict[str, Any]]) -> list[Pod]:
    """Those that are ready and not about to end."""
    return [
        Pod(item["metadata"]["name"], item["spec"]["nodeName"], IPv4Address(item["status"]["podIP"]))
        for item in items
        if "deletionTimestamp" not in item["metadata"]
        and any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in item["status"].get("conditions", ())
        )
    ]


def _explain(box: Box) -> str:
    return box.kubectl("get", "pods", "--selector", LABEL) + box.kubectl("events", "--types=Warning")


def _deployment(node: str) -> dict[str, Any]:
    labels = {"app": "demo", "on": node}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": workload_name(node), "namespace": "default", "labels": {"app": "demo"}},
        "spec": {
            "replicas": PODS_PER_NODE,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    "terminationGracePeriodSeconds": 1,
                    "containers": [SERVER],
                },
            },
        },
    }


def _service(node: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": workload_name(node), "namespace": "default", "labels": {"app": "demo"}},
        "spec": {"selector": {"app": "demo", "on": node}, "ports": [{"port": 80, "targetPort": PORT}]},
    }
