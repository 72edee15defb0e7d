"""Pods that others start pass for no agent and no controller, whatever their labels say."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from azure_cni.api.introspection import NodeReport, encode_report
from azure_cni.commands.reads import PODS
from fakes.cluster_access import FakeClusterAccess
from unit.commands.running import AGENT, answering, run
from unit.diagnose.clusters import cluster, process

TENANTS = "a-cart"


def imposter(component: str = "agent", *, namespace: str = "dev", owned: bool = True, **traits: Any) -> dict[str, Any]:
    """A pod that has all of an agent or controller that its owner can write."""
    made = process(component, **traits)
    made["metadata"] |= {"namespace": namespace, "name": TENANTS}
    if not owned:
        del made["metadata"]["ownerReferences"]
    return made


def with_first(access: FakeClusterAccess, *pods: dict[str, Any]) -> FakeClusterAccess:
    """The API server lists by namespace: those of `dev` come before those of `kube-system`."""
    access.objects[PODS] = [*pods, *access.objects[PODS]]
    access.printed[TENANTS] = encode_report(NodeReport(node="vm1", version="a lie", time="2026-11-28T07:00:00Z"))
    return access


@pytest.mark.parametrize("traits", [{}, {"namespace": "kube-system", "owned": False}])
def test_a_pod_with_an_agents_labels_is_not_asked(traits: dict[str, Any]):
    access = with_first(answering(cluster()), imposter(**traits))
    found = run(access, "plan", "vm1", "-o", "json")
    assert [pod for _, pod, _ in access.ran] == [AGENT]
    assert json.loads(found.stdout)["report"]["version"] != "a lie"


def test_pods_that_are_no_agents_are_no_finding():
    access = with_first(cluster(), imposter(node="nowhere", ready=False, version="9.9"))
    found = run(access, "status")
    assert (found.exit_code, "nowhere" in found.stdout, "9.9" in found.stdout) == (0, False, False)


def test_a_pod_with_a_controllers_labels_hides_no_missing_controller():
    access = with_first(cluster(processes=[process("agent")]), imposter("controller"))
    found = run(access, "status")
    assert found.exit_code == 1
    assert "no controller is ready" in found.stdout


def test_a_report_has_no_log_of_it_and_its_namespace_is_no_open_one(tmp_path: Path):
    access = with_first(answering(cluster()), imposter(namespace="dev", node="vm1"))
    access.logs |= {AGENT: "pod dev/secret-1 waits\n", "azure-cni-controller-vm1": "x\n", TENANTS: "Jane Doe\n"}
    pods = access.objects[PODS]
    pods.append({"metadata": {"namespace": "dev", "name": "secret-1"}, "spec": {}, "status": {}})
    target = tmp_path / "report.tar.gz"
    assert run(access, "report", "-f", str(target)).exit_code == 0
    with tarfile.open(target) as archive:
        files = [archive.extractfile(one) for one in archive.getmembers()]
        text = b"".join(file.read() for file in files if file is not None)
    assert (b"Jane Doe" in text, b"secret-1" in text) == (False, False)


def test_the_namespace_of_the_release_can_be_another():
    own = [process("agent"), process("controller")]
    for one in own:
        one["metadata"]["namespace"] = "network"
    access = answering(cluster(processes=own))
    assert "--system-namespace" in run(access, "status").stdout
    assert run(access, "status", "--system-namespace", "network").exit_code == 0
    assert run(access, "plan", "vm1", "--system-namespace", "network").exit_code == 0
    assert access.ran[0][:2] == ("network", AGENT)
