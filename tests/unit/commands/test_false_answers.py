"""A node that was taken over speaks, by its agent's answers, for itself alone; and its words are no file names."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from azure_cni.api.audit_reports import AuditReport, TenureReport, UsageReport
from azure_cni.api.introspection import NodeReport, SlotReport, encode_report
from azure_cni.commands import report as report_command
from azure_cni.commands.gathering import Gathered
from azure_cni.commands.reads import ask_trails, ask_usage, read_cluster
from fakes.cluster_access import FakeClusterAccess
from unit.commands.running import AGENT, A, run
from unit.diagnose.clusters import cluster, node, pool, process

NAMES = ["../../../escaped/owned", "/etc/cron.d/x", "vm2", "VM1", "a\x1b[2J\n"]
TIME = "2026-11-28T06:19:26Z"


def two_nodes(answer: Any) -> FakeClusterAccess:
    """vm1 is the one that lies, vm2 is honest."""
    own = [process("agent", name) for name in ("vm1", "vm2")] + [process("controller")]
    access = cluster(nodes=[node("vm1"), node("vm2")], pools=[pool("vm1"), pool("vm2")], processes=own)
    access.printed |= {
        AGENT: encode_report(answer),
        "azure-cni-agent-vm2": encode_report(NodeReport(node="vm2", version="honest", time=TIME)),
    }
    access.logs = {one["metadata"]["name"]: "" for one in own}
    return access


@pytest.mark.parametrize("name", NAMES)
def test_no_name_in_an_answer_is_the_name_of_a_file(tmp_path: Path, name: str):
    access = two_nodes(NodeReport(node=name, version="a lie", time=TIME))
    target = tmp_path / "report.tar.gz"
    done = run(access, "report", "-f", str(target), "-o", "json")
    assert done.exit_code == 3
    assert any("answers for" in words for words in json.loads(done.stdout)["unread"])
    with tarfile.open(target) as archive:
        files = {one.name.partition("/")[2]: one for one in archive.getmembers()}
        assert {one for one in files if one.startswith("agents")} == {"agents/vm2.json"}
        honest = archive.extractfile(files["agents/vm2.json"])
        assert honest is not None
        assert json.loads(honest.read())["version"] == "honest"


@pytest.mark.parametrize("name", ["agents/../../owned.json", "/etc/x", "a/b/c", "agents/", "..", ".ssh", "logs/a\n"])
def test_a_file_with_another_name_is_left_out_and_said(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    """Whatever gathers it."""

    def gather(*_: object) -> Gathered:
        return Gathered(documents={name: ({}, "")}, logs={"logs/pod-1-previous.log": ("", "")})

    monkeypatch.setattr(report_command, "gather", gather)
    target = tmp_path / "report.tar.gz"
    done = run(cluster(), "report", "-f", str(target), "-o", "json")
    assert len(json.loads(done.stdout)["leftOut"]) == 1
    with tarfile.open(target) as archive:
        names = [one.name.partition("/")[2] for one in archive.getmembers()]
    assert names == ["contents.json", "logs/pod-1-previous.log"]


def test_an_answer_about_another_nodes_addresses_is_no_row():
    slot = SlotReport(address="10.240.0.99", state="assigned", namespace="shop", pod="innocent")
    access = two_nodes(NodeReport(node="vm2", time=TIME, slots=[slot]))
    found = run(access, "addresses", "vm1", "vm2", "-o", "json")
    assert "innocent" not in found.stdout
    assert "azure-cni-agent-vm1" in found.stdout
    assert run(access, "plan", "vm1").exit_code == 3


def test_an_answer_without_a_node_is_about_the_one_that_was_asked():
    slot = SlotReport(address="10.240.0.99", state="free")
    rows = json.loads(run(two_nodes(NodeReport(time=TIME, slots=[slot])), "addresses", "vm1", "-o", "json").stdout)
    assert [one["node"] for one in rows["addresses"] if one["address"] == "10.240.0.99"] == ["vm1"]


def test_a_trail_names_holders_on_its_own_node_only():
    lie = TenureReport("vm2", "shop", "innocent", begin="2026-11-27T00:00:00Z")
    access = two_nodes(AuditReport("vm1", "10.9.9.9", "2026-11-01T00:00:00Z", [lie]))
    agents = [one for one in read_cluster(access).agents if one.node == "vm1"]
    (trail,), unasked = ask_trails(access, agents, A)
    assert unasked == ()
    assert (trail.address, [one.node for one in trail.tenures]) == (A, ["vm1"])


def test_usage_is_of_the_node_that_was_asked():
    access = two_nodes(UsageReport(node="vm2", time=TIME))
    agents = [one for one in read_cluster(access).agents if one.node == "vm1"]
    found, unasked = ask_usage(access, agents)
    assert (found, len(unasked)) == ((), 1)
