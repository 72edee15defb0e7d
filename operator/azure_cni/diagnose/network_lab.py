"""What `azure-cni test` makes in a cluster, and on which nodes. Pure.

A namespace with Pod Security `restricted`, three pods and a Service; all have the label of their run, by which they are
found again, and the pods an end of their own, should nobody be left to remove them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from azure_cni.api.reading import mapping, metadata_of, text
from azure_cni.diagnose.evidence import ClusterEvidence, NodeFacts
from azure_cni.diagnose.network_checks import CALLER, FAR, NEAR, PORT
from azure_cni.errors import ConfigInvalid, KubeNotFound
from azure_cni.model.text import counted, few

NAMESPACE: Final = "azure-cni-test"
IMAGE: Final = "registry.k8s.io/e2e-test-images/agnhost:2.53"
"""Kubernetes' own test server, which has curl and a shell beside it."""
MADE_BY: Final = "azure-cni.io/made-by"
TEST: Final = "azure-cni-test"
"""The value of that label."""
RUN: Final = "azure-cni.io/test-run"
ENDS_S: Final = 900
"""After which the kubelet ends the pods, whoever has forgotten them."""
SERVICE: Final = "web"
TWO: Final = 2


def choose_nodes(evidence: ClusterEvidence, named: Sequence[str]) -> tuple[NodeFacts, ...]:
    """One or two nodes that take pods: those that were named, or those with the most free addresses.

    ConfigInvalid for a node that cannot, KubeNotFound where none can.
    """
    able = {node.name: node for node in evidence.nodes if node.ready and node.linux and not node.cordoned}
    named = list(dict.fromkeys(named))
    if len(named) > TWO:
        raise ConfigInvalid(f"cannot test on {few(named)} at once: name two nodes at most")
    wrong = [name for name in named if name not in able]
    if wrong:
        raise ConfigInvalid(
            f"cannot test on {few(wrong)}: it has to be a Linux node that is Ready and takes new pods; see kubectl get "
            "nodes"
        )
    if not able:
        raise KubeNotFound(
            f"cannot test the network: of {counted(len(evidence.nodes), 'node')}, none runs Linux, is Ready and takes "
            "new pods; see kubectl get nodes, and azure-cni status"
        )
    free = {pool.name: pool.free for pool in evidence.pools}
    order = list(named) or sorted(able, key=lambda name: (name not in free, -free.get(name, 0), name))
    return tuple(able[name] for name in order[:TWO])


def placed(nodes: Sequence[NodeFacts]) -> dict[str, str]:
    """The node of each pod, by role."""
    first, *others = (node.name for node in nodes)
    return {CALLER: first, NEAR: first, **({FAR: others[0]} if others else {})}


def namespace_object(name: str, run: str) -> dict[str, Any]:
    """Nothing in it may do more than Pod Security's `restricted` allows."""
    labels = {MADE_BY: TEST, RUN: run, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod_object(role: str, node: str, run: str, *, image: str) -> dict[str, Any]:
    """A web server that says who calls it; for a role of `placed`. The scheduler places it, on that node only."""
    on_node = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": on_node}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": role, "labels": labels_of(run) | {"role": role}},
        "spec": {
            "activeDeadlineSeconds": ENDS_S,
            "affinity": {"nodeAffinity": required},
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": role,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["netexec", f"--http-port={PORT}"],
                    "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def service_object(run: str) -> dict[str, Any]:
    """Of the pods that do not ask for it: who reaches himself by his Service is translated, as it must be."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE, "labels": labels_of(run)},
        "spec": {
            "selector": {RUN: run, "role": NEAR},
            "ports": [{"port": 80, "targetPort": PORT}],
        },
    }


def labels_of(run: str) -> dict[str, str]:
    """Of all that a run makes."""
    return {"app.kubernetes.io/name": TEST, RUN: run}


def run_of(body: Mapping[str, Any]) -> str:
    """The run that made an object; "" for one that none made."""
    return text(mapping(metadata_of(body).get("labels")).get(RUN))


def is_made_by_test(namespace: Mapping[str, Any]) -> bool:
    """Whether a namespace is a test's own, and not one that somebody prepared."""
    return mapping(metadata_of(namespace).get("labels")).get(MADE_BY) == TEST
