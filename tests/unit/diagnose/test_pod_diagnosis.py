"""`why`: one cause for everything that keeps a pod from an address or from its traffic, told from documents alone."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.api.introspection import AttachmentReport, FailureReport, NodeReport, PaceReport, SlotReport
from azure_cni.commands import reads
from azure_cni.diagnose.causes import CAUSES
from azure_cni.diagnose.next_steps import USUAL
from azure_cni.diagnose.pod_diagnosis import EXPECTED, PodDiagnosis, explain_pod
from fakes.cluster_access import FakeClusterAccess
from unit.chart.test_operations import causes
from unit.diagnose.clusters import NOW_S, THEN, cluster, condition, event, node, pod, pool, process
from unit.diagnose.test_causes import of_the_page

SCALE = "kubectl scale -n kube-system deployment -l app.kubernetes.io/name=azure-cni,"
OURS = 'failed to setup network for sandbox "0a1b": plugin type="azure-cni" failed (add): {}'


def explain(access: FakeClusterAccess, name: str = "web", report: NodeReport | None = None) -> PodDiagnosis:
    reading = reads.read_pod(access, "default", name)
    found, events = reading.pod, reading.events
    return explain_pod(found, reads.read_cluster(access), events, now_s=NOW_S, report=report)


@pytest.mark.parametrize("reason", sorted(causes() | of_the_page()))
def test_a_pool_that_is_not_ready_says_why_its_pods_wait(reason: str):
    access = cluster(pod(), pools=[pool("vm1", condition("Ready", False, reason, "why, with values"))])
    found = explain(access)
    assert (found.cause, found.message, found.since) == (reason, "why, with values", THEN)
    assert not found.healthy
    assert found.meaning == CAUSES[reason].meaning
    assert found.actor
    assert found.next_step
    assert "NODE" not in found.command.replace("nodeName", "")


@pytest.mark.parametrize("reason", sorted(causes() | of_the_page()))
def test_the_event_of_a_pod_says_it_where_the_pool_is_ready(reason: str):
    access = cluster(pod(), events=[event("web", "NoAddress", f"{reason}: why: with values")])
    found = explain(access)
    assert (found.cause, found.message, found.since) == (reason, "why: with values", THEN)


@pytest.mark.parametrize(("recalling", "actor"), [(3, "nobody"), (2, "the cluster's administrator")])
def test_nobody_need_raise_a_limit_while_idle_addresses_of_other_nodes_come(recalling: int, actor: str):
    full = condition("Ready", False, "QuotaExceeded", "2 of 16 addresses granted")
    found = explain(cluster(pod(), pools=[pool("vm1", full, waiting=3, recalling=recalling)]))
    assert (found.cause, found.actor) == ("QuotaExceeded", actor)


def test_nobody_need_enlarge_a_subnet_while_idle_addresses_of_its_other_nodes_come():
    full = condition("Ready", False, "SubnetFull", "cannot add 8: the subnet is full")
    found = explain(cluster(pod(), pools=[pool("vm1", full, waiting=3, recalling=3)]))
    assert (found.cause, found.actor) == ("SubnetFull", "nobody")
    assert "of other nodes are taken back" in found.meaning


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        ([], "there is none"),
        ([process("agent") | {"status": {"phase": "Pending"}}], "azure-cni-agent-vm1 is Pending"),
    ],
)
def test_a_node_without_an_agent(agents: list[dict[str, object]], words: str):
    access = cluster(pod(), processes=[*agents, process("agent", "vm2"), process("controller")])
    found = explain(access)
    assert found.cause == "AgentAway"
    assert words in found.message
    assert "spec.nodeName=vm1" in found.command


@pytest.mark.parametrize(("agents", "cause"), [([], "AgentAway"), ([process("agent", ready=False)], "AgentAway"),
                                               ([process("agent")], "PoolPaused")])  # fmt: skip
def test_what_a_pool_said_when_its_agent_was_there_is_no_cause_any_more(agents: list[dict[str, object]], cause: str):
    """Without agents at all the command line may look in the wrong namespace: then the runtime's event counts."""
    silent = event("web", "FailedCreatePodSandBox", OURS.format("cannot reach the azure-cni agent at /run/x.sock"))
    stale = pool("vm1", condition("Ready", False, "PoolPaused", "it is paused"))
    assert explain(cluster(pod(), pools=[stale], events=[silent], processes=agents)).cause == cause


