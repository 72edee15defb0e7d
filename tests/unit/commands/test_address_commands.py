"""`addresses`, `who` and `plan` from their flags to what they print."""

from __future__ import annotations

import json

import msgspec

from azure_cni.api.audit_reports import AuditReport, TenureReport
from azure_cni.api.introspection import (
    AttachmentReport,
    ChangeReport,
    NodeReport,
    PaceReport,
    PoolReport,
    RemovalReport,
    WriteReport,
    encode_report,
)
from azure_cni.commands.reads import POOLS
from azure_cni.errors import KubeUnreachable
from unit.commands.running import AGENT, A, answering, run
from unit.diagnose.clusters import cluster, pod, pool, process


def test_who_has_an_address():
    done = run(cluster(pod(ip=A, phase="Running")), "who", A)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"√ {A} is the address of pod default/web on node vm1")
    twice = cluster(pod(ip=A, phase="Running"), pod("other", ip=A, phase="Running"))
    assert run(twice, "who", A).exit_code == 1


def test_who_had_an_address_then():
    access, when = cluster(), ("--at", "2026-11-28T06:05:00Z")
    done = run(access, "who", A, *when)
    assert done.exit_code == 3
    assert "it is not known who had" in done.stdout
    had = TenureReport("vm1", "shop", "cart", "uid-cart", "c1", "2026-11-28T06:00:00Z", "2026-11-28T06:10:00Z")
    access.printed[AGENT] = encode_report(AuditReport("vm1", A, "2026-11-28T05:00:00Z", [had]))
    done = run(access, "who", A, *when)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"√ {A} was the address of shop/cart on node vm1 at 2026-11-28T06:05:00Z\n")
    assert access.ran[-1][2] == ("azure-cni", "introspect", f"/introspection/v1/audit?address={A}")
    done = run(access, "who", A, "--history", "--node", "vm1")
    assert "2026-11-28T06:10:00Z" in done.stdout
    assert run(access, "who", A, "--at", "yesterday").exit_code == 2
    tomorrow = run(access, "who", A, "--at", "2026-11-30T06:05:00Z")
    assert (tomorrow.exit_code, tomorrow.stdout, "has not come yet" in tomorrow.stderr) == (2, "", True)


def test_a_vm_made_from_the_disk_of_another_says_nothing_of_what_that_one_says_itself():
    """Its trail has the other's records, whose address was never given back there: found in an answer with two pods."""
    both = [pool(), pool("vm2", vnetAddresses=[], primaryIP="10.240.0.5")]
    access = cluster(pools=both, processes=[process("agent"), process("agent", "vm2"), process("controller")])
    had = TenureReport("vm1", "shop", "cart", "uid-cart", "c1", "2026-11-28T06:00:00Z", "2026-11-28T06:10:00Z")
    copied = msgspec.structs.replace(had, end="2026-11-28T07:00:00Z", end_not_before="2026-11-28T06:05:00Z")
    for name, tenure in (("vm1", had), ("vm2", copied)):
        access.printed[f"azure-cni-agent-{name}"] = encode_report(
            AuditReport(name, A, "2026-11-28T05:00:00Z", [tenure])
        )
    done = run(access, "who", A, "--history", "-o", "json")
    assert [one["node"] for one in json.loads(done.stdout)["history"]["tenures"]] == ["vm1"]
    later = run(access, "who", A, "--at", "2026-11-28T06:30:00Z")
    assert f"no pod had {A} at 2026-11-28T06:30:00Z" in later.stdout
    access.printed[AGENT] = KubeUnreachable("cannot run it: the connection broke")
    alone = run(access, "who", A, "--at", "2026-11-28T06:02:00Z")
    assert "shop/cart on node vm1 (by a copy of its trail on vm2)" in alone.stdout


def test_addresses_without_agents_are_those_of_the_api_server():
    access = cluster(pod(ip=A, phase="Running"))
    answer = json.loads(run(access, "addresses", "-o", "json").stdout)
    assert [(one["address"], one["api"], one["kernel"]) for one in answer["addresses"]] == [
        (A, "default/web", "?"),
        ("10.240.0.37", "", "?"),
    ]
    assert access.ran == []


