"""The engine of kube-network-policies judges every case of cyclonus as cyclonus expects it.

`e2e/azurebox/tools/cyclonus` says what of either runs: no packet is sent here. Packets are in
`tests/datapath/test_beside_policy.py`.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from azurebox import tools

FOUND = re.compile(r"^cases (\d+) steps (\d+) connections (\d+) dropped (\d+) differ (\d+)$", re.MULTILINE)


pytestmark = pytest.mark.skipif(
    not tools.path("cyclonus").exists(), reason="cyclonus is not built: `e2e/box tools cyclonus` builds it, in minutes"
)


@pytest.fixture(scope="module")
def program() -> Path:
    return tools.path("cyclonus")


def run(program: Path, *words: str) -> tuple[int, list[int], str]:
    """Its exit code, the numbers of its summary, and all that it printed."""
    done = subprocess.run([str(program), *words], check=False, capture_output=True, text=True, timeout=300)
    found = FOUND.search(done.stdout)
    assert found is not None, done.stderr
    return done.returncode, [*map(int, found.groups())], done.stdout


def test_the_engine_s_verdicts_are_those_that_cyclonus_expects(program: Path) -> None:
    code, (cases, steps, connections, dropped, differ), printed = run(program)
    assert (code, differ) == (0, 0), printed
    assert 200 < cases <= steps
    assert 0 < dropped < connections
    code, blind, _ = run(program, "without-policies")
    assert (code, blind[2], blind[4]) == (1, connections, dropped), "a connection that must not pass would be seen"
