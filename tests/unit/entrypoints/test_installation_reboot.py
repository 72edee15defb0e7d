"""After a reboot: pods of before can end at once, and new ones come when one can start."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.errors import NodeNotReady
from fakes.simulated_node import SimulatedNode
from unit.entrypoints.installed import Host, a_node_with_pods, at_work, runs_on, served, takes_pods, written

pytestmark = pytest.mark.looptime


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


async def rebooted_while_azure_is_silent(host: HostSettings, installation: Host, runtime: str) -> SimulatedNode:
    first = await a_node_with_pods(host, installation)
    node = SimulatedNode(before=first, rebooted=True)
    node.cloud.silent = True
    runs_on(node, runtime)
    return node


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
