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


class BreaksOff:
    """A run that ends by an error, before anything was seen."""

    def __init__(self) -> None:
        pace = Pace(10.0, 0.0, 0.0)
        run = Run(PRESETS["ci"], pace, 7, Path("nowhere"), "https://127.0.0.1", Path("nowhere"), "token")
        self.outcome = Outcome(run, History(pace, Judge(limit=1000, grace_s=10.0, writes_per_minute=30)))

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
