"""One node for all tests of a module, an agent on it, and what both ask. What is measured is printed at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from azurebox.facts import CACHE
from windows.__main__ import IMAGE, INSIDE
from windows.ground import Ground
from windows.node import WindowsNode
from windows.world import World

FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=3, metavar="N", help="rounds of 40 pods")
    parser.addoption("--every-suite", action="store_true", help="all suites of suites.py, not the data plane's alone")
    parser.addoption(IMAGE, action="store_true", help="the image, which is built twice beforehand")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[FIGURES]:
        terminalreporter.section("figures of this run under Wine, to be compared with those of other runs only")
        for line in config.stash[FIGURES]:
            terminalreporter.line(line)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> list[str]:
    """Lines to be printed."""
    return request.config.stash[FIGURES]


@pytest.fixture(scope="session")
def ground() -> Ground:
    if INSIDE not in os.environ:
        pytest.skip("these tests need Wine and a network of their own: make e2e-windows")
    return Ground(Path(os.environ[INSIDE]))


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Of a node: on the ground's file system, for links."""
    made = CACHE / f".windows-node-{os.getpid()}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def world(ground: Ground, directory: Path) -> Iterator[World]:
    with World(ground, directory) as opened:
        yield opened


@pytest.fixture
def node(world: World) -> WindowsNode:
    return world.node


@pytest.fixture(scope="session", autouse=True)
def loopback(ground: Ground) -> None:
    """Of the network that the tests have for themselves."""
    del ground
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure, what the agent said last."""
    report = yield
    world = item.funcargs.get("world") if hasattr(item, "funcargs") else None
    if report.failed and isinstance(world, World):
        report.sections.append(("agent", world.said(40)))
    return report
