"""`status`: what is wrong comes first, each with a code that never changes, and nothing else is there."""

from dataclasses import replace
from typing import Any

import pytest

from azure_cni import __version__
from azure_cni.commands import reads
from azure_cni.diagnose.overview import Overview, survey
from fakes.cluster_access import FakeClusterAccess
from unit.diagnose.clusters import THEN, VNET, cluster, condition, node, on_windows, pool, process, quota


def look(access: FakeClusterAccess, version: str = __version__) -> Overview:
    return survey(reads.read_cluster(access, pods=False), version=version)


def test_a_cluster_in_which_all_is_well():
    found = look(cluster())
    assert found.well
    (row,) = found.nodes
    assert (row.node, row.ready, row.reason, row.agent) == ("vm1", True, "PodsCanStart", "ready")
    assert (row.allocated, row.assigned, row.free, row.granted) == (2, 1, 1, 2)
    (vnet,) = found.quotas
    assert (vnet.quota, vnet.limit, vnet.granted, vnet.assigned) == ("vnet", 100, 2, 1)
    assert found.controllers == "1 of 1 ready"


@pytest.mark.parametrize(
    ("access", "severity", "code", "about"),
    [
        (cluster(pools=[pool("vm1", condition("Ready", False, "SubnetFull", "no room"))]), "error", "SubnetFull",
         "node vm1"),
        (cluster(pools=[pool("vm1", condition("Drifted", True, "AddressesLost", "gone"))]), "warning", "AddressesLost",
         "node vm1"),
        (cluster(pools=[pool("vm1", condition("HostConflict", True, "ForeignFilter", "Docker"))]), "warning",
         "ForeignFilter", "node vm1"),
        (cluster(pools=[pool("vm1", condition("ModeChangePending", True, "PodsRunning", "2 pods"))]), "warning",
         "PodsRunning", "node vm1"),
        (cluster(processes=[process("agent", ready=False), process("controller")]), "error", "AgentAway", "node vm1"),
        (cluster(nodes=[node(), node("vm2")]), "error", "AgentAway", "node vm2"),
        (cluster(nodes=[node(), on_windows(node("win1")), on_windows(node("win2"))],
                 processes=[process("agent"), process("controller"), on_windows(process("agent", "win1"))]), "error",
         "AgentAway", "node win2"),
        (cluster(processes=[]), "error", "NoAgents", "the cluster"),
        (cluster(processes=[process("agent")]), "error", "AwaitingGrant", "the controller"),
        (cluster(processes=[process("agent"), process("controller", ready=False)]), "error", "AwaitingGrant",
         "the controller"),
        (cluster(processes=[process("agent", version="0.0.9"), process("controller")]), "warning", "VersionSkew",
         "the cluster"),
        (cluster(quotas=[quota(condition("Ready", False, "Exhausted", "100 of 100"))]), "error", "Exhausted",
         "VNetQuota vnet"),
        (cluster(pools=[pool("vm1", condition("AtLimit", False, "NearLimit", "201 of 250"))]), "warning", "NearLimit",
         "node vm1"),
        (cluster(quotas=[quota(condition("Exhausted", False, "NearLimit", "90 of 100"))]), "warning", "NearLimit",
         "VNetQuota vnet"),
        (cluster(quotas=[quota(condition("Throttled", False, "NearLimit", "900 of 1000"))]), "warning", "NearLimit",
         "VNetQuota vnet"),
        (cluster(quotas=[quota(condition("SubnetFull", False, "NearLimit", "90 of 100"))]), "warning", "NearLimit",
         "VNetQuota vnet"),
        (cluster(quotas=[quota(condition("SubnetFull", True, "SubnetFull", "100 of 100"))]), "warning", "SubnetFull",
         "VNetQuota vnet"),
        (cluster(quotas=[quota(condition("UsageKnown", False, "AccessDenied", "usages/read"))]), "warning",
         "AccessDenied", "VNetQuota vnet"),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_one_line(access: FakeClusterAccess, severity: str, code: str, about: str):
    wrong = [one for one in look(access).findings if one.code == code]
    assert [(one.severity, one.about) for one in wrong] == [(severity, about)]
    assert wrong[0].message
    assert wrong[0].do
    assert wrong[0].page.startswith("docs/")


@pytest.mark.parametrize(
    ("reason", "status", "command"),
    [
        ("NodeAtLimit", {"grantReason": "NodeAtLimit"}, "kubectl edit vnetquota vnet"),
        ("NodeAtLimit", {}, "kubectl edit nodeippool vm1"),
        ("QuotaExceeded", {"waiting": 2, "recalling": 2}, "kubectl describe vnetquota vnet"),
    ],
)
def test_a_node_that_is_full_has_the_command_that_why_names(reason: str, status: dict[str, Any], command: str):
    access = cluster(pools=[pool("vm1", condition("Ready", False, reason, "16 of at most 16"), **status)])
    (found,) = (one for one in look(access).findings if one.code == reason)
    assert found.command == command


def test_commands_are_for_the_namespace_in_which_azure_cni_is():
    away, paused = pool("vm2"), pool("vm3") | {"spec": {"paused": True}}
    failed = pool("vm1", condition("Ready", False, "LedgerFailed", "disk full"))
    access = cluster(pools=[failed, away, paused], processes=[process("agent"), process("agent", "vm3")])
    evidence = reads.read_cluster(access, pods=False)
    assert evidence.system == access.system_namespace == "kube-system"
    found = survey(replace(evidence, system="network"), version=__version__).findings
    named = [one.command for one in found if "azure-cni" in one.command]
    assert len(named) >= 3
    assert [one for one in named if "kube-system" in one or "SYSTEM" in one] == []
    assert all("network" in one for one in named)
    assert "azure-cni resume vm3 --system-namespace network" in named


def test_numbers_that_are_none_count_as_nothing():
    found = look(cluster(pools=[pool(cooling=True)], quotas=[quota(assigned=True)]))
    assert (found.nodes[0].cooling, found.quotas[0].assigned) == (0, 0)
    assert type(found.quotas[0].assigned) is int


def test_errors_come_before_warnings():
    pools = [
        pool("vm1", condition("Drifted", True, "AddressesLost", "gone")),
        pool("vm2", condition("Ready", False, "NodeAtLimit", "full")),
    ]
    found = look(cluster(pools=pools, processes=[process("agent"), process("agent", "vm2"), process("controller")]))
    assert [(one.code, one.since) for one in found.findings] == [("NodeAtLimit", THEN), ("AddressesLost", THEN)]


def test_a_cluster_whose_nodes_grant_themselves_needs_no_controller():
    assert look(cluster(processes=[process("agent")], quotas=[])).well


def test_a_command_line_of_another_version_says_so():
    assert [one.code for one in look(cluster(), version="9.9.9").findings] == ["ClientSkew"]


def test_who_may_not_read_nodes_still_sees_the_rest():
    access = cluster()
    access.denied = {"/api/v1/nodes"}
    found = look(access)
    assert found.findings == []
    assert not found.well
    assert len(found.unread) == 1


def test_what_nobody_writes_any_more_is_no_word_on_today():
    """A pool stays as its agent left it, and a quota as its controller did: READY True, too."""
    (gone,) = look(cluster(processes=[process("controller")])).nodes
    assert (gone.ready, gone.reason, gone.agent, gone.free) == (None, "AgentAway", "away", 1)
    assert [row.ready for row in look(cluster(processes=[process("agent")])).quotas] == [None]
    sleeping = [process("agent"), process("controller", ready=False)]
    assert [row.ready for row in look(cluster(processes=sleeping)).quotas] == [None]


def test_who_may_not_see_agents_and_controllers_is_not_told_that_they_are_away():
    access = cluster()
    access.denied = {"/api/v1/namespaces/kube-system/pods"}
    found = look(access)
    assert [(row.ready, row.reason, row.agent) for row in found.nodes] == [(True, "PodsCanStart", "")]
    assert [row.ready for row in found.quotas] == [True]


def test_a_quota_that_no_controller_has_written_is_not_taken_for_well():
    unwritten = {"metadata": {"name": "vnet"}, "spec": {"vnetID": VNET, "limit": 100}}
    assert [row.ready for row in look(cluster(quotas=[unwritten])).quotas] == [None]
    assert [row.ready for row in look(cluster()).quotas] == [True]
