"""When a node takes pods: binary and conflist as an agent leaves them, after a start, a restart and a reboot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from azure_cni.entrypoints.installation import FULL_S, LOOK_S, Installation
from azure_cni.entrypoints.settings import HostSettings
from azure_cni.errors import AzureCniError, NodeNotReady
from azure_cni.host.mounts import NodeDirectories
from azure_cni.ipam.ledger import Ledger
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
        spec_version="1.0.0",
        run_dir=tmp_path / "run",
        plugin=tmp_path / "plugin",
        sysctls=tmp_path / "sys",
        processes=None,
    )


@pytest.fixture
def installation(host: HostSettings) -> Host:
    return lambda node: of(node, host)


def of(node: SimulatedNode, host: HostSettings, **more: Any) -> Installation:
    """The installation on a node."""
    return Installation(
        host,
        board=node.board,
        book=node.book,
        wake=node.reconciler.wake,
        node=node.node_port,
        clock=node.clock,
        **more,
    )


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
        installed = of(node, chained)
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
        installed = of(node, settings)
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
        installed = of(node, host, directories=directories)
        running = asyncio.create_task(installed.run())
        await node.until(lambda: takes_pods(host))
        directories.words = "/opt/cni/bin of the node was removed"
        with pytest.raises(AzureCniError, match=r"^cannot go on in this container: /opt/cni/bin of the node was remov"):
            async with asyncio.timeout(LOOK_S + 0.1):
                await running


def written(host: HostSettings) -> dict[str, Any]:
    """The conflist on the node."""
    document: dict[str, Any] = json.loads((host.conf_dir / host.conf_name).read_text())
    return document


def served(host: HostSettings) -> bool:
    return (host.run_dir / "served").exists()


def runs_on(node: SimulatedNode, runtime: str) -> None:
    """The kubelet says that this is the node's container runtime."""
    node.pools.node["status"] = {"nodeInfo": {"containerRuntimeVersion": runtime}}


async def rebooted_while_azure_is_silent(host: HostSettings, installation: Host, runtime: str) -> SimulatedNode:
    first = await a_node_with_pods(host, installation)
    node = SimulatedNode(before=first, rebooted=True)
    node.cloud.silent = True
    runs_on(node, runtime)
    return node


