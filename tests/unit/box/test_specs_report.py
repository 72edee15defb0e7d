"""What `e2e/box specs` and `policy` make of Ginkgo's reports, and how it shares specs out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from specs.report import PASSED, SKIPPED, Spec, passed, shards, shown, skipped, specs_of, table

NAMES = [
    "[sig-network] Netpol should deny (all) [Feature:NetworkPolicy]",
    "[sig-network] Netpol should deny (all) [Feature:NetworkPolicy] twice",
    "[sig-network] Netpol API should support 'endport'",
]


def node(kind: str, containers: list[str], leaf: str, state: str, **more: Any) -> dict[str, Any]:
    """As Ginkgo 2.28 writes it."""
    return {"LeafNodeType": kind, "ContainerHierarchyTexts": containers, "LeafNodeText": leaf, "State": state} | more


def report(directory: Path, *nodes: dict[str, Any]) -> Path:
    file = directory / "report.json"
    file.write_text(json.dumps([{"SpecReports": nodes}]))
    return file


def test_a_spec_that_did_not_pass_is_named_with_its_reason_and_one_that_was_not_reached_is_counted(
    tmp_path: Path,
) -> None:
    found = specs_of(
        report(
            tmp_path,
            node("BeforeSuite", [], "", "passed"),
            node("It", ["[sig-network] Netpol"], "should pass", "passed", RunTime=2_000_000_000),
            node("It", ["Netpol"], "fails", "failed", Failure={"Message": "Had 4 wrong results"}, RunTime=3 * 10**9),
            node("It", ["Netpol"], "broke", "panicked", Failure={"Message": "nil"}),
            node("It", ["Netpol"], "is another process'", "skipped"),
            node("It", ["Netpol"], "wants three zones", "skipped", Failure={"Message": "Requires >= 3 zones"}),
            node("It", ["Netpol"], "ran when time was up", "interrupted", Failure={"Message": "Interrupted by User"}),
        )
    )
    assert [passed(spec) for spec in found] == [True, False, False, False]
    assert [skipped(spec) for spec in found] == [False, False, False, True]
    assert table(found, asked=6) == [
        "failed: Netpol fails (3 s): Had 4 wrong results",
        "panicked: Netpol broke (0 s): nil",
        "skipped: Netpol wants three zones (0 s): Requires >= 3 zones",
        "specs 6 passed 1 failed 2 skipped 1 not reached 2, 5 s of specs",
    ]


@pytest.mark.parametrize("text", [None, "null", '[{"SpecReports": null}]'])
def test_a_run_that_was_ended_early_has_reached_nothing(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "report.json"
    if text is not None:
        file.write_text(text)
    assert specs_of(file) == []


@pytest.mark.parametrize(
    ("states", "asked", "strictly", "where_they_may_skip"),
    [
        ([PASSED, PASSED], 2, True, True),
        ([PASSED, SKIPPED], 2, False, True),
        ([PASSED, "failed"], 2, False, False),
        ([PASSED], 2, False, False),
        ([SKIPPED, SKIPPED], 2, False, False),
        ([], 0, False, False),
    ],
)
def test_a_run_in_which_no_spec_passed_shows_nothing(
    states: list[str], asked: int, *, strictly: bool, where_they_may_skip: bool
) -> None:
    found = [Spec("a spec", state, seconds=1, failure="") for state in states]
    assert shown(found, asked) is strictly
    assert shown(found, asked, may_skip=True) is where_they_may_skip


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_each_spec_is_one_process_s(number: int) -> None:
    chosen = shards(NAMES, number)
    assert len(chosen) == min(number, len(NAMES))
    for name in NAMES:
        assert sum(bool(re.search(focus, f"The suite's name {name}")) for focus in chosen) == 1
