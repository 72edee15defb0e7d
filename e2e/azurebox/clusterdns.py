"""Cluster DNS as kubeadm sets it up: CoreDNS in two pods on the pods' network, behind the Service `kube-dns`.

The pods wait until a node can take them, that is for azure-cni. Names outside the cluster are the cloud's resolver's.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from azurebox.controlplane import kubectl
from azurebox.facts import CLUSTER_DNS
from azurebox.image import COREDNS

NAMESPACE = "kube-system"
NAME = "coredns"
LABELS = {"k8s-app": "kube-dns"}
REPLICAS = 2
PORT = 53
READY_WITHIN = GONE_WITHIN = "180s"

COREFILE = """\
.:53 {
    errors
    log
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}
"""
"""As of kubeadm, and with `log`: who asked for what."""


def apply() -> None:
    """Have it run, whatever was there of it before."""
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents()}))


def await_ready() -> None:
    """Wait until both of its pods answer. StepError: they do not."""
    kubectl("rollout", "status", "deployment", NAME, f"--namespace={NAMESPACE}", f"--timeout={READY_WITHIN}")


def withdraw() -> None:
    """Take its pods away, if there are any, and wait until they are gone."""
    kubectl("delete", "deployment", NAME, f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait=false")
    pods = (f"--namespace={NAMESPACE}", "--selector", _selector(LABELS))
    kubectl("delete", "pods", *pods, "--ignore-not-found", f"--timeout={GONE_WITHIN}")


def container(*, corefile: str = "/etc/coredns/Corefile", health: str = "") -> dict[str, Any]:
    """A container of CoreDNS that finds its Corefile in the volume `config`; `health` is the host of its probes."""
    host = {"host": health} if health else {}
    return {
        "name": "coredns",
        "image": COREDNS,
        "imagePullPolicy": "Never",
        "args": ["-conf", corefile],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        "ports": [
            {"name": f"dns-{protocol.lower()}", "containerPort": PORT, "protocol": protocol}
            for protocol in ("UDP", "TCP")
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181, **host}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            "readOnlyRootFilesystem": True,
        },
    }


def documents() -> Sequence[Mapping[str, Any]]:
    """All of its objects."""
    metadata = {"name": NAME, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    reads = ["list", "watch"]
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role["name"]},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": reads},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reads},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role["name"]},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": COREFILE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": NAMESPACE, "labels": LABELS},
            "spec": {
                "clusterIP": str(CLUSTER_DNS),
                "selector": LABELS,
                "ports": [
                    {"name": f"dns-{protocol.lower()}", "port": PORT, "protocol": protocol}
                    for protocol in ("UDP", "TCP")
                ],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**metadata, "labels": LABELS},
            "spec": {
                "replicas": REPLICAS,
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": _pod()},
            },
        },
    )


def _pod() -> dict[str, Any]:
    apart = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": LABELS},
    }
    return {
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",  # its own names are the cloud's
        "topologySpreadConstraints": [apart],
        "containers": [container()],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