def test_since_when_is_the_causes_own_time_where_a_condition_has_it():
    """Ready may be False for longer, for another reason before."""
    later = "2026-11-28T06:12:00Z"
    full = condition("SubnetFull", True, "SubnetFull", "no room") | {"lastTransitionTime": later}
    unready = condition("Ready", False, "SubnetFull", "no room")
    assert explain(cluster(pod(), pools=[pool("vm1", unready, full)])).since == later
    assert explain(cluster(pod(), pools=[pool("vm1", unready)])).since == THEN
    paused = pool("vm1", condition("Ready", False, "PoolPaused", "it is paused"))
    paused["spec"]["paused"] = True
    owner = {"manager": "kubectl-edit", "operation": "Update", "time": later, "fieldsV1": {"f:spec": {"f:paused": {}}}}
    paused["metadata"]["managedFields"] = [owner]
    assert explain(cluster(pod(), pools=[paused])).since == later


def test_the_command_that_assigns_a_permission_is_in_the_answer():
    denied = condition("Ready", False, "AccessDenied", "it lacks x on y")
    missing = condition("PermissionMissing", True, "AccessDenied", "it lacks x on y; az role assignment create ...")
    assert explain(cluster(pod(), pools=[pool("vm1", denied, missing)])).message.endswith("assignment create ...")


@pytest.mark.parametrize(
    ("said", "cause", "message"),
    [
        ("", "KubernetesDenied", "cannot patch it: forbidden"),
        ("KubernetesDenied: this node cannot get more", "KubernetesDenied", "cannot patch it: forbidden"),
        ("SubnetFull: no room", "SubnetFull", "no room"),
    ],
)
def test_a_pool_that_its_agent_cannot_write_says_what_was_so_before(said: str, cause: str, message: str):
    access = cluster(
        pod(),
        pools=[pool("vm1", condition("Ready", False, "NodeAtLimit", "16 of at most 16"))],
        events=[event("web", "NoAddress", said)] if said else [],
    )
    failure = FailureReport("request", "KubernetesDenied", "cannot patch it: forbidden", 2, THEN, THEN)
    found = explain(access, report=NodeReport(node="vm1", failures=[failure]))
    assert (found.cause, found.message) == (cause, message)


@pytest.mark.parametrize(
    ("ended", "cause"), [(pod(phase="Failed"), "Ended"), (pod(host=True), "HostNetwork")],
)  # fmt: skip
def test_a_pod_that_needs_no_address_is_not_kept_waiting_by_an_agent_that_cannot_write(
    ended: dict[str, Any], cause: str
):
    """A pod that was evicted has no address to show."""
    failure = FailureReport("status", "KubernetesDenied", "cannot patch it: forbidden", 2, THEN, THEN)
    assert explain(cluster(ended), report=NodeReport(node="vm1", failures=[failure])).cause == cause


@pytest.mark.parametrize(("component", "command"), [("controller", "kubectl -n kube-system get pods"), ("", SCALE)])
def test_where_no_controller_is_the_command_makes_one(component: str, command: str):
    processes = [process("agent"), *([process(component)] if component else [])]
    waits = [event("web", "NoAddress", "AwaitingGrant: asked")]
    assert explain(cluster(pod(), events=waits, processes=processes)).command.startswith(command)


@pytest.mark.parametrize(("status", "command"), [
    ({"grantReason": "NodeAtLimit"}, "kubectl edit vnetquota vnet"), ({}, "kubectl edit nodeippool vm1"),
])  # fmt: skip
def test_a_full_node_is_mended_where_its_limit_stands(status: dict[str, str], command: str):
    full = pool("vm1", condition("Ready", False, "NodeAtLimit", "16 of at most 16"), **status)
    assert explain(cluster(pod(), pools=[full])).command == command


def test_a_pod_without_a_node_is_the_schedulers():
    found = explain(cluster(pod(node="", message="0/1 nodes are available: 1 Insufficient cpu.")))
    assert (found.cause, found.message) == ("Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")
    assert found.command == "kubectl describe pod -n default web"


