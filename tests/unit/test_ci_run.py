"""`.ci/run` passes when all has passed, and nothing that it started outlives it: with a `make` that does nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fakes.waiting import PATIENCE_S

RUN = Path(__file__).parents[2] / ".ci" / "run"
MAKE = """#!/bin/bash
# What is asked for is written down. The simulation and the scenarios each wait until the other one runs.
cd "$(dirname "$0")"
for word; do
  case $word in -*|*=*) ;; *) target=$word; break ;; esac
done
echo "$target" >>asked
meet() {
  for _ in {1..1200}; do
    [ -e "$1" ] && return
    sleep 0.05
  done
  exit 9
}
case $target in
  e2e)
    touch scenarios; meet simulation; echo the scenarios ;;
  seeds)
    echo $$ >simulation; meet scenarios
    [ "$FAILS" != e2e ] || exec sleep 600
    echo the seeds ;;
esac
[ "$target" != "$FAILS" ]
"""


def run(directory: Path, *, fails: str) -> tuple[int, str, list[str]]:
    """Its status, what it printed, and what it asked `make` for, in order. `fails`: the target that does."""
    (directory / ".ci").mkdir()
    shutil.copy(RUN, directory / ".ci")
    make = directory / "make"
    make.write_text(MAKE)
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}", "FAILS": fails}
    command = ["bash", directory / ".ci" / "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)
    return done.returncode, done.stdout, (directory / "asked").read_text().split()


def test_the_simulation_runs_beside_the_scenarios_and_is_shown(tmp_path: Path) -> None:
    status, printed, asked = run(tmp_path, fails="")
    assert status == 0
    assert printed.index("the scenarios") < printed.index("the seeds")
    assert asked[:5] == ["venv", "lint", "docs", "wheel", "test"]
    assert sorted(asked[5:7]) == ["e2e", "seeds"]
    assert asked[7:] == ["down", "down"]


@pytest.mark.parametrize("target", ["lint", "test", "e2e", "down", "seeds"])
def test_it_fails_when_one_of_its_steps_does(tmp_path: Path, target: str) -> None:
    status, printed, asked = run(tmp_path, fails=target)
    assert status != 0
    assert asked[-1] == "down"
    if target == "seeds":
        assert "the seeds" in printed


def test_the_simulation_ends_with_a_run_that_fails_before_it(tmp_path: Path) -> None:
    status, _, _ = run(tmp_path, fails="e2e")
    assert status != 0
    assert not Path(f"/proc/{int((tmp_path / 'simulation').read_text())}").exists()
