"""When a run has passed, what fails it, and what its table says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from scenarios.harness.node import Slot
from soak import table
from soak.health import lasting, parse_usage
from soak.plan import Lifetime
from soak.pod_log import Life, Pair, PodLog
from soak.verdict import (
    MORE_DESCRIPTORS,
    SETTLED_MINUTES,
    STUCK_S,
    Befallen,
    Outcome,
    Usage,
    failures,
    leaks,
    percentile,
    starts_s,
    stuck,
)

AGENT = "agent of vm1"
USAGE = Usage("100/7", memory_mib=60.0, descriptors=20)


def life(name: str, asked_s: float, ready_s: float | None, *, gone_s: float | None = 99.0) -> Life:
    return Life(name, "vm1", Lifetime(1.0, hasty=False), asked_s, ready_s, gone_s=gone_s)


@pytest.fixture
def outcome() -> Outcome:
    """A run of an hour that has passed: a fault from 10 to 16 s, right after 4 s more."""
    pods = PodLog({one.name: one for one in (life("a", 1.0, 2.0), life("b", 12.0, 15.5), life("c", 30.0, 31.5))})
    counts = {"vm1: links": 2, "quota: granted": 32}
    return Outcome(
        60.0,
        frozenset({AGENT}),
        [Befallen("API server away", "vm1", at_s=10.0, hold_s=6.0, right_s=4.0)],
        pods,
        counts_before=counts,
        counts_after=dict(counts),
        usage_before={AGENT: USAGE, "agent of vm2": USAGE},
        usage_after={AGENT: replace(USAGE, memory_mib=62.9), "agent of vm2": replace(USAGE, identity="900/8")},
    )


def more(usage: Usage) -> Callable[[Outcome], None]:
    def change(outcome: Outcome) -> None:
        outcome.usage_after = {**outcome.usage_after, AGENT: usage}

    return change


def leak(outcome: Outcome) -> None:
    outcome.counts_after = {**outcome.counts_after, "vm1: links": 3}


WRONG: dict[str, Callable[[Outcome], object]] = {
    "broken off": lambda outcome: setattr(outcome, "broken_off", "interrupted"),
    "two pods with one address": lambda outcome: outcome.pods.pairs.append(Pair("a", "b", "10.0.0.1")),
    "not right after table deleted on vm2: no table": lambda outcome: outcome.faults.append(
        Befallen("table deleted", "vm2", 40.0, 2.0, None, "no table")
    ),
    "1 pods are not gone: d": lambda outcome: outcome.pods.ask(life("d", 50.0, 51.0, gone_s=None)),
    "no pod has started": lambda outcome: outcome.pods.lives.clear(),
    "no fault has happened": lambda outcome: outcome.faults.clear(),
    "leaked: vm1: links: 2 before, 3 after": leak,
    "63.1 MiB, and took 60.0 MiB before": more(replace(USAGE, memory_mib=63.1)),
    "29 descriptors open, and had 20": more(replace(USAGE, descriptors=20 + MORE_DESCRIPTORS + 1)),
    "agent of vm1 was restarted": more(replace(USAGE, identity="200/9")),
    "a token in a log": lambda outcome: outcome.logs.tokens.append("agent: (a token)"),
    "an error that nobody expects": lambda outcome: outcome.logs.unknown.append("agent: Traceback"),
}


def test_a_run_in_which_all_is_as_it_must_be_has_passed(outcome: Outcome):
    assert list(failures(outcome)) == []


@pytest.mark.parametrize("why", WRONG)
def test_each_thing_that_is_not_fails_it(outcome: Outcome, why: str):
    WRONG[why](outcome)
    (said,) = failures(outcome)
    assert why in said
    (result,) = (line for line in table.lines(outcome) if line.startswith("  result"))
    assert "FAILED" in result


def test_an_agent_that_is_gone_was_restarted(outcome: Outcome):
    outcome.usage_after = {}
    assert list(failures(outcome)) == ["the agent of vm1 was restarted, and no fault of this run does that"]


def test_a_run_that_was_broken_off_says_why_and_nothing_of_what_was_not_counted(outcome: Outcome):
    outcome.broken_off, outcome.counts_after, outcome.usage_after = "interrupted", {}, {}
    assert list(failures(outcome)) == ["the run was broken off: interrupted"]
    shown = {" ".join(line.split()) for line in table.lines(outcome)}
    assert shown >= {"leaks not counted", "agent of vm1 60.0 MiB, 20 descriptors; not measured at the end"}


def test_memory_is_judged_in_runs_that_are_long_enough(outcome: Outcome):
    more(replace(USAGE, memory_mib=70.0))(outcome)
    outcome.minutes = SETTLED_MINUTES - 1
    assert list(failures(outcome)) == []


def test_pods_are_calm_or_felt_a_fault(outcome: Outcome):
    outcome.pods.ask(life("d", 19.0, 25.0))  # asked for before all was right again
    outcome.pods.ask(life("e", 25.0, None))
    assert starts_s(outcome) == ([1.0, 1.5], [3.5, 6.0])


def test_what_did_not_come_right_is_felt_until_the_end(outcome: Outcome):
    outcome.faults = [replace(outcome.faults[0], right_s=None)]
    assert starts_s(outcome) == ([1.0], [3.5, 1.5])


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0, 1.0, 2.0], 0.5, 2.0), ([1.0], 0.99, 1.0), (range(1, 101), 0.9, 90), (range(1, 101), 1.0, 100),
     ([1.0, 2.0], 0.0, 1.0)],
)  # fmt: skip
def test_percentiles_are_values_that_were_seen(values: list[float], share: float, expected: float):
    assert percentile(values, share) == expected


def test_there_is_no_percentile_of_nothing():
    assert math.isnan(percentile([], 0.5))


def test_a_count_that_only_one_side_has_leaked():
    assert leaks({"a": 1, "b": 2}, {"b": 2, "c": 3}) == ["a: 1 before, 0 after", "c: 0 before, 3 after"]


def test_a_pod_that_waits_for_too_long_is_stuck():
    pods = PodLog(
        {one.name: one for one in (life("waits", 0.0, None, gone_s=None), life("runs", 0.0, 1.0, gone_s=None))}
    )
    assert stuck(pods, at_s=STUCK_S) == []
    assert [one.name for one in stuck(pods, at_s=STUCK_S + 1)] == ["waits"]


def test_the_table_shows_each_kind_and_each_process(outcome: Outcome):
    outcome.faults.append(Befallen("API server away", "vm2", 40.0, 2.0, 8.0))
    outcome.logs.levels.update({"INFO": 7})
    outcome.usage_meanwhile += [{AGENT: replace(USAGE, memory_mib=memory)} for memory in (61.0, 62.5)]
    shown = {" ".join(line.split()) for line in table.lines(outcome)}
    assert shown >= {
        "pods asked for 3",
        "pods started 3",
        "pods ended 3",
        "of these before they started 0",
        "pod start, nothing wrong p50 1.0 s, p90 1.5 s, p99 1.5 s, max 1.5 s (of 2)",
        "pod start, during a fault p50 3.5 s, p90 3.5 s, p99 3.5 s, max 3.5 s (of 1)",
        "faults survived 2 of 2",
        "API server away 2 of 2, right again after 4.0 s, at most 8.0 s",
        "agent of vm1 60.0 to 62.9 MiB, 20 to 20 descriptors; between two faults 61.0 62.5 MiB",
        "agent of vm2 60.0 to 60.0 MiB, 20 to 20 descriptors (another process)",
        "leaks 0, of 2 counts",
        "lines logged 7 INFO",
        "tokens in logs 0",
        "result passed",
    }


def test_a_process_is_read_from_its_descriptors_and_proc_stat():
    """A command in brackets may hold blanks and brackets itself."""
    numbers = " ".join(str(number) for number in range(4, 53))
    read = parse_usage(f"23 119488 24084 12580 4 0 60120 0 77 (azure cni) x) S {numbers}")
    assert read == Usage("22/77", (24084 - 12580) * 4096 / 1024**2, 23)


@pytest.mark.parametrize(
    ("state", "pod", "lasts"),
    [("assigned", "default/web", True), ("assigned", "default/next", False), ("cooling", "", False)],
)
def test_a_route_is_asked_for_only_where_the_same_pod_still_has_the_address(state: str, pod: str, *, lasts: bool):
    address = IPv4Address("10.240.0.52")
    found = lasting([Slot(address, "assigned", "default/web")], [Slot(address, state, pod)])
    assert found == ({address} if lasts else set())