def test_a_pod_without_a_node_while_nodes_are_full_learns_why_each_is():
    full = pool("vm1", condition("Ready", False, "QuotaExceeded", "2 of 16 addresses granted"))
    access = cluster(
        pod(node="", message="0/1 nodes are available: 1 node(s) had untolerated taint(s)."),
        pools=[full],
        nodes=[node(tainted=True)],
    )
    found = explain(access)
    assert found.cause == "NoFreeAddresses"
    assert "vm1: QuotaExceeded, 2 of 16 addresses granted" in found.message


@pytest.mark.parametrize(
    ("taint", "cause"),
    [
        ("azure-cni.io/no-free-addresses: ", "NoFreeAddresses"),
        ("node-role.kubernetes.io/control-plane: ", "Unschedulable"),
    ],
)
def test_a_scheduler_that_names_the_taint_is_believed(taint: str, cause: str):
    said = f"0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {{{taint}: }}."
    access = cluster(pod(node="", message=said), nodes=[node("vm1", tainted=True), node("vm2")])
    assert explain(access).cause == cause


def test_a_pod_whose_address_left_the_nic():
    lost = pool("vm1", condition("Drifted", True, "AddressesLost", "pods hold 10.240.0.99"))
    found = explain(cluster(pod(ip="10.240.0.99", phase="Running"), pools=[lost]))
    assert (found.cause, found.message) == ("AddressesLost", "pods hold 10.240.0.99")
    assert found.command == "kubectl delete pod -n default web"


def test_two_pods_with_one_address():
    other = pod("other", node="vm2", ip="10.240.0.36", phase="Running")
    found = explain(cluster(pod(ip="10.240.0.36", phase="Running"), other))
    assert found.cause == "AddressTwice"
    assert "default/other" in found.message
    assert found.command == "azure-cni who 10.240.0.36"  # whose NIC has it is not known: node vm2 has no pool


@pytest.mark.parametrize("asked", ["web", "other"])
def test_of_two_pods_with_one_address_the_one_without_its_nic_is_to_be_deleted(asked: str):
    other = pod("other", node="vm2", ip="10.240.0.36", phase="Running")
    access = cluster(pod(ip="10.240.0.36", phase="Running"), other, pools=[pool(), pool("vm2", vnetAddresses=[])])
    found = explain(access, asked)
    assert found.command == "kubectl delete pod -n default other"
    assert "the NIC of node vm2, where default/other is, has not got it" in found.message


def test_an_address_is_said_to_be_on_the_nic_only_where_the_pool_lists_it():
    access = cluster(pod(ip="10.240.0.99", phase="Running"))
    assert explain(access).cause == "AddressesLost"
    away = cluster(pod(ip="10.240.0.99", phase="Running"), processes=[process("agent", ready=False)])
    found = explain(away)
    assert (found.cause, "is not yet seen on the NIC of node vm1" in found.message) == ("Addressed", True)
    assert "10.240.0.36 is on the NIC" in explain(cluster(pod(ip="10.240.0.36", phase="Running"))).message


def test_a_host_in_the_way_of_traffic():
    conflict = pool("vm1", condition("HostConflict", True, "ForeignFilter", "Docker drops: do this"))
    found = explain(cluster(pod(ip="10.240.0.36", phase="Running"), pools=[conflict]))
    assert (found.cause, found.message) == ("HostConflict", "ForeignFilter: Docker drops: do this")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (pod(ip="10.240.0.36", phase="Running"), "Addressed"),
        (pod(ip="10.240.0.4", phase="Running", host=True), "HostNetwork"),
        (pod(ip="10.240.0.36", phase="Succeeded"), "Ended"),
    ],
)
def test_pods_with_which_nothing_is_wrong(body: dict[str, object], cause: str):
    found = explain(cluster(body))
    assert (found.cause, found.healthy, found.next_step) == (cause, True, "")
    assert cause in EXPECTED


def test_a_pod_that_was_placed_a_moment_ago_is_not_late():
    fresh = pod()
    fresh["status"]["conditions"][0]["lastTransitionTime"] = "2026-11-28T06:19:20Z"
    found = explain(cluster(fresh))
    assert (found.cause, found.healthy, found.next_step) == ("Starting", True, "")
    assert explain(cluster(pod())).cause == "NotOurs"


