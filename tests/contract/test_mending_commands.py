"""What `azure-cni check` names for a mistake that the API server shows, run in a shell with kubectl on a real one.

No controller runs here: where one would have to act, what it acts upon is looked at. With all of a cluster, and with
nodes and Azure, the same is `e2e/scenarios/test_36_seeded_mistakes.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from azure_cni import __version__
from azure_cni.entrypoints.cli import main
from contract.person import Shell
from unit.diagnose.clusters import VNET, condition

Body = dict[str, Any]
NODE = "mended"
OURS = {"app.kubernetes.io/name": "azure-cni", "app.kubernetes.io/version": __version__}
POOL, QUOTA = f"nodeippool/{NODE}", "vnetquota/mended"
UNSET = ["--allocate-node-cidrs=false", "--configure-cloud-routes=false"]
FLAGS = ["--allocate-node-cidrs=true", "--configure-cloud-routes=true"]
KUBE_PROXY = {"clusterCIDR": "10.244.0.0/16", "detectLocal": {"interfaceNamePrefix": ""}, "detectLocalMode": ""}


def named(shell: Shell, code: str) -> list[Body]:
    """What `check` says by that code, if it is not good."""
    done = CliRunner().invoke(main, ["check", "-o", "json"], obj=shell.access, catch_exceptions=False)
    return [one for one in json.loads(done.stdout)["checks"] if one["code"] == code and one["result"] != "good"]


def body(kind: str, name: str, *, api: str = "v1", labels: Mapping[str, str] | None = None, **fields: Any) -> Body:
    cluster_wide = kind in {"Node", "NodeIPPool", "VNetQuota"}
    place = {} if cluster_wide else {"namespace": "kube-system"}
    return {
        "apiVersion": api,
        "kind": kind,
        "metadata": {"name": name, "labels": dict(labels or {}), **place},
        **fields,
    }


def spec_of_pods(*words: str) -> Body:
    return {"containers": [{"name": "c", "image": "none", "command": ["run", *words]}]}


def workload(kind: str, name: str, *words: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Body:
    marks = {"mark": name}
    template = {"metadata": {"labels": marks}, "spec": spec_of_pods(*words)}
    spec = {"selector": {"matchLabels": marks}, "template": template, **spec}
    return body(kind, name, api="apps/v1", labels=labels, spec=spec)


def pod_of(kind: str, owner: str, *words: str, labels: Mapping[str, str] | None = None) -> Body:
    """One that the workload has made."""
    made = body("Pod", f"{owner}-x", labels=labels, spec=spec_of_pods(*words) | {"nodeName": NODE})
    owners = [{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "0", "controller": True}]
    made["metadata"]["ownerReferences"] = owners
    return made


def pool(**spec: Any) -> Body:
    return body("NodeIPPool", NODE, api="azure-cni.io/v1alpha1", spec=spec)


def _command(workload: Body) -> list[str]:
    found: list[str] = workload["spec"]["template"]["spec"]["containers"][0]["command"]
    return found


def _is_by_name(configmap: Body) -> bool:
    """With all else as it was."""
    wanted = {
        "clusterCIDR": "",
        "detectLocal": {"interfaceNamePrefix": "acni"},
        "detectLocalMode": "InterfaceNamePrefix",
    }
    data = configmap["data"]
    return yaml.safe_load(data["config.conf"]) == wanted and data["kubeconfig.conf"] == "apiVersion: v1\n"


AGENT = pod_of("DaemonSet", "azure-cni-agent", labels=OURS | {"app.kubernetes.io/component": "agent"})
ENGINE = pod_of("DaemonSet", "kube-network-policies", labels={"app": "kube-network-policies"})
ENGINE["spec"]["hostNetwork"] = True
CONTROLLER = OURS | {"app.kubernetes.io/component": "controller"}
FULL = body("VNetQuota", "mended", api="azure-cni.io/v1alpha1", spec={"vnetID": VNET, "limit": 20})
OLDER = (
    "kubectl patch crd nodeippools.azure-cni.io --type=json -p "
    """'[{"op":"remove","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/applicationSecurityGroups"}]'"""
)


CILIUM = {"key": "node.cilium.io/agent-not-ready", "effect": "NoSchedule"}
ROUTELESS = {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "no route yet"}


@dataclass(frozen=True)
class Mistake:
    """`bodies` are created, then their `status` is written, then `seed` is run.

    `mended`: of an object (its kind and name) that a controller would act upon; without it `check` must be content.
    """

    code: str
    bodies: tuple[Body, ...]
    status: Mapping[str, Body]
    mended: tuple[str, Callable[[Body], bool]] | None = None
    seed: str = ""
    case: str = ""
    """Which of several ways to make it."""


MISTAKES = (
    *(
        Mistake(
            "KubeProxy",
            (
                body("ConfigMap", "kube-proxy", data={"config.conf": written, "kubeconfig.conf": "apiVersion: v1\n"}),
                workload("DaemonSet", "kube-proxy"),
            ),
            {},
            ("configmap/kube-proxy", _is_by_name),
            case=case,
        )
        for case, written in (
            ("a block", yaml.safe_dump(KUBE_PROXY)),
            ("one quoted string", yaml.safe_dump(KUBE_PROXY).replace("\n", " \n", 1)),  # a blank at a line's end
        )
    ),
    Mistake(
        "PodRanges",
        (workload("Deployment", "cloud-manager", *FLAGS), pod_of("ReplicaSet", "cloud-manager-5d4f8c7b9", *FLAGS)),
        {},
        ("deployment/cloud-manager", lambda one: _command(one) == ["run", *UNSET]),
    ),
    Mistake(
        "AutoscalerSettings",
        (
            workload("Deployment", "cluster-autoscaler"),
            pod_of("ReplicaSet", "cluster-autoscaler-5d4f8c7b9", labels={"app": "cluster-autoscaler"}),
        ),
        {},
        (
            "deployment/cluster-autoscaler",
            lambda one: _command(one) == ["run", "--status-taint=azure-cni.io/no-free-addresses"],
        ),
    ),
    Mistake(
        "PolicyEngine",
        (workload("DaemonSet", "kube-network-policies"), ENGINE),
        {"pod/kube-network-policies-x -n kube-system": {"conditions": [{"type": "Ready", "status": "True"}]}},
        (
            "daemonset/kube-network-policies",
            lambda one: one["spec"]["template"]["spec"]["priorityClassName"] == "system-node-critical",
        ),
    ),
    Mistake("LeftTaint", (body("Node", NODE, spec={"taints": [CILIUM]}),), {}),
    Mistake("CloudRoutes", (body("Node", NODE, status={"conditions": [ROUTELESS]}),), {}),
    Mistake("Paused", (pool(paused=True),), {}),
    Mistake("PodsBeyondPool", (pool(max=20), body("Node", NODE, status={"capacity": {"pods": "110"}})), {}),
    Mistake("OldDefinitions", (AGENT,), {}, seed=OLDER),
    Mistake(
        "QuotaExceeded",
        (FULL, pool()),
        {
            QUOTA: {"conditions": [condition("Ready", False, "QuotaExceeded", "nothing is left")]},
            POOL: {"vnetID": VNET, "requested": 24, "requestID": 1},
        },
        (QUOTA, lambda one: one["spec"]["limit"] == 24),
    ),
    Mistake(
        "AgentPriority",
        (workload("DaemonSet", "azure-cni-agent"), AGENT),
        {},
        (
            "daemonset/azure-cni-agent",
            lambda one: one["spec"]["template"]["spec"]["priorityClassName"] == "system-node-critical",
        ),
    ),
    Mistake(
        "AwaitingGrant",
        (FULL, AGENT, workload("Deployment", "azure-cni-controller", labels=CONTROLLER, replicas=0)),
        {},
        ("deployment/azure-cni-controller", lambda one: one["spec"]["replicas"] == 2),
    ),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[f"{one.code} {one.case}".strip() for one in MISTAKES])
def test_the_command_that_check_names_mends_it(shell: Shell, mistake: Mistake) -> None:
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": mistake.bodies})
    shell.run("kubectl create -f -", stdin=objects)
    try:
        for what, status in mistake.status.items():
            patch = json.dumps({"status": status})
            shell.run(f"kubectl patch {what} --subresource=status --type=merge -p '{patch}'")
        if mistake.seed:
            shell.run(mistake.seed)
        (found, *_) = named(shell, mistake.code)
        assert found["node"] == ""
        shell.run(found["command"])
        if mistake.mended is not None:
            what, is_mended = mistake.mended
            assert is_mended(shell.read(what))
        if mistake.mended is None or mistake.case:
            assert named(shell, mistake.code) == []
    finally:
        shell.run("kubectl delete --force --grace-period=0 --wait=false -f -", stdin=objects)
        if mistake.seed:
            shell.run("kubectl apply --server-side --force-conflicts -f crds/")
