"""`check`: each mistake that the API server shows is found, by a code that never changes, and leads to a section."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from azure_cni import __version__
from azure_cni.commands import reads
from azure_cni.diagnose.checks import CheckResult, ClusterCheck, check_after, check_before
from azure_cni.diagnose.definition_checks import check_definitions
from azure_cni.diagnose.overview import survey
from azure_cni.diagnose.pool_checks import check_ledgers
from azure_cni.model.text import seconds_of
from fakes.cluster_access import FakeClusterAccess
from unit.chart.crds import POOLS, QUOTAS
from unit.commands.reference_table import sections
from unit.diagnose.clusters import NOW_S, THEN, cluster, condition, node, pod, pool, process

READY = {"type": "Ready", "status": "True"}
SCALE_SET = "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool"


def checks(access: FakeClusterAccess) -> list[ClusterCheck]:
    return check_before(reads.read_cluster(access))


def test_a_cluster_in_which_every_check_is_good():
    found = checks(cluster(pod(ip="10.240.0.36", phase="Running")))
    assert [(one.code, one.message) for one in found if one.result is not CheckResult.GOOD] == []
    assert len({one.code for one in found}) == len(found) == 9


@pytest.mark.parametrize(
    ("changes", "code", "result"),
    [
        ({"providerID": f"{SCALE_SET}/virtualMachines/3"}, "UniformScaleSet", CheckResult.WARNING),
        ({"conditions": [READY, {"type": "NetworkUnavailable", "status": "True"}]}, "CloudRoutes", CheckResult.BAD),
        ({"podCIDR": "10.244.1.0/24"}, "PodCIDR", CheckResult.WARNING),
        ({"capacity": {"pods": "300"}}, "TooManyPods", CheckResult.WARNING),
        ({"providerID": ""}, "NoProviderID", CheckResult.WARNING),
        ({"providerID": "kind://docker/x"}, "NoProviderID", CheckResult.WARNING),
        ({"nodeInfo": {"kubeletVersion": "v1.29.4+rke2r1"}}, "OldKubernetes", CheckResult.BAD),
        ({"capacity": {"pods": "9" * 5000}}, "TooManyPods", CheckResult.WARNING),
    ],
)
def test_each_mistake_is_one_check_and_names_the_node(changes: dict[str, Any], code: str, result: CheckResult):
    found = checks(cluster(nodes=[node(), node("vm2", **changes)]))
    (wrong,) = [one for one in found if one.result is not CheckResult.GOOD]
    assert (wrong.code, wrong.result) == (code, result)
    assert wrong.message.endswith(": vm2")
    assert wrong.do


@pytest.mark.parametrize(
    "changes",
    [
        {"providerID": f"{SCALE_SET}_0"},
        {"capacity": {}},
        {"nodeInfo": {}},
        {"nodeInfo": {"kubeletVersion": "v1." + "9" * 5000}},
    ],
)
def test_what_is_no_mistake_or_not_said_is_none(changes: dict[str, Any]):
    assert {one.result for one in checks(cluster(nodes=[node(**changes)]))} == {CheckResult.GOOD}


@pytest.mark.parametrize(
    ("key", "label", "name"),
    [
        ("k8s-app", "calico-node", "Calico"),
        ("k8s-app", "cilium", "Cilium"),
        ("app", "flannel", "Flannel"),
        ("app", "kube-ovn-cni", "Kube-OVN"),
        ("name", "weave-net", "Weave Net"),  # its DaemonSet has no other label
    ],
)
def test_another_network_plugin_is_named(key: str, label: str, name: str):
    other = pod("theirs", ip="10.240.0.4", phase="Running", host=True)
    other["metadata"]["labels"] = {key: label}
    (wrong,) = [one for one in checks(cluster(other)) if one.result is not CheckResult.GOOD]
    assert wrong.code == "OtherNetwork"
    assert f"{name} (namespace default)" in wrong.message


def test_a_pod_of_a_tenant_is_no_network_plugin_by_its_label():
    mine = pod("mine", ip="10.240.0.36", phase="Running")
    mine["metadata"]["labels"] = {"k8s-app": "cilium", "app": "calico-node"}
    assert [one.code for one in checks(cluster(mine)) if one.result is not CheckResult.GOOD] == []


def test_after_the_install_what_status_finds_are_checks():
    full = pool("vm1", condition("Ready", False, "SubnetFull", "no room"))
    evidence = reads.read_cluster(cluster(pools=[full]))
    (one,) = check_after(survey(evidence, version="0.1.0").findings)
    assert (one.code, one.result) == ("SubnetFull", CheckResult.BAD)
    (good,) = check_after([])
    assert good.result is CheckResult.GOOD


def ledgers(access: FakeClusterAccess, *, now_s: float = NOW_S) -> ClusterCheck:
    return check_ledgers(reads.read_cluster(access), now_s=now_s)


def test_pods_that_an_installation_before_left_behind_are_no_free_addresses():
    """Ledger and links were removed under a pod; the agent that came again adopted its address as a free one."""
    found = ledgers(cluster(pod(ip="10.240.0.36", phase="Running"), pools=[pool(assigned=0, free=2)]))
    assert (found.code, found.result) == ("UnknownPods", CheckResult.WARNING)
    assert found.message.endswith(": vm1 (1 pod, 0 in its ledger)")


@pytest.mark.parametrize(
    ("changes", "now_s"),
    [
        ({"phase": "Succeeded"}, NOW_S),
        ({"host": True}, NOW_S),
        ({"ip": "10.9.9.9"}, NOW_S),  # of another plugin, or lost from the NIC, which `why` explains
        ({"node": "vm2"}, NOW_S),  # it has no pool
        ({}, (seconds_of(THEN) or 0.0) + 30.0),  # agent and kubelet write after a while
    ],
)
def test_pods_that_the_ledger_need_not_know(changes: dict[str, Any], now_s: float):
    body = pod(**{"ip": "10.240.0.36", "phase": "Running"} | changes)
    assert ledgers(cluster(body, pools=[pool(assigned=0)]), now_s=now_s).result is CheckResult.GOOD


def test_a_pod_that_ends_and_a_pool_whose_agent_is_away_prove_nothing():
    running = pod(ip="10.240.0.36", phase="Running")
    ending = pod(ip="10.240.0.36", phase="Running")
    ending["metadata"]["deletionTimestamp"] = THEN
    away = [process("agent", ready=False), process("controller")]
    assert ledgers(cluster(ending, pools=[pool(assigned=0)])).result is CheckResult.GOOD
    assert ledgers(cluster(running, pools=[pool(assigned=0)], processes=away)).result is CheckResult.GOOD


@pytest.mark.parametrize("path", [reads.PODS, reads.POOLS])
def test_ledgers_are_not_known_to_be_well_where_nobody_could_look(path: str):
    access = cluster(pod(ip="10.240.0.36", phase="Running"))
    access.denied.add(path)
    assert ledgers(access).result is CheckResult.UNKNOWN


def test_every_check_leads_to_a_section():
    for one in [*checks(cluster()), ledgers(cluster())]:
        path, _, section = one.page.partition("#")
        assert section in sections(path)


def definitions(access: FakeClusterAccess) -> list[ClusterCheck]:
    evidence = reads.read_cluster(access, settings=True)
    return [one for one in check_definitions(evidence, version=__version__) if one.result is not CheckResult.GOOD]


def defined(*, without: str = "", version: str = __version__) -> FakeClusterAccess:
    """A cluster whose definition of pools lacks a field of the status."""
    access, older = cluster(processes=[process("agent", version=version)]), copy.deepcopy(POOLS)
    older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"].pop(without, None)
    access.objects[reads.DEFINITIONS] = [older, QUOTAS]
    return access


def test_a_definition_of_an_older_release_is_found():
    assert definitions(defined()) == []
    (one,) = definitions(defined(without="recall"))
    assert (one.code, one.result) == ("OldDefinitions", CheckResult.BAD)
    assert one.message.endswith("nodeippools lack status.recall")
    assert one.command == "kubectl apply --server-side --force-conflicts -f crds/"


def test_definitions_are_not_judged_by_another_version_and_not_good_unread():
    assert definitions(defined(without="recall", version="0.0.9")) == []
    hidden = defined()
    hidden.denied.add(f"{reads.DEFINITIONS}/nodeippools.azure-cni.io")
    assert [one.result for one in definitions(hidden)] == [CheckResult.UNKNOWN]


CILIUM = "node.cilium.io/agent-not-ready"


def with_taint(key: str, effect: str, *pods: dict[str, Any], agents: bool = True) -> list[ClusterCheck]:
    """What is said of a node with that taint."""
    own = [process("agent"), process("controller")] if agents else []
    tainted = node(taints=[{"key": key, "effect": effect}])
    return [one for one in checks(cluster(*pods, nodes=[tainted], processes=own)) if one.code == "LeftTaint"]


@pytest.mark.parametrize("key", [CILIUM, "azure-cni.io/no-free-addresses"])
def test_a_taint_that_nobody_will_remove_is_found(key: str):
    (one,) = with_taint(key, "NoSchedule", agents=False)
    assert (one.result, one.command) == (CheckResult.WARNING, f"kubectl taint node vm1 {key}-")


def test_a_taint_of_what_runs_here_or_that_keeps_nobody_away_is_none_that_is_left():
    cilium = pod("cilium-x", ip="10.240.0.4", phase="Running", host=True)
    cilium["metadata"]["labels"] = {"k8s-app": "cilium"}
    found = [
        *with_taint(CILIUM, "NoSchedule", cilium),
        *with_taint("azure-cni.io/no-free-addresses", "NoSchedule"),
        *with_taint(CILIUM, "PreferNoSchedule"),
        *with_taint("example.com/gpu", "NoSchedule", agents=False),
    ]
    assert {one.result for one in found} == {CheckResult.GOOD}


def test_nodes_that_wait_for_routes_are_told_to_need_none():
    waits = {"conditions": [READY, {"type": "NetworkUnavailable", "status": "True"}]}
    nodes = [node("vm1", **waits), node("vm2"), node("vm3", **waits)]
    (one,) = [one for one in checks(cluster(nodes=nodes)) if one.code == "CloudRoutes"]
    assert [part.split()[:4] for part in one.command.split("; ")] == [
        ["kubectl", "patch", "node", "vm1"],
        ["kubectl", "patch", "node", "vm3"],
    ]
