"""What is loaded for an agent: of its own system, and nothing of the other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from azure_cni.cni.systems import LINUX
from azure_cni.entrypoints.agent_platform import this_system
from azurebox.facts import REPOSITORY

NOT_ON_WINDOWS = ("fcntl", "termios", "pwd", "grp", "resource", "pyroute2", "azure_cni.linux")
NOT_ON_LINUX = ("winreg", "msvcrt", "azure_cni.windows")

LOADS = """
import sys, importlib
for name in {absent!r}:
    sys.modules[name] = None
import azure_cni.entrypoints.agent, azure_cni.entrypoints.settings, azure_cni.entrypoints.logs
importlib.import_module("azure_cni.entrypoints.{module}")
"""


def loaded(code: str) -> str:
    """What a new process says that runs it; "" where all is well."""
    environ = {"PYTHONPATH": str(REPOSITORY / "operator")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    return done.stderr or ("" if done.returncode == 0 else f"exit status {done.returncode}")


@pytest.mark.parametrize(("module", "absent"), [("windows_platform", NOT_ON_WINDOWS), ("linux_platform", NOT_ON_LINUX)])
def test_an_agent_loads_where_the_other_system_s_modules_do_not_exist(module: str, absent: tuple[str, ...]) -> None:
    assert loaded(LOADS.format(absent=absent, module=module)) == ""


def test_the_libraries_of_windows_load_without_a_windows() -> None:
    """So that the other tests try what is there."""
    assert loaded("import azure_cni.windows.libraries") == ""


def test_the_tests_run_on_linux() -> None:
    assert this_system() is LINUX
