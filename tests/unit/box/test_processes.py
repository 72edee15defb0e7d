"""The register of processes: only what was started, as recorded, ever counts as ours."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from azurebox import processes
from azurebox.steps import StepError


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "RECORDS", tmp_path / "processes")
    monkeypatch.setattr(processes, "LOGS", tmp_path / "log")


@pytest.fixture
def sleeper():
    process = processes.start("sleeper", ["sleep", "60"])
    yield process
    processes.stop(process, grace_s=0)


def test_a_started_process_is_recorded_and_alive(sleeper: processes.Process):
    assert processes.running("sleeper") == sleeper
    assert processes.all_records() == [sleeper]


def test_starting_again_what_runs_changes_nothing(sleeper: processes.Process):
    assert processes.start("sleeper", ["sleep", "60"]) == sleeper


def test_a_pid_that_came_to_mean_another_process_is_not_ours(sleeper: processes.Process):
    other = replace(sleeper, started=sleeper.started - 1)
    processes.halt(other)  # must not send it a signal
    assert not other.is_alive()
    assert sleeper.is_alive()


def test_a_halted_process_can_be_started_again(sleeper: processes.Process):
    processes.halt(sleeper)
    assert processes.running("sleeper") is None
    again = processes.restart(processes.require("sleeper"))
    assert (again.argv, again.is_alive()) == (sleeper.argv, True)
    processes.stop(again)


def test_a_process_that_ignores_sigterm_is_ended_all_the_same():
    process = processes.start("stubborn", ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    processes.stop(process, grace_s=0.2)
    assert not process.is_alive()
    assert processes.find("stubborn") is None


def test_the_process_that_counts_is_found_behind_its_wrapper():
    process = processes.start("wrapped", ["sh", "-c", "sleep 60; :"], wrappers=1)
    comm = Path(f"/proc/{process.pid}/comm")
    # The child exists a moment before it has become its program.
    processes.wait_until(process, lambda: comm.read_text().strip() == "sleep", timeout_s=10, what="the sleep to begin")
    processes.stop(process, grace_s=0)


def test_a_wrapper_that_ends_at_once_is_reported_with_its_log():
    with pytest.raises(StepError, match="cannot start broken: it ended with status 3") as reported:
        processes.start("broken", ["sh", "-c", "echo no such thing; exit 3"], wrappers=1)
    assert "no such thing" in str(reported.value)
    assert processes.find("broken") is None


def test_waiting_for_what_a_process_brings_about_ends_with_it():
    process = processes.start("brief", ["sleep", "60"])
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(StepError, match="brief ended"):
        processes.wait_until(process, lambda: False, timeout_s=30, what="a miracle")


def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path):
    processes.RECORDS.mkdir()
    (processes.RECORDS / "old.json").write_text('{"name": "old", "pid": 1}')
    assert processes.all_records() == []
