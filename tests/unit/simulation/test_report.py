"""What a run is said to have shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simulation import drawing, measures, report
from simulation.history import History, Pool, Sample
from simulation.observer import Judge
from simulation.pace import Pace
from simulation.plan import PRESETS, Run, seeded
from simulation.run import Outcome


@pytest.fixture
def outcome() -> Outcome:
    """Two nodes: one has all, the other's pool says why not."""
    scenario = replace(PRESETS["ci"], nodes=2, demand=40, limit=30)
    pace = Pace(10.0, 0.0, 0.0)
    run = Run(scenario, pace, 0, Path("nowhere"), "https://127.0.0.1", Path("nowhere"), "token")
    history = History(pace, Judge(limit=30, grace_s=10.0, writes_per_minute=30), last_change_s=70.0)
    history.judge.nic_changed(20.0, "g/a", 15)
    history.judge.nic_changed(70.0, "g/b", 15)
    history.pools = {
        "a": Pool(allocated=15, assigned=15, asked_s=10.0, served_s=25.0, reason="QuotaExceeded"),
        "b": Pool(allocated=15, assigned=15, asked_s=12.0, served_s=72.0, reason="QuotaExceeded"),
    }
    history.samples = [Sample(at_s, 30, 15, 15, 15, writes) for at_s, writes in ((10, 0), (20, 1), (65, 1), (75, 3))]
    return Outcome(run, history, settled_s=80.0)


def test_times_are_from_the_first_request_to_the_last_change(outcome):
    assert measures.took_s(outcome) == 60.0
    assert measures.served_s(outcome) == [15.0, 60.0]


def test_the_busiest_minute_need_not_begin_with_one(outcome):
    assert measures.busiest_minute(outcome) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"speed": 1.0, "writes_per_minute": 2}, ""),
        ({"speed": 1.0, "writes_per_minute": 3}, "60 s to the last address, 1.50 times what the budget allows"),
        ({"speed": 1.0, "writes_per_minute": 1}, ""),
        ({"speed": 10.0, "writes_per_minute": 1}, ""),
        ({"speed": 1.0, "writes_per_minute": 1, "faults_s": 60.0}, ""),
    ],
)
def test_the_budget_is_judged_in_real_time_and_without_faults(outcome, changes, said):
    outcome.run = replace(outcome.run, scenario=replace(outcome.run.scenario, **changes))

    assert measures.beside_the_budget(outcome) == said


def test_hungry_nodes_have_the_time_that_the_writes_made_for_them_take(outcome):
    """The others bring up their pools first, as long as that may take; then each write more takes 1.2 s."""
    scenario = replace(outcome.run.scenario, writes_per_minute=50, hungry=1, start_s=60.0, speed=1.0)
    outcome.run, outcome.history.calls["nic.put"] = replace(outcome.run, scenario=scenario), 2 + 50
    assert measures.budget_s(outcome) == pytest.approx(scenario.late_s - 10.0 + 60.0)

    outcome.history.last_change_s = 10.0 + 1.09 * measures.budget_s(outcome)
    assert measures.beside_the_budget(outcome) == ""
    outcome.history.last_change_s = 10.0 + 1.11 * measures.budget_s(outcome)
    assert measures.beside_the_budget(outcome).endswith("1.11 times what the budget allows")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"limit": 40}, "30 addresses on NICs in the end, of 40 wanted and allowed"),
        ({"demand": 20}, "30 addresses on NICs in the end, of 20 wanted and allowed"),
        ({"limit": 40, "faults_s": 60.0}, ""),
    ],
)
def test_without_faults_all_that_is_wanted_and_allowed_is_on_nics(outcome, changes, said):
    outcome.run = replace(outcome.run, scenario=replace(outcome.run.scenario, **changes))

    assert measures.beside_the_demand(outcome) == said


def test_no_more_is_wanted_than_azure_gives_to_a_nic():
    assert replace(PRESETS["ci"], nodes=2, demand=600, limit=1000).wanted == 500


def test_no_more_is_wanted_than_the_subnet_has():
    """A /28 has sixteen addresses, of which Azure keeps five and each node one."""
    assert replace(PRESETS["ci"], nodes=2, demand=600, limit=1000, subnet_prefix=28).wanted == 9
    assert PRESETS["crowded"].wanted == PRESETS["crowded"].demand


def test_the_summary_names_what_was_expected_and_seen(outcome):
    text = "\n".join(report.lines(outcome))

    assert "expected 30, seen 30" in text
    assert "2 nodes QuotaExceeded" in text
    assert "seed" not in text


def test_a_run_with_faults_names_its_seed(outcome):
    outcome.run = replace(outcome.run, scenario=seeded(outcome.run.scenario), seed=7)

    assert "seed 7" in next(iter(report.lines(outcome)))


def test_a_picture_and_a_page_are_drawn(outcome, tmp_path):
    picture, page = drawing.draw(outcome, ["<words>"], tmp_path)

    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "&lt;words&gt;" in page.read_text()