def test_a_node_without_a_pool():
    found = explain(cluster(pod(), pools=[pool("vm2")]))
    assert (found.cause, found.message) == ("NoPool", "there is no NodeIPPool vm1")
    assert "spec.nodeName=vm1" in found.command


def test_a_pod_that_waits_for_something_else():
    events = [event("web", "FailedMount", 'secret "x" not found')]
    found = explain(cluster(pod(), events=events))
    assert (found.cause, found.message) == ("NotOurs", 'FailedMount: secret "x" not found')


def test_what_may_not_be_read_is_noted_and_the_rest_is_used():
    access = cluster(pod(), pools=[pool("vm1", condition("Ready", False, "SubnetFull", "no room"))])
    access.denied = {"/api/v1/nodes"}
    found = explain(access)
    assert found.cause == "SubnetFull"
    assert any("nodes could not be read" in note for note in found.notes)


POOL = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers/lb/backendAddressPools/web"


def asking(**status: Any) -> dict[str, Any]:
    """A pod with an address that asks for a load balancer pool."""
    made = pod(ip="10.240.0.36", phase="Running")
    made["metadata"]["annotations"] = {"azure-cni.io/load-balancer-pools": POOL}
    made["status"]["conditions"] += status.get("conditions", [])
    return made


GATE = condition("azure-cni.io/load-balancer-attached", False, "AttachmentPending", "pool lb/web not attached yet")


def test_a_pod_without_what_it_asked_for_is_not_well_by_the_word_of_its_agent():
    told = AttachmentReport(
        uid="uid-web", problem=True, reason="AttachmentNotFound", message="Azure does not find it", retry_at=THEN
    )
    found = explain(cluster(asking(conditions=[GATE])), report=NodeReport(node="vm1", attachments=[told]))
    assert (found.cause, found.healthy) == ("AttachmentNotFound", False)
    assert found.message.startswith("Azure does not find it; ")
    assert found.next_step == f"it is tried again at {THEN}"


@pytest.mark.parametrize("reason", sorted(one for one in CAUSES if one.startswith("Attachment")))
def test_each_word_of_the_agent_about_an_attachment_has_a_command_and_what_comes_next(reason: str):
    told = AttachmentReport(uid="uid-web", problem=True, reason=reason, message="because")
    found = explain(cluster(asking()), report=NodeReport(node="vm1", attachments=[told]))
    assert (found.cause, found.next_step) == (reason, USUAL[reason])
    assert found.command.startswith(("kubectl ", "azure-cni "))


def test_what_waits_for_the_nodes_pace_says_when_it_is_written():
    told = AttachmentReport(uid="uid-web", reason="AttachmentPending", message="pool lb/web not attached yet")
    pace = PaceReport(left=0, at_once=6, every_s=10.0, next_at=THEN)
    found = explain(cluster(asking()), report=NodeReport(node="vm1", attachments=[told], attachment_pace=pace))
    assert found.cause == "AttachmentPending"
    assert "6 writes at once, then in one each 10 s; the next is at " + THEN in found.next_step


def test_without_the_agent_the_condition_says_it_and_else_the_newest_event():
    assert explain(cluster(asking(conditions=[GATE]))).cause == "AttachmentPending"
    said = [event("web", "AttachmentNotAllowed", "namespace default may not use it")]
    assert explain(cluster(asking(), events=said)).cause == "AttachmentNotAllowed"
    assert explain(cluster(asking())).cause == "Addressed"


def test_a_pod_with_all_that_it_asked_for_is_well_and_its_egress_is_told():
    told = AttachmentReport(uid="uid-web", done=True, reason="Attached", message="load balancer pool lb/web attached")
    report = NodeReport(node="vm1", attachments=[told], slots=[SlotReport(uid="uid-web", own_egress=True)])
    refused = [event("web", "EgressNotAllowed", "pods of default may not")]
    found = explain(cluster(asking(conditions=[GATE]), events=refused), report=report)
    assert found.healthy
    assert found.notes == [
        "load balancer pool lb/web attached",
        "EgressNotAllowed: pods of default may not",
        "what it sends out of the VNet has its own address",
    ]
