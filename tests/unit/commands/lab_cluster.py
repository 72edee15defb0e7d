"""A cluster in which `azure-cni test` can run: pods that are made get addresses, and what they ask is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from azure_cni.commands.network_run import DNS
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import cluster, condition, node, pool, process

CLUSTER_IP = "10.96.0.20"
NODE_ADDRESSES = {"vm1": "10.240.0.4", "vm2": "10.240.0.5"}
ON_VM1 = ["10.240.0.36", "10.240.0.37"]
POOL_ADDRESSES = {"vm1": ON_VM1, "vm2": ["10.240.0.68"]}
Answer = Callable[[str, str], tuple[int, str]]
"""Of a request: the caller's address and the URL to curl's exit status, and what curl prints."""


def network(caller: str, url: str) -> tuple[int, str]:
    """As it should be."""
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    if host in {"169.254.169.254", "168.63.129.16"}:
        return 7, "curl: (7) Failed to connect 000"
    if url.endswith("/clientip"):
        return 0, f"{caller}:41000 200"
    if url.endswith("/hostname"):
        return 0, "near 200"
    return 0, '{"caller": "10.240.0.4"} 200'


class LabCluster(FakeClusterAccess):
    """`network` answers requests; pods of `stuck` roles do not become ready; `before` is called with each path that
    something is made at.
    """

    def __init__(self, *nodes: Mapping[str, Any], network: Answer = network) -> None:
        pools = [pool(name, vnetAddresses=[f"{one} c" for one in held]) for name, held in POOL_ADDRESSES.items()]
        agents = [process("agent", name) for name in POOL_ADDRESSES]
        super().__init__(cluster(pools=pools, nodes=list(nodes) or nodes_of("vm1", "vm2"), processes=agents).objects)
        self.objects |= {
            "/api/v1/namespaces": [],
            "/api/v1/services": [{"metadata": {"namespace": "kube-system", "name": DNS.rpartition("/")[2]}}],
        }
        self.network = network
        self.stuck: set[str] = set()
        self.before: Callable[[str], None] = lambda _: None
        self._left = {name: list(held) for name, held in POOL_ADDRESSES.items()}

    def create_object(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Pods are scheduled at once, and ready, and a Service has its address."""
        self.before(path)
        made = super().create_object(path, body)
        if path.endswith("/pods"):
            terms = body["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            (name,) = terms["nodeSelectorTerms"][0]["matchFields"][0]["values"]
            made["spec"]["nodeName"] = name  # type: ignore[index]
            address = "" if body["metadata"]["name"] in self.stuck else self._left[name].pop(0)
            shown = {"podIP": address, "podIPs": [{"ip": address}]} if address else {}
            made["status"] = {"phase": "Running", "conditions": [condition("Ready", bool(address), "")], **shown}  # type: ignore[index]
            made["metadata"]["uid"] = body["metadata"]["name"]  # type: ignore[index]
        if path.endswith("/services"):
            made["spec"]["clusterIP"] = CLUSTER_IP  # type: ignore[index]
        return made

    def run_in_pod(self, namespace: str, pod: str, command: Sequence[str], *, container: str = "agent") -> bytes:
        """What the pod's requests come to, the last first: they are made at the same time."""
        assert container == pod
        body = self.read_object(f"/api/v1/namespaces/{namespace}/pods/{pod}")
        _, _, _, _, _, *urls = command
        answers = [self.network(body["status"]["podIP"], url) for url in urls]
        lines = [f"{number} {status} {said}\n" for number, (status, said) in enumerate(answers)]
        return "".join(reversed(lines)).encode()

    @property
    def made(self) -> list[str]:
        """All that is there of a test."""
        names = {"/api/v1/namespaces", "/api/v1/pods", "/api/v1/services"}
        found = [one["metadata"] for path in names for one in self.objects[path]]
        return sorted(meta["name"] for meta in found if meta.get("namespace") != "kube-system")


def nodes_of(*names: str) -> list[dict[str, Any]]:
    return [node(name) | {"status": node(name)["status"] | _addressed(name)} for name in names]


def _addressed(name: str) -> dict[str, Any]:
    return {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESSES[name]}]}
