"""Which lines of agents and controllers fail a run."""

from __future__ import annotations

import json

import pytest

from fakeazure import FakeAzure
from soak.log_lines import EXPECTED, MOST, LogLines


def line(text: str, flag: str = "F") -> str:
    return f"2026-11-29T18:19:04.490864276Z stderr {flag} {text}"


def said(level: str, message: str, **facts: str) -> str:
    return line(json.dumps({"time": "2026-11-29T18:19:04.490Z", "level": level, "message": message, **facts}))


@pytest.fixture
def lines() -> LogLines:
    return LogLines()


def test_what_agents_say_of_faults_fails_no_run(lines: LogLines):
    for text in (said("INFO", "nic written"), said("WARNING", "kernel put right"), said("WARNING", "kernel put right")):
        lines.read("agent", text)
    for message in EXPECTED:
        lines.read("agent", said("ERROR", message))
    assert (lines.unknown, lines.tokens) == ([], [])
    assert lines.levels == {"INFO": 1, "WARNING": 2, "ERROR": len(EXPECTED)}
    assert lines.warnings == {"kernel put right": 2}


@pytest.mark.parametrize(
    "text",
    [
        said("ERROR", "a fault in azure-cni: please report it with this traceback"),
        said("CRITICAL", "anything"),
        line("Traceback (most recent call last):"),
        line("Fatal Python error: Segmentation fault"),
        line("[1, 2]"),
        line('{"level": "INFO"}'),
    ],
)
def test_an_error_that_nobody_expects_is_kept_with_its_place(lines: LogLines, text: str):
    lines.read("azure-cni-agent-x", text)
    (kept,) = lines.unknown
    assert kept.startswith("azure-cni-agent-x: ")
    assert text.split(" ", 3)[3] in kept


def test_a_line_in_parts_is_one_line_each_of_its_own_file(lines: LogLines):
    whole = json.dumps({"level": "ERROR", "message": "broken"})
    lines.read("one", line(whole[:10], "P"))
    lines.read("two", said("INFO", "between"))
    lines.read("one", line(whole[10:]))
    assert lines.unknown == [f"one: {whole}"]
    assert lines.levels == {"INFO": 1, "ERROR": 1}


@pytest.mark.parametrize("form", ["{}", "Authorization: Bearer {}", "a={}&b"])
def test_a_token_is_found_in_any_line_and_not_repeated(lines: LogLines, form: str):
    token = FakeAzure(seed=7).identity.assertion("somebody")
    lines.read("agent", said("INFO", "asked", header=form.format(token)))
    (kept,) = lines.tokens
    assert kept.startswith("agent: ")
    assert token not in kept
    assert "(a token)" in kept


def test_a_bearer_without_a_token_is_a_word(lines: LogLines):
    lines.read("agent", said("WARNING", "bearer tokens for metrics cannot be checked"))
    assert lines.tokens == []


def test_many_errors_are_counted_and_some_are_kept(lines: LogLines):
    for number in range(2 * MOST):
        lines.read("agent", said("ERROR", f"broken {number}"))
    assert (len(lines.unknown), lines.levels["ERROR"]) == (MOST, 2 * MOST)
