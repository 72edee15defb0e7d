"""Processes of a simulation, and what they have used."""

from __future__ import annotations

import subprocess
from pathlib import Path

from simulation.children import Child


def ended(pid: int) -> bool:
    """It has ended, and nobody has asked how yet."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_child_that_has_already_ended_can_be_killed_and_counted(tmp_path: Path):
    child = Child("short", ["true"], tmp_path / "short.log")
    child.start()
    process = child._process
    assert isinstance(process, subprocess.Popen)
    while not ended(process.pid):
        pass
    child.kill()
    assert child.usage().peak_mib == 0  # the kernel has forgotten it
