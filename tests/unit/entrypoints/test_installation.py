"""When a node takes pods: binary and conflist as an agent leaves them, after a start, a restart and a reboot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from azure_cni.entrypoints.installation import Installation
from azure_cni.entrypoints.settings import HostSettings
from azure_cni.errors import AzureCniError
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

Host = Callable[[SimulatedNode], Installation]


@pytest.fixture
def host(tmp_path: Path) -> HostSettings:
    (tmp_path / "plugin").write_bytes(b"\x7fELF")
    return HostSettings(
        bin_dir=tmp_path / "bin",
        conf_dir=tmp_path / "net.d",
        conf_name="10-azure-cni.conflist",
        chain_portmap=False,
        run_dir=tmp_path / "run",
        plugin=tmp_path / "plugin",
        sysctls=tmp_path / "sys",
    )


@pytest.fixture
def installation(host: HostSettings) -> Host:
    return lambda node: Installation(host, board=node.board, book=node.book, wake=node.reconciler.wake)


def takes_pods(host: HostSettings) -> bool:
    return (host.conf_dir / host.conf_name).exists()


async def a_node_with_pods(host: HostSettings, installation: Host) -> SimulatedNode:
    async with SimulatedNode().running() as node:
        installed = installation(node)
        installed.begin()
        await node.until(lambda: installed.wanted)
        await installed.once()
        await node.add("p")
    assert takes_pods(host)
    return node


async def test_the_conflist_is_written_once_there_is_an_address(host: HostSettings, installation: Host) -> None:
    async with SimulatedNode().running() as node:
        installed = installation(node)
        installed.begin()
        assert not installed.wanted
        assert not takes_pods(host)
        await node.until(lambda: installed.wanted)
        assert node.counts.allocated == 16
        await installed.once()
        assert takes_pods(host)
        assert (host.bin_dir / "azure-cni").read_bytes() == b"\x7fELF"


async def test_a_restarted_agent_leaves_the_conflist_in_place(host: HostSettings, installation: Host) -> None:
    first = await a_node_with_pods(host, installation)
    installation(SimulatedNode(before=first)).begin()
    assert takes_pods(host)


async def test_after_a_reboot_the_node_takes_pods_only_when_one_can_start(
    host: HostSettings, installation: Host
) -> None:
    first = await a_node_with_pods(host, installation)
    second = SimulatedNode(before=first, rebooted=True)
    installed = installation(second)
    installed.begin()
    assert not takes_pods(host)
    async with second.running():
        await second.until(lambda: installed.wanted)
        await installed.once()
        assert takes_pods(host)


async def test_a_conflist_that_cannot_be_removed_is_told_and_the_agent_goes_on(
    host: HostSettings, installation: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.conf_dir.mkdir()
    (host.conf_dir / host.conf_name).mkdir()
    installation(SimulatedNode()).begin()
    assert "the conflist of before the reboot stays" in caplog.text


async def test_a_missing_plugin_of_the_chain_is_an_obstacle_and_the_conflist_waits(
    host: HostSettings, tmp_path: Path
) -> None:
    chained = replace(host, chain_portmap=True)
    chained.conf_dir.mkdir()
    async with SimulatedNode().running() as node:
        installed = Installation(chained, board=node.board, book=node.book, wake=node.reconciler.wake)
        await node.until(lambda: installed.wanted)
        await installed.once()
        assert "portmap is missing" in node.board.obstacle
        assert not takes_pods(chained)
        (tmp_path / "bin" / "portmap").touch()
        await installed.once()
        assert not node.board.obstacle
        assert takes_pods(chained)


async def test_a_directory_that_the_node_lacks_is_told(host: HostSettings, installation: Host) -> None:
    host.bin_dir.touch()
    with pytest.raises(AzureCniError, match="cannot install the plugin binary"):
        await installation(SimulatedNode()).once()
