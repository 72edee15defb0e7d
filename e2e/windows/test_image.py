"""The image for Windows nodes, as it was built before these tests, and what of it runs under Wine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from azurebox.image import MIB
from azurebox.image_settings import check_environment
from windows.ground import Ground
from windows.image import MARK, OTHER, USUAL, Layout
from windows.node import CALL_S, WindowsNode
from windows.wine import RUN

HOME = "Files/azure-cni"
"""Files of a layer for Windows are below Files/."""


@pytest.fixture(scope="module")
def node(ground: Ground, directory: Path) -> Iterator[WindowsNode]:
    """Without an agent, and without HNS."""
    made = WindowsNode(ground, directory, service_port=0)
    made.make()
    try:
        made.boot()
        yield made
    finally:
        made.power_off()


@pytest.fixture(params=[USUAL, OTHER])
def layout(request: pytest.FixtureRequest) -> Layout:
    if not request.config.getoption("--image"):
        pytest.skip("with ARGS=--image")
    return Layout(request.param)


def test_it_is_of_windows_and_has_nothing_else(layout: Layout, figures: list[str]) -> None:
    assert (layout.config["os"], layout.config["architecture"]) == ("windows", "amd64")
    check_environment(layout.config["config"]["Env"])
    names = {entry.name for entry in layout.entries}
    assert {name for name in names if not name.startswith(f"{HOME}/")} <= {f"Files/{MARK}"}
    assert [name for name in names if name.endswith((".so", "/pip/__init__.py")) or "pyroute2" in name] == []
    figures.append(
        f"image {layout.name}: {layout.compressed / MIB:.1f} MiB to fetch, {layout.unpacked / MIB:.1f} MiB unpacked, "
        f"{len(names)} files"
    )


def test_each_module_has_bytecode_of_the_cpython_that_reads_it(layout: Layout) -> None:
    names = {entry.name for entry in layout.entries}
    modules = [PurePosixPath(name) for name in names if "/azure_cni/" in name and name.endswith(".py")]
    missing = [str(one) for one in modules if f"{one.parent}/__pycache__/{one.stem}.cpython-314.pyc" not in names]
    assert len(modules) > 100
    assert missing == []


def test_base_and_cpython_are_those_that_the_build_names(layout: Layout) -> None:
    found = {entry.name for entry in layout.entries if PurePosixPath(entry.name).name == MARK}
    assert found == ({f"Files/{MARK}", f"{HOME}/{MARK}"} if layout.name == OTHER else set())


def test_its_programs_start(layout: Layout, node: WindowsNode, tmp_path: Path) -> None:
    layout.extract(tmp_path)
    home = tmp_path / HOME
    (home / "DLLs" / "_wmi.pyd").unlink()  # as in the ground: Wine has no answer to it
    plugin = node.run(home / "azure-cni.exe", CNI_COMMAND="VERSION", stdin='{"cniVersion": "1.1.0"}')
    assert "1.1.0" in json.loads(plugin)["supportedVersions"]
    agent = subprocess.run(
        [*RUN, home / "python.exe", "-m", "azure_cni", "agent", "--help"],
        cwd=home,
        env=node.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=CALL_S,
    )
    assert agent.returncode == 0, agent.stderr
    assert "Usage: " in agent.stdout
