"""One node for all tests. What they counted is printed at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from azurebox.facts import CACHE
from windows.__main__ import INSIDE
from windows.ground import Ground
from windows.node import WindowsNode

FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("on Windows Python, under Wine")
        for line in config.stash[FIGURES]:
            terminalreporter.line(line)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> list[str]:
    """Lines to be printed."""
    return request.config.stash[FIGURES]


@pytest.fixture(scope="session")
def node() -> Iterator[WindowsNode]:
    if INSIDE not in os.environ:
        pytest.skip("these tests need Wine and a network of their own: make e2e-windows")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = CACHE / ".windows-node"  # on the ground's file system, for links
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    made = WindowsNode(Ground(Path(os.environ[INSIDE])), directory)
    try:
        made.make()
        made.boot()
        yield made
    finally:
        made.power_off()
        shutil.rmtree(directory, ignore_errors=True)
