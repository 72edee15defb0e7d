"""Mistakes with programs that run beside azure-cni (docs/works-beside.md): each is here by its pods' looks only."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from azurebox.facts import AGNHOST
from scenarios.harness.node import TAINT
from scenarios.harness.product import NAMESPACE, QUICK
from scenarios.harness.stage import Stage

PLUGINS = "/opt/cni/bin"
NODE_POOLS = "nodepools.karpenter.sh"
POLICY, LIMITED = "seeded-policy", "seeded-limit"


@contextmanager
def policies_without_an_engine(stage: Stage) -> Iterator[None]:
    stage.box.apply(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": POLICY, "namespace": NAMESPACE},
            "spec": {"podSelector": {"matchLabels": {"nobody": "here"}}},
        }
    )
    with _installed_again(stage):
        try:
            yield
        finally:
            stage.box.kubectl("delete", "-n", NAMESPACE, "networkpolicy", POLICY)


@contextmanager
def an_engine_that_may_be_evicted(stage: Stage) -> Iterator[None]:
    with _running(stage, "DaemonSet", "kube-network-policies"):
        yield


@contextmanager
def calico_without_the_names_of_its_links(stage: Stage) -> Iterator[None]:
    if stage.product.mode != "transparent":
        pytest.skip("beside Calico mode bridge is a second mistake, and the chart refuses both together")
    settings = {
        "CALICO_NETWORKING_BACKEND": "none",
        "FELIX_INTERFACEPREFIX": "acni",
        "FELIX_REMOVEEXTERNALROUTES": "false",
    }
    with _running(stage, "DaemonSet", "calico-node", env=settings), _installed_again(stage):
        yield


@contextmanager
def cilium_that_is_called_for_no_pod(stage: Stage) -> Iterator[None]:
    settings = _configmap("cilium-config", {"cni-chaining-mode": "generic-veth"})
    stage.box.apply(settings)
    try:
        with _plugin(stage, "cilium-cni"), _running(stage, "DaemonSet", "cilium"), _installed_again(stage):
            yield
    finally:
        stage.box.kubectl("delete", "-n", NAMESPACE, "configmap", "cilium-config")


@contextmanager
def a_limit_of_traffic_that_nothing_obeys(stage: Stage) -> Iterator[None]:
    spec = _spec(host_network=False) | {"nodeName": stage.node.name}
    metadata = {"name": LIMITED, "namespace": NAMESPACE, "annotations": {"kubernetes.io/egress-bandwidth": "50M"}}
    with _plugin(stage, "bandwidth"):
        stage.box.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        try:
            with _installed_again(stage):
                yield
        finally:
            stage.box.kubectl("delete", "-n", NAMESPACE, "pod", LIMITED)


@contextmanager
def multus_that_delegates_to_whatever_sorts_first(stage: Stage) -> Iterator[None]:
    with _running(stage, "DaemonSet", "multus", "--multus-conf-file=auto"):
        yield


@contextmanager
def an_autoscaler_that_does_not_know_the_taint(stage: Stage) -> Iterator[None]:
    with _running(stage, "Deployment", "cluster-autoscaler", "--cloud-provider=azure", host_network=False):
        yield


@contextmanager
def karpenter_that_starts_nodes_with_the_taint(stage: Stage) -> Iterator[None]:
    stage.box.apply(_definition())
    try:
        stage.box.kubectl("wait", "--for=condition=Established", f"crd/{NODE_POOLS}", "--timeout=60s")
        stage.box.apply(
            {
                "apiVersion": "karpenter.sh/v1",
                "kind": "NodePool",
                "metadata": {"name": "seeded"},
                "spec": {"template": {"spec": {"startupTaints": [TAINT]}}},
            }
        )
        with _running(stage, "Deployment", "karpenter", host_network=False):
            yield
    finally:
        stage.box.kubectl("delete", "crd", NODE_POOLS)


OF_PROGRAMS = (
    ("PoliciesNotEnforced", policies_without_an_engine),
    ("PolicyEngine", an_engine_that_may_be_evicted),
    ("CalicoSettings", calico_without_the_names_of_its_links),
    ("CiliumSettings", cilium_that_is_called_for_no_pod),
    ("LimitsIgnored", a_limit_of_traffic_that_nothing_obeys),
    ("MultusSettings", multus_that_delegates_to_whatever_sorts_first),
    ("AutoscalerSettings", an_autoscaler_that_does_not_know_the_taint),
    ("KarpenterSettings", karpenter_that_starts_nodes_with_the_taint),
)
"""What `check` calls each, and how it is made."""


@contextmanager
def _installed_again(stage: Stage) -> Iterator[None]:
    """As it was, whatever the named command has set."""
    try:
        yield
    finally:
        stage.product.install(QUICK)


@contextmanager
def _plugin(stage: Stage, name: str) -> Iterator[None]:
    """A program of that name, which does nothing to a pod, for the runtime to call."""
    for node in stage.nodes:
        node.run("cp", "--no-clobber", f"{PLUGINS}/loopback", f"{PLUGINS}/{name}")
    try:
        yield
    finally:
        for node in stage.nodes:
            node.run("rm", f"{PLUGINS}/{name}")


@contextmanager
def _running(
    stage: Stage, kind: str, name: str, *flags: str, env: Mapping[str, str] | None = None, host_network: bool = True
) -> Iterator[None]:
    """A workload that looks like this program: its label, its place, its flags and its environment."""
    labels = {"k8s-app": name}
    spec = _spec(flags, env=env or {}, host_network=host_network)
    stage.box.apply(
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        }
    )
    try:
        stage.box.kubectl("rollout", "status", "-n", NAMESPACE, f"{kind.lower()}/{name}", "--timeout=120s")
        yield
    finally:
        stage.box.kubectl("delete", "-n", NAMESPACE, f"{kind.lower()}/{name}", "--cascade=foreground")


def _spec(flags: Sequence[str] = (), *, env: Mapping[str, str] | None = None, host_network: bool) -> dict[str, Any]:
    """A pod that does nothing. Its flags are a shell's arguments, and no shell is what is named first: a flag may be
    added behind.
    """
    container = {
        "name": "idle",
        "image": AGNHOST,
        "imagePullPolicy": "Never",
        "command": ["/usr/bin/env", "sh", "-c", "sleep 3600", *flags],
        "env": [{"name": name, "value": value} for name, value in (env or {}).items()],
    }
    return {"hostNetwork": host_network, "terminationGracePeriodSeconds": 0, "containers": [container]}


def _configmap(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": dict(data),
    }


def _definition() -> dict[str, Any]:
    """Of Karpenter's NodePools, with nothing that it would refuse."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "NodePool", "listKind": "NodePoolList", "plural": "nodepools", "singular": "nodepool"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NODE_POOLS},
        "spec": {"group": "karpenter.sh", "names": names, "scope": "Cluster", "versions": [version]},
    }