@asynccontextmanager
async def at_work(installed: Installation) -> AsyncIterator[None]:
    """The installation as the agent runs it."""
    installed.begin()
    running = asyncio.create_task(installed.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_pods_of_before_a_reboot_can_end_while_azure_is_silent(
    host: HostSettings, installation: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    node = await rebooted_while_azure_is_silent(host, installation, "containerd://2.4.2")
    installed = installation(node)
    async with node.running(), at_work(installed):
        await asyncio.sleep(300)
        held = written(host)
        assert held["cniVersion"] == "1.1.0", "so that the runtime asks STATUS"
        assert [plugin["type"] for plugin in held["plugins"]] == ["azure-cni"]
        assert not served(host)
        with pytest.raises(NodeNotReady):
            node.sandboxes.status()
        node.cloud.silent = False
        await node.until(lambda: written(host)["cniVersion"] == "1.0.0")
        assert served(host)
        node.sandboxes.status()
    lines = [record for record in caplog.records if record.message == "conflist written: this node takes pods"]
    assert vars(lines[-1])["since_boot_s"] >= 300


@pytest.mark.parametrize("runtime", ["containerd://1.6.20~ds1", "containerd://1.7.27", "docker://28.0", "?"])
async def test_a_runtime_that_asks_no_status_gets_no_conflist_before_a_pod_can_start(
    host: HostSettings, installation: Host, runtime: str
) -> None:
    node = await rebooted_while_azure_is_silent(host, installation, runtime)
    async with node.running(), at_work(installation(node)):
        await asyncio.sleep(60)
        assert not takes_pods(host)
        node.cloud.silent = False
        await node.until(lambda: takes_pods(host))


async def test_no_conflist_takes_the_place_of_another_one_before_a_pod_can_start(
    host: HostSettings, installation: Host
) -> None:
    host.conf_dir.mkdir()
    (host.conf_dir / "99-other.conflist").touch()
    node = SimulatedNode()
    node.cloud.silent = True
    runs_on(node, "containerd://2.4.2")
    async with node.running(), at_work(installation(node)):
        await asyncio.sleep(60)
        assert not takes_pods(host)


async def test_the_mark_of_an_agent_that_serves_goes_with_a_reboot(host: HostSettings, installation: Host) -> None:
    first = await a_node_with_pods(host, installation)
    assert served(host)
    installation(SimulatedNode(before=first)).begin()
    assert served(host), "a restart is no reboot"
    installation(SimulatedNode(before=first, rebooted=True)).begin()
    assert not served(host)


@pytest.mark.parametrize(
    ("spoken", "version", "why"),
    [
        (frozenset({"1.0.0", "1.1.0"}), "1.1.0", ""),
        (
            frozenset({"0.4.0", "1.0.0"}),
            "1.0.0",
            "the plugin portmap does not speak 1.1.0, but only 0.4.0, 1.0.0; ",
        ),
        (None, "1.0.0", "cannot ask portmap for its versions: Exec format error; install newer reference CNI plugins"),
    ],
)
async def test_a_newer_conflist_is_written_only_where_the_chained_plugin_speaks_it(
    host: HostSettings, spoken: frozenset[str] | None, version: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Path] = []

    async def speaks(program: Path) -> frozenset[str]:
        asked.append(program)
        if spoken is None:
            raise AzureCniError("cannot ask portmap for its versions: Exec format error")
        return spoken

    newer = replace(host, chain_portmap=True, spec_version="1.1.0")
    newer.bin_dir.mkdir()
    (newer.bin_dir / "portmap").touch()
    async with SimulatedNode().running() as node:
        runs_on(node, "containerd://2.4.2")
        async with at_work(of(node, newer, speaks=speaks)):
            await node.until(lambda: takes_pods(newer) and served(newer))
            assert written(newer)["cniVersion"] == version
            assert [plugin["type"] for plugin in written(newer)["plugins"]] == ["azure-cni", "portmap"]
            await asyncio.sleep(FULL_S * 3)
            assert set(asked) == {newer.bin_dir / "portmap"}
            if not why:
                assert len(asked) == 1, "asked once, and not each minute"
                (newer.bin_dir / "portmap").write_text("another one")
                await node.until(lambda: len(asked) == 2, within_s=LOOK_S + 0.1)
    told = [vars(record)["why"] for record in caplog.records if record.message == "conflist of an older version"]
    assert len(told) == (1 if why else 0)
    assert all(words.startswith(why) for words in told)


async def test_a_newer_conflist_is_written_only_where_the_runtime_speaks_it(
    host: HostSettings, caplog: pytest.LogCaptureFixture
) -> None:
    newer = replace(host, spec_version="1.1.0")
    async with SimulatedNode().running() as node:
        runs_on(node, "containerd://1.7.27")
        async with at_work(of(node, newer)):
            await node.until(lambda: takes_pods(newer))
            assert written(newer)["cniVersion"] == "1.0.0"
            assert "the runtime containerd://1.7.27 is not known to speak 1.1.0" in vars(caplog.records[-1])["why"]
            runs_on(node, "containerd://2.4.2")
            await node.until(lambda: written(newer)["cniVersion"] == "1.1.0", within_s=FULL_S + LOOK_S)


async def test_without_a_chained_plugin_nobody_is_asked(host: HostSettings) -> None:
    newer = replace(host, spec_version="1.1.0")
    async with SimulatedNode().running() as node:
        runs_on(node, "cri-o://1.33.0")
        async with at_work(of(node, newer)):
            await node.until(lambda: takes_pods(newer))
            await node.until(lambda: written(newer)["cniVersion"] == "1.1.0")


async def test_a_restarted_agent_leaves_the_conflist_in_place_also_before_it_can_wire_a_pod(
    host: HostSettings, installation: Host
) -> None:
    """Its ledger says that pods could start before: to take that back for a moment would make the node NotReady."""
    first = await a_node_with_pods(host, installation)
    runs_on(first, "containerd://2.4.2")
    async with at_work(installation(SimulatedNode(before=first))):
        await asyncio.sleep(60)
        assert written(host)["cniVersion"] == "1.0.0"
        assert served(host)


async def test_a_node_that_has_taken_pods_keeps_its_conflist_when_others_empty_the_nic(
    host: HostSettings, installation: Host
) -> None:
    """That no address is left is told by conditions and the taint; it is no reason to make the node NotReady."""
    async with SimulatedNode().running() as node:
        runs_on(node, "containerd://2.4.2")
        async with at_work(installation(node)):
            await node.until(lambda: takes_pods(host) and served(host))
            node.book.ledger = Ledger((), cooling_s=1)
            await asyncio.sleep(FULL_S)
            assert written(host)["cniVersion"] == "1.0.0"
            (host.bin_dir / "azure-cni").unlink()
            await node.until((host.bin_dir / "azure-cni").exists, within_s=LOOK_S + 0.1)
