"""What the command line says: of its options, of a run that must be made again, of one that breaks off."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulation import cli, drawing, report
from simulation.history import History
from simulation.observer import Judge
from simulation.pace import Pace
from simulation.plan import PRESETS, Run
from simulation.run import Outcome


def new_outcome(*, failure: str = "", late: bool = False) -> Outcome:
    pace = Pace(10.0, 0.0, 0.0)
    run = Run(PRESETS["ci"], pace, 7, Path("nowhere"), "https://127.0.0.1", Path("nowhere"), "token")
    history = History(pace, Judge(limit=1000, grace_s=10.0, writes_per_minute=30))
    return Outcome(run, history, failure=failure, late=late)


class BreaksOff:
    """A run that ends by an error, before anything was seen."""

    def __init__(self) -> None:
        self.outcome = new_outcome()

    async def carry_out(self) -> None:
        raise RuntimeError("azure did not come up")


@pytest.mark.parametrize(
    ("words", "again"),
    [
        ("", "ci"),
        ("full --nodes 100 --speed 6", "full --nodes 100 --speed 6.0"),
        ("ci --seed 7 --keep", "ci --seed 3"),
        ("ci --seeds 1-20 --writes-per-minute 50", "ci --writes-per-minute 50 --seed 3"),
        ("--faults-s 0", "ci --faults-s 0.0"),
    ],
)
def test_a_run_is_made_again_with_all_that_was_asked(words, again):
    assert cli._again(cli._options(words.split()), 3) == f"make simulate ARGS='{again}'"


def test_what_is_said_to_be_made_again_is_the_same_run():
    options = cli._options(["ci", "--seeds", "1-20", "--nodes", "60"])
    again = cli._again(options, 3).partition("'")[2].rstrip("'")
    assert cli._scenario(cli._options(again.split())) == cli._scenario(options)


def test_each_option_says_what_it_is_for(capsys):
    with pytest.raises(SystemExit):
        cli._options(["--help"])
    reported = " ".join(capsys.readouterr().out.split())
    for option in cli.OPTIONS:
        assert option.metadata["help"] in reported


def test_shapes_that_are_none_are_named(capsys):
    with pytest.raises(SystemExit):
        cli._options(["ci", "--mix", "vm,vmm"])
    assert "cannot mix 'vmm': the shapes of nodes are vm, uniform" in capsys.readouterr().err
    assert cli._again(cli._options(["mixed", "--mix", "uniform"]), 3) == "make simulate ARGS='mixed --mix uniform'"


async def test_a_run_that_breaks_off_has_failed_and_is_reported(tmp_path):
    outcome = await cli._judged(BreaksOff(), tmp_path / "run.log")

    assert outcome.failure == f"broken off by RuntimeError('azure did not come up'): see {tmp_path}/run.log"
    assert "in carry_out" in (tmp_path / "run.log").read_text()
    assert outcome.failure in "\n".join(report.lines(outcome))
    assert drawing.draw(outcome, ["words"], tmp_path)


class NoCluster:
    """A control plane that nobody asks anything."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()

    async def start(self) -> None: ...

    async def clear(self) -> None: ...

    async def stop(self) -> None: ...


GOOD, LATE, OVER = (
    new_outcome(),
    new_outcome(failure="not done within 3600 s", late=True),
    new_outcome(failure="at 169.7 s: 1,001 addresses"),
)


@pytest.mark.parametrize(
    ("words", "ends", "runs", "code"),
    [
        ("ci --seeds 1-2", [GOOD, GOOD], [(1, 20.0), (2, 20.0)], 0),
        ("ci --seeds 1-2", [LATE, GOOD, GOOD], [(1, 20.0), (1, 5.0), (2, 20.0)], 0),
        ("ci --seeds 1-2", [LATE, LATE], [(1, 20.0), (1, 5.0)], 1),
        ("ci --seeds 1-2", [LATE, OVER], [(1, 20.0), (1, 5.0)], 1),
        ("ci --seeds 1-2", [OVER], [(1, 20.0)], 1),
        ("ci --seed 3 --speed 2", [LATE, GOOD], [(3, 2.0), (3, 1.0)], 0),
        ("ci --seed 3 --speed 1", [LATE], [(3, 1.0)], 1),
    ],
)
async def test_only_what_was_late_is_repeated_once_and_slower(words, ends, runs, code, monkeypatch, tmp_path):
    seen = []

    async def one(cluster, options, *, seed, directory, without_s):
        seen.append((seed, cli._scenario(options).speed))
        return ends[len(seen) - 1]

    monkeypatch.setattr(cli, "Cluster", NoCluster)
    monkeypatch.setattr(cli, "_one", one)
    assert await cli._run(cli._options(words.split()), tmp_path / "run") == code
    assert seen == runs
