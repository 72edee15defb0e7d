"""Programs beside azure-cni as the API server shows them, and what `check` says of them."""

from __future__ import annotations

from typing import Any

from azure_cni.commands import program_reads, reads
from azure_cni.diagnose.check_results import CheckResult, ClusterCheck
from azure_cni.diagnose.checks import check_before
from azure_cni.diagnose.program_checks import check_programs
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import pod, process

FELIX = program_reads.FELIX.rpartition("/")[0]
CONFIGMAPS = "/api/v1/configmaps"


def daemon(  # of a pod
    app: str, *args: str, command: list[str] | None = None, env: list[dict[str, Any]] | None = None, host: bool = True,
    kind: str = "DaemonSet", owner: str = "", image: str = "", **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    body = pod(f"{app}-x", ip="10.240.0.4", phase="Running", host=host)
    body["metadata"] |= {
        "namespace": "kube-system",
        "labels": {"k8s-app": app},
        "ownerReferences": [{"kind": kind, "name": owner or app, "controller": True}],
    }
    container = {"name": app, "image": image, "args": list(args), "env": env or []}
    body["spec"] |= {
        "containers": [container | ({"command": command} if command else {})],
        "priorityClassName": "system-node-critical",
    } | changes
    body["status"]["conditions"].append({"type": "Ready", "status": "True"})
    return body


def agents(**settings: str) -> list[dict[str, Any]]:
    own = process("agent")
    env = [{"name": f"AZURE_CNI_{name}", "value": value} for name, value in settings.items()]
    own["spec"]["containers"] = [{"name": "agent", "env": env}]
    return [own, process("controller")]


def policy(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name}}


def with_objects(access: FakeClusterAccess, **objects: list[dict[str, Any]]) -> FakeClusterAccess:
    paths = {"policies": program_reads.POLICIES, "felix": FELIX, "nodepools": program_reads.NODE_POOLS}
    for name, bodies in objects.items():
        access.objects[paths.get(name, CONFIGMAPS)] = bodies
    return access


def configmap(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "kube-system", "name": name}, "data": data}


def checks(access: FakeClusterAccess) -> list[ClusterCheck]:
    return check_programs(program_reads.with_programs(access, reads.read_cluster(access)))


def wrong(access: FakeClusterAccess) -> list[ClusterCheck]:
    return [one for one in checks(access) if one.result is not CheckResult.GOOD]


def named(access: FakeClusterAccess) -> list[str]:
    """The codes that are not good."""
    return [one.code for one in wrong(access)]


def others(access: FakeClusterAccess) -> list[str]:
    found = check_before(program_reads.with_programs(access, reads.read_cluster(access)))
    return [one.message for one in found if one.code == "OtherNetwork" and one.result is not CheckResult.GOOD]
