"""`forecast` from its flags to what it prints."""

from __future__ import annotations

import json
import time

import pytest

from azure_cni.api.audit_reports import UsageHour, UsageReport
from azure_cni.api.introspection import PoolReport, encode_report
from azure_cni.model.text import time_text
from fakes.cluster_access import FakeClusterAccess
from unit.commands.running import AGENT, run
from unit.diagnose.clusters import VNET, cluster, pool, process
from unit.diagnose.test_forecasts import busy, usage


def known(report: UsageReport) -> FakeClusterAccess:
    access = cluster(pools=[pool(subnetID=f"{VNET}/subnets/nodes")])
    access.printed[AGENT] = encode_report(report)
    return access


def test_what_runs_out_when():
    access = known(usage())
    done = run(access, "forecast", "--subnet-free", "nodes=500")
    assert done.exit_code == 0
    assert access.ran[-1][2] == ("azure-cni", "introspect", "/introspection/v1/usage")
    for words in ("in about 3", "+2.0 a day", "pods of nodes that were deleted since are missing"):
        assert words in done.stdout
    answer = json.loads(run(access, "forecast", "-o", "json").stdout)
    assert {one["kind"]: one["outlook"] for one in answer["rows"]}["node"] == "exhausts"


def test_a_subnet_that_no_node_is_in_is_a_mistake():
    done = run(known(usage()), "forecast", "--subnet-free", "NODES=500", "--subnet-free", "pods=500")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "cannot use --subnet-free pods: no node is in a subnet of that name; nodes are in nodes" in done.stderr


def test_scripts_learn_what_is_due_soon():
    access = known(usage())
    assert run(access, "forecast", "--within", "60").exit_code == 1
    assert "run out soon" in run(access, "forecast", "--within", "90").stdout
    assert run(access, "forecast", "--within", "5").exit_code == 0
    assert run(known(usage(base=90)), "forecast").exit_code == 1


def test_sizes_that_the_churn_asks_for():
    assert (
        "Try minFree 3, batch 6, maxFree 9 (now 8, 16, 24): about 8 addresses fewer"
        in run(known(busy(2)), "forecast").stdout
    )
    assert "The sizes fit" in run(known(busy(6)), "forecast").stdout


@pytest.mark.parametrize("years", [-10, 10])
def test_a_node_with_a_wrong_clock_is_left_out_and_said(years: int):
    """The others' hours are neither old by it, nor do they begin when its own do."""
    now = int(time.time()) // 3600
    ahead = now + years * 8766
    access = cluster(pools=[pool(), pool("vm2")], processes=[process("agent"), process("agent", "vm2")])
    for name, until in (("vm1", now), ("vm2", ahead)):
        hours = [UsageHour(hour, peak=20 + (hour - until) // 24) for hour in range(until - 14 * 24, until + 1)]
        told = UsageReport(name, time_text(until * 3600.0), hours, PoolReport(ceiling=100))
        access.printed[f"azure-cni-agent-{name}"] = encode_report(told)
    done = run(access, "forecast", "-o", "json")
    assert done.exit_code == 3
    answer = json.loads(done.stdout)
    found = {(one["kind"], one["name"]): one["outlook"] for one in answer["rows"]}
    assert (found["node", "vm1"], found["vnet", "vnet"]) == ("beyond", "beyond")
    assert ("node", "vm2") not in found
    assert [words for words in answer["unasked"] if words.startswith("node vm2: its clock says ")]


def test_what_could_not_be_asked_is_said():
    access = known(UsageReport("vm1", error="no audit trail is kept (audit.enabled is false)"))
    done = run(access, "forecast")
    assert done.exit_code == 3
    assert "node vm1: no audit trail is kept" in done.stdout
    assert run(cluster(), "forecast").exit_code == 3
    access = cluster(processes=[process("controller")])
    assert "node vm1: there is no pod of an agent" in run(access, "forecast").stdout
    access = known(usage())
    access.printed[AGENT] = b"azure-cni: cannot get /introspection/v1/usage of the agent: 404: Not Found"
    assert run(access, "forecast").exit_code == 3


@pytest.mark.parametrize(
    ("access", "words", "code"),
    [
        (known(usage()), ("--subnet-free", "nodes"), 2),
        (known(usage()), ("--subnet-free", "nodes=-1"), 2),
        (cluster(pools=[], processes=[]), (), 3),
    ],
)
def test_errors(access: FakeClusterAccess, words: tuple[str, ...], code: int):
    assert run(access, "forecast", *words).exit_code == code


@pytest.mark.parametrize("number", [10**400, -1])
@pytest.mark.parametrize("place", ["peak", "burst", "minFree", "ceiling"])
def test_numbers_that_nobody_counted_are_no_answer(place: str, number: int):
    access = known(usage())
    answer = json.loads(encode_report(usage()))
    if place in {"peak", "burst"}:
        answer["hours"][5][1 if place == "peak" else 3] = number
    else:
        answer["pool"][place] = number
    access.printed[AGENT] = json.dumps(answer).encode()
    done = run(access, "forecast")
    assert done.exit_code == 3
    assert "cannot read what the agent answered" in done.stdout
