"""When a node takes pods: binary and conflist as an agent leaves them, after a start, a restart and a reboot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from azure_cni.entrypoints.installation import FULL_S, LOOK_S, Installation
from azure_cni.entrypoints.settings import HostSettings
from azure_cni.errors import AzureCniError
from azure_cni.host.mounts import NodeDirectories
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


class Replaced(NodeDirectories):
    """Directories of a node where somebody replaces one."""

    def __init__(self) -> None:
        super().__init__(())
        self.words = ""

    def replaced(self) -> str:
        return self.words


@asynccontextmanager
async def chained(host: HostSettings) -> AsyncIterator[tuple[SimulatedNode, HostSettings]]:
    """A node at work that has portmap, and the installation as the agent runs it."""
    settings = replace(host, chain_portmap=True)
    settings.bin_dir.mkdir()
    settings.conf_dir.mkdir()
    (settings.bin_dir / "portmap").touch()
    async with SimulatedNode().running() as node:
        installed = Installation(settings, board=node.board, book=node.book, wake=node.reconciler.wake)
        running = asyncio.create_task(installed.run())
        try:
            await node.until(lambda: takes_pods(settings))
            yield node, settings
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_a_plugin_that_is_removed_while_the_agent_runs_is_told_within_seconds(host: HostSettings) -> None:
    async with chained(host) as (node, settings):
        (settings.bin_dir / "portmap").unlink()
        await node.until(lambda: bool(node.board.obstacle), within_s=LOOK_S + 0.1)
        await node.until(lambda: node.condition("Ready")["reason"] == "PluginMissing", within_s=6)
        assert takes_pods(settings), "a node that has pods keeps its conflist"
        (settings.bin_dir / "portmap").touch()
        await node.until(lambda: not node.board.obstacle, within_s=LOOK_S + 0.1)
        await node.until(lambda: node.condition("Ready")["reason"] == "PodsCanStart", within_s=6)


async def test_what_others_change_is_put_right_within_seconds(host: HostSettings) -> None:
    async with chained(host) as (node, settings):
        (settings.bin_dir / "azure-cni").unlink()
        (settings.conf_dir / settings.conf_name).write_text("{}")
        await node.until((settings.bin_dir / "azure-cni").exists, within_s=LOOK_S + 0.1)
        assert "azure-cni" in (settings.conf_dir / settings.conf_name).read_text()


async def test_the_same_trouble_is_not_logged_at_each_look(
    host: HostSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with chained(host) as (_, settings):
        (settings.conf_dir / "00-other.conflist").touch()
        await asyncio.sleep(FULL_S * 3)
    warned = [record for record in caplog.records if record.message == "another network plugin comes first"]
    assert 3 <= len(warned) <= 4


async def test_a_link_out_of_sight_is_no_obstacle_and_is_told_once(
    host: HostSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with chained(host) as (node, settings):
        (settings.bin_dir / "portmap").unlink()
        (settings.bin_dir / "portmap").symlink_to("/var/lib/rancher/k3s/data/current/bin/portmap")
        await asyncio.sleep(FULL_S * 3)
        assert not node.board.obstacle
        assert node.condition("Ready")["reason"] == "PodsCanStart"
    assert len([record for record in caplog.records if record.message == "a plugin is out of sight"]) == 1


async def test_a_directory_that_was_replaced_ends_the_agent_with_words(host: HostSettings) -> None:
    directories = Replaced()
    async with SimulatedNode().running() as node:
        installed = Installation(
            host, board=node.board, book=node.book, wake=node.reconciler.wake, directories=directories
        )
        running = asyncio.create_task(installed.run())
        await node.until(lambda: takes_pods(host))
        directories.words = "/opt/cni/bin of the node was removed"
        with pytest.raises(AzureCniError, match=r"^cannot go on in this container: /opt/cni/bin of the node was remov"):
            async with asyncio.timeout(LOOK_S + 0.1):
                await running
