"""How the long-running commands start, and how those for people end."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from azure_cni.entrypoints import agent, cli, controller, controller_settings, logs, settings


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_the_collector_rests_while_a_process_loads_and_passes_over_what_it_loaded() -> None:
    with cli.loading_for_good():
        assert not gc.isenabled()
        loaded = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() > len(loaded)


def test_it_works_again_where_loading_fails() -> None:
    with pytest.raises(ImportError), cli.loading_for_good():
        raise ImportError
    assert gc.isenabled()


@pytest.mark.parametrize("command", ["agent", "controller"])
def test_what_runs_for_long_begins_with_it(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passed_over: list[int] = []

    async def run(*_: object) -> None:
        passed_over.append(gc.get_freeze_count())

    chosen = SimpleNamespace(log_level="info", log_format="json")
    for module in (settings, controller_settings):
        monkeypatch.setattr(module, "read", lambda *_, **__: chosen)
    monkeypatch.setattr(logs, "set_up_logs", lambda **_: None)
    monkeypatch.setattr(agent, "run_agent", run)
    monkeypatch.setattr(controller, "Controller", lambda _: SimpleNamespace(run=run))
    done = CliRunner().invoke(cli.main, [command])
    assert done.exit_code == 0, done.output
    assert passed_over[0] > 0


def test_the_last_collection_passes_over_what_a_command_for_people_loaded() -> None:
    """Handlers run in reverse: the one of the test is asked after that of the command."""
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 10_000)); "
    code += "from azure_cni.entrypoints.cli import main; main(['completion', 'bash'])"
    paths = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=paths, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.splitlines()[-1] == "True"
