"""`writes` from its flags to what it prints."""

from __future__ import annotations

import json

import pytest

from azure_cni.api.audit_reports import HoleReport, NicWriteReport, WritesReport
from azure_cni.api.introspection import encode_report
from fakes.cluster_access import FakeClusterAccess
from unit.commands.running import AGENT, run
from unit.diagnose.clusters import cluster, pool, process

GREW = NicWriteReport(
    "2026-11-28T06:19:00Z", "agent", "2 pods wait", added=16, came=("10.240.0.20", "10.240.0.21"), result="Succeeded",
    etag='W/"2"',
)  # fmt: skip
SHRANK = NicWriteReport(
    "2026-11-28T07:00:00Z", "controller", "more free addresses than wanted", removed=8, result="Throttled", etag='W/"2"'
)
ATTACHED = NicWriteReport("2026-11-28T08:00:00Z", reason="what 1 pod may have", attached=1, result="Succeeded")
REPORT = WritesReport("vm1", "2026-11-28T06:00:00Z", [GREW, SHRANK, ATTACHED])


def known(report: WritesReport = REPORT) -> FakeClusterAccess:
    access = cluster(pools=[pool()])
    access.printed[AGENT] = encode_report(report)
    return access


def times(*words: str) -> list[str]:
    answer = json.loads(run(known(), "writes", *words, "-o", "json").stdout)
    return [one["write"]["time"][11:16] for one in answer["writes"]]


def test_each_write_with_who_why_what_and_its_result():
    access = known()
    done = run(access, "writes", "vm1")
    assert done.exit_code == 0
    assert access.ran[-1][2] == ("azure-cni", "introspect", "/introspection/v1/writes")
    for words in (
        "+2: 10.240.0.20, 10.240.0.21", "2 pods wait", "Succeeded", 'W/"2"', "agent",
        "-8 addresses asked for", "Throttled", "controller", "attachments of 1 pod",
    ):  # fmt: skip
        assert words in done.stdout


def test_only_those_that_are_asked_about():
    assert times() == ["06:19", "07:00", "08:00"]
    assert times("--since", "2026-11-28T07:00:00Z") == ["07:00", "08:00"]
    assert times("--address", "10.240.0.21") == ["06:19"]
    assert times("--failed") == ["07:00"]


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (WritesReport("vm1", error="no audit trail is kept (audit.enabled is false)"), "audit.enabled"),
        (WritesReport("vm1"), "its audit trail begins at no time yet"),
        (
            WritesReport("vm1", "2026-11-28T07:00:00Z"),
            "node vm1: its audit trail begins at 2026-11-28T07:00:00Z",
        ),
        (
            WritesReport(
                "vm1",
                "2026-11-28T01:00:00Z",
                holes=[HoleReport("started", "2026-11-28T06:30:00Z", "2026-11-28T06:40:00Z")],
            ),
            "a hole from 2026-11-28T06:30:00Z to 2026-11-28T06:40:00Z",
        ),
        (
            WritesReport(
                "vm1",
                "2026-11-28T01:00:00Z",
                holes=[HoleReport("unreadable", "2026-11-28T06:00:00Z", "2026-11-28T06:00:00Z", lost=1)],
            ),
            "a hole from 2026-11-28T06:00:00Z to 2026-11-28T06:00:00Z",
        ),
    ],
)
def test_what_the_trail_cannot_know_is_told(report: WritesReport, words: str):
    done = run(known(report), "writes", "--since", "2026-11-28T06:00:00Z")
    assert done.exit_code == 3
    assert words in done.stdout


def test_who_could_not_be_asked_is_told():
    done = run(cluster(processes=[process("controller")]), "writes")
    assert done.exit_code == 3
    assert "node vm1: there is no pod of an agent" in done.stdout
    assert run(known(), "writes", "vm9").exit_code == 3
    assert run(known(), "writes", "--since", "yesterday").exit_code == 2
