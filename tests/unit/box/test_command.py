"""`e2e/box` itself: typed often, by people and by the demo, so it may not spend its time on what it does not need."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from azurebox.facts import REPOSITORY

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(str(REPOSITORY / part) for part in ("operator", "e2e"))}
SAY_MODULES = "import json, sys; import {module}; print(json.dumps(sorted(sys.modules)))"


def test_bytecode_is_kept_whatever_the_machine_says(tmp_path: Path):
    """Without it every command compiles all of the box before it does anything."""
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    (tmp_path / ".venv/.ready").touch()
    python.write_text("#!/bin/sh\nenv\n")
    python.chmod(0o755)
    (tmp_path / "e2e").mkdir()
    shutil.copy(REPOSITORY / "e2e/box", tmp_path / "e2e/box")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([tmp_path / "e2e/box"], env=environment, capture_output=True, text=True, check=True)
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert "PYTHONPATH" in names
    assert "PYTHONDONTWRITEBYTECODE" not in names


@pytest.mark.parametrize("module", ["azurebox.cli", "azurebox.passed_on", "fakeazure.admincli"])
def test_to_pass_a_command_on_takes_no_web_server_and_no_cryptography(module: str):
    done = subprocess.run(
        [sys.executable, "-c", SAY_MODULES.format(module=module)],
        env=ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"aiohttp", "cryptography", "kopf", "kubernetes"} & set(json.loads(done.stdout))


def test_the_fake_azure_has_what_serves_it_when_somebody_asks():
    import fakeazure

    assert fakeazure.FakeAzure.__module__ == "fakeazure.fake"
    assert fakeazure.Endpoints.__module__ == "fakeazure.server"
    assert [name for name in fakeazure.__all__ if not hasattr(fakeazure, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'Elsewhere'"):
        _ = fakeazure.Elsewhere
