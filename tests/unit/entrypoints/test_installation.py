"""When a node takes pods: binary and conflist after a start and a restart, and while others change them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from azure_cni.cni.conflist import PORTMAP
from azure_cni.entrypoints import cni_service
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.errors import AzureCniError
from azure_cni.host.files import NodeDirectories
from azure_cni.ipam.ledger import Ledger
from azure_cni.node.installation import FULL_S, LOOK_S
from fakes.simulated_node import SimulatedNode
from unit.entrypoints.installed import Host, a_node_with_pods, at_work, of, runs_on, served, takes_pods, written

pytestmark = pytest.mark.looptime


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


async def test_a_conflist_that_cannot_be_removed_is_reported_and_the_agent_goes_on(
    host: HostSettings, installation: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.conf_dir.mkdir()
    (host.conf_dir / host.conf_name).mkdir()
    installation(SimulatedNode()).begin()
    assert "the conflist of before the reboot stays" in caplog.text


async def test_a_missing_plugin_of_the_chain_is_an_obstacle_and_the_conflist_waits(
    host: HostSettings, tmp_path: Path
) -> None:
    chained = replace(host, chained=(PORTMAP,))
    chained.conf_dir.mkdir()
    async with SimulatedNode().running() as node:
        installed = of(node, chained)
        await node.until(lambda: installed.wanted)
        await installed.once()
        assert "portmap is missing" in node.state.obstacle
        assert not takes_pods(chained)
        (tmp_path / "bin" / "portmap").touch()
        await installed.once()
        assert not node.state.obstacle
        assert takes_pods(chained)


async def test_a_directory_that_the_node_lacks_is_reported(host: HostSettings, installation: Host) -> None:
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
    settings = replace(host, chained=(PORTMAP,))
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


async def test_a_plugin_that_is_removed_while_the_agent_runs_is_reported_within_seconds(host: HostSettings) -> None:
    async with chained(host) as (node, settings):
        (settings.bin_dir / "portmap").unlink()
        await node.until(lambda: bool(node.state.obstacle), within_s=LOOK_S + 0.1)
        await node.until(lambda: node.condition("Ready")["reason"] == "PluginMissing", within_s=6)
        assert takes_pods(settings), "a node that has pods keeps its conflist"
        (settings.bin_dir / "portmap").touch()
        await node.until(lambda: not node.state.obstacle, within_s=LOOK_S + 0.1)
        await node.until(lambda: node.condition("Ready")["reason"] == "PodsCanStart", within_s=6)


async def test_what_others_change_is_put_right_within_seconds(host: HostSettings) -> None:
    async with chained(host) as (node, settings):
        (settings.bin_dir / "azure-cni").unlink()
        (settings.conf_dir / settings.conf_name).write_text("{}")
        await node.until((settings.bin_dir / "azure-cni").exists, within_s=LOOK_S + 0.1)
        assert "azure-cni" in (settings.conf_dir / settings.conf_name).read_text()


async def test_a_conflist_that_comes_first_is_a_conflict_until_the_command_is_run(host: HostSettings) -> None:
    async with chained(host) as (node, settings):
        other = settings.conf_dir / "00-other.conflist"
        other.touch()
        await node.until(lambda: node.condition("HostConflict")["reason"] == "OtherConflist", within_s=LOOK_S + 6)
        assert node.condition("Ready")["status"] == "True", "what the agent serves is well"
        (problem,) = (await node.reconciler.inspector.describe(node="vm1")).problems
        assert (problem.kind, problem.reason) == ("HostConflict", "OtherConflist")
        assert problem.command == f"mv {other} {other}.unused"
        other.rename(f"{other}.unused")
        await node.until(lambda: node.condition("HostConflict")["status"] == "False", within_s=LOOK_S + 6)


async def test_the_same_failure_is_not_logged_at_each_look(
    host: HostSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with chained(host) as (_, settings):
        (settings.conf_dir / "00-other.conflist").touch()
        await asyncio.sleep(FULL_S * 3)
    warned = [record for record in caplog.records if record.message == "another network plugin comes first"]
    assert 3 <= len(warned) <= 4


async def test_a_link_out_of_sight_is_no_obstacle_and_is_reported_once(
    host: HostSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with chained(host) as (node, settings):
        (settings.bin_dir / "portmap").unlink()
        (settings.bin_dir / "portmap").symlink_to("/var/lib/rancher/k3s/data/current/bin/portmap")
        await asyncio.sleep(FULL_S * 3)
        assert not node.state.obstacle
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
    """That no address is left is shown by conditions and the taint; it is no reason to make the node NotReady."""
    async with SimulatedNode().running() as node:
        runs_on(node, "containerd://2.4.2")
        async with at_work(installation(node)):
            await node.until(lambda: takes_pods(host) and served(host))
            node.stored.ledger = Ledger((), cooling_s=1)
            await asyncio.sleep(FULL_S)
            assert written(host)["cniVersion"] == "1.0.0"
            (host.bin_dir / "azure-cni").unlink()
            await node.until((host.bin_dir / "azure-cni").exists, within_s=LOOK_S + 0.1)


async def test_only_a_container_watches_that_its_mounts_are_still_the_hosts(
    host: HostSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman mounts /run/netns over itself: on the host that is nobody's fault, and ended the process."""
    watched: list[tuple[Path, ...]] = []
    monkeypatch.setattr(cni_service, "NodeDirectories", watched.append)
    node = SimulatedNode()
    of(node, host)
    of(node, host, node=None)
    assert host.run_dir in watched[0]
    assert watched[1:] == [()]
