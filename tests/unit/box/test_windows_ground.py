"""The ground of `make e2e-windows`: which packages it takes of the lock file, and what programs under Wine get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from windows import ground
from windows.wine import environment, windows_path

ENTRY = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.MULTILINE)


def test_the_lock_file_loses_what_checks_code_and_nothing_else() -> None:
    lock = ground.LOCK.read_text()
    locked, taken = ENTRY.findall(lock), ENTRY.findall(ground.of_windows(lock))
    assert set(locked) - set(taken) == ground.NOT_NEEDED, "each of them is in the lock file"
    assert {"kopf", "aiohttp", "pytest", "colorama"} <= set(taken)
    assert len(taken) == len(set(taken))


def test_an_entry_keeps_its_hashes_and_markers() -> None:
    before, after = "a==1 ; sys_platform == 'win32' \\\n    --hash=sha256:aa\n    # via b\n", "b==3\n"
    assert ground.of_windows(f"{before}ruff==2 \\\n    --hash=sha256:cc\n{after}") == before + after


def test_programs_get_nothing_of_the_environment_but_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "AZURE_CNI_NODE_NAME", "PYTHONPATH", "GITHUB_TOKEN", "WINEPREFIX"):
        monkeypatch.setenv(name, "x")
    given = environment(Path("/prefix"), CNI_COMMAND="ADD")
    assert given["WINEPREFIX"] == given["HOME"] == "/prefix"
    assert given["CNI_COMMAND"] == "ADD"
    assert "x" not in given.values()


def test_a_file_by_its_name_on_the_node(tmp_path: Path) -> None:
    assert windows_path(tmp_path / "a b") == "Z:" + str(tmp_path / "a b").replace("/", "\\")
