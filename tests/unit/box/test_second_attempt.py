"""Which runs of tests get a second attempt, and what that says: by real runs of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

E2E = Path(__file__).parents[3] / "e2e"
CONFTEST = """
from azurebox.second_attempt import SecondAttempt

def pytest_configure(config):
    config.pluginmanager.register(SecondAttempt())
"""
ONCE = """
import pathlib
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_of_chance(number):
    before = pathlib.Path(__file__).with_name(f"before{{number}}")
    again = before.exists()
    before.touch()
    assert again or number >= {failing}
"""
ALWAYS = "def test_a_fault(): assert False\n"
FIXTURE = """
import pytest

@pytest.fixture
def stage():
    raise OSError("no cluster")

@pytest.mark.parametrize("number", range(9))
def test_on_the_stage(stage, number): pass
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", folder, "-q", *options, folder],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(E2E)},
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("workers", [(), ("--numprocesses", "2")], ids=["alone", "by workers"])
@pytest.mark.parametrize(
    ("tests", "first", "second"),
    [
        (ONCE.format(tests=5, failing=0), 0, 5),
        (ONCE.format(tests=5, failing=1), 75, 0),
        (ONCE.format(tests=5, failing=3), 75, 0),
        (ONCE.format(tests=5, failing=4), 1, 0),
        (ALWAYS, 75, 1),
        (FIXTURE, 75, 1),
    ],
    ids=["all pass", "one by chance", "three", "four", "a fault", "a fixture of nine tests"],
)
def test_few_failures_get_a_second_attempt(
    tmp_path: Path, workers: tuple[str, ...], tests: str, first: int, second: int
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(tests)
    assert run(tmp_path, *workers)[0] == first
    status, output = run(tmp_path, *workers, "--last-failed", "--last-failed-no-failures", "none")
    assert (status, "test_of_chance[0]" in output) == (second, second == 0), output