def test_check_exits_with_1_where_sides_differ_and_with_3_where_an_agent_could_not_be_asked():
    access = cluster(pod(ip=A, phase="Running"))
    assert run(access, "addresses", "--check").exit_code == 3
    done = run(answering(access), "addresses", "vm1", "--check")
    assert done.exit_code == 1
    assert "the API server shows it for default/web" in done.stdout
    assert "1 address differs" in done.stdout
    assert run(answering(cluster()), "addresses", "--check").exit_code == 0


def test_plan_shows_the_write_as_a_difference():
    shrink = WriteReport(
        kind="Shrink", remove=[RemovalReport(A, "azure-cni-0a")], why="more free addresses than wanted",
        not_before="2026-11-28T06:24:00Z",
    )  # fmt: skip
    report = NodeReport(node="vm1", next_write=shrink, pool=PoolReport(target=16, held=17, ceiling=250, granted=17))
    done = run(answering(cluster(), report), "plan", "vm1")
    assert done.exit_code == 0
    assert f"- {A} azure-cni-0a" in done.stdout
    assert "Shrink, 2026-11-28T06:24:00Z" in done.stdout
    grow = WriteReport(kind="Grow", add=16, why="2 pods wait", waits=["an answer to request 7"])
    done = run(answering(cluster(), NodeReport(node="vm1", next_write=grow)), "plan", "vm1")
    assert "+ 16 addresses that Azure chooses" in done.stdout
    assert "an answer to request 7" in done.stdout


def test_plan_shows_what_is_attached_the_pace_and_the_budget():
    attach = WriteReport(
        kind="Attach", attach=[ChangeReport(A, ["load balancer pool lb/web"], ["public IP address x"])]
    )
    told = [
        AttachmentReport("default", "bad", reason="AttachmentNotFound", message="no such pool", retry_at="12:00"),
        AttachmentReport("default", "good", done=True, reason="Attached"),
    ]
    pace = PaceReport(left=0, at_once=6, every_s=10.0, next_at="2026-11-28T06:24:00Z")
    report = NodeReport(node="vm1", next_write=attach, attachments=told, attachment_pace=pace)
    done = run(answering(cluster(), report), "plan", "vm1")
    shown = " ".join(done.stdout.split())
    assert f"+ {A} load balancer pool lb/web" in shown
    assert f"- {A} public IP address x" in shown
    assert "0 of 6 writes at once, then one each 10 s; what waits is written at 2026-11-28T06:24:00Z" in shown
    assert "for all nodes (VNetQuota vnet), NIC writes left: 5.0" in shown
    assert "default/bad: AttachmentNotFound: no such pool; tried again at 12:00" in shown
    assert "good" not in shown


def test_a_pod_is_not_to_be_deleted_because_pools_could_not_be_read():
    access = cluster(pod(ip=A, phase="Running"), pod("other", ip=A, phase="Running"))
    access.denied.add(POOLS)
    done = run(access, "who", A)
    assert done.exit_code == 1
    assert "delete" not in done.stdout


def test_a_node_without_an_agent_may_have_had_the_address():
    access = cluster(pools=[pool(), pool("vm2", vnetAddresses=[], primaryIP="10.240.0.5")])
    access.printed[AGENT] = encode_report(AuditReport("vm1", A, "2026-11-28T05:00:00Z"))
    done = run(access, "who", A, "--at", "2026-11-28T06:05:00Z")
    assert done.exit_code == 3
    assert "node vm2: there is no pod of an agent" in done.stdout
    assert run(access, "who", A, "--at", "2026-11-28T06:05:00Z", "--node", "vm1").exit_code == 0
    none = run(cluster(pools=[], processes=[]), "who", A, "--at", "2026-11-28T06:05:00Z")
    assert (none.exit_code, "there is no agent to ask" in none.stdout) == (3, True)


def test_a_node_whose_agent_is_away_was_not_checked():
    access = answering(cluster(pools=[pool(vnetAddresses=[]), pool("vm2", vnetAddresses=[])]))
    for words in (("addresses", "--check"), ("addresses", "vm2", "--check")):
        done = run(access, *words)
        assert done.exit_code == 3
        assert "node vm2: there is no pod of an agent" in done.stdout
