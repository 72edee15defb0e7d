"""Which version the conflist has: the configured one, where runtime and chained plugin speak it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from azure_cni.cni.conflist import PORTMAP
from azure_cni.entrypoints.host_settings import HostSettings
from azure_cni.errors import AzureCniError
from azure_cni.host.install import HostPlugin
from azure_cni.node.installation import FULL_S, LOOK_S
from fakes.simulated_node import SimulatedNode
from unit.entrypoints.installed import at_work, of, runs_on, served, takes_pods, written

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize(
    ("spoken", "version", "why"),
    [
        (frozenset({"1.0.0", "1.1.0"}), "1.1.0", ""),
        (
            frozenset({"0.4.0", "1.0.0"}),
            "1.0.0",
            "the plugin portmap does not speak 1.1.0, but only 0.4.0, 1.0.0; ",
        ),
        (
            None,
            "1.0.0",
            "cannot ask portmap for its versions: Exec format error; install a newer portmap, set cni.chain",
        ),
    ],
)
async def test_a_newer_conflist_is_written_only_where_the_chained_plugin_speaks_it(
    host: HostSettings, spoken: frozenset[str] | None, version: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Path] = []

    class Files(HostPlugin):
        async def versions_of(self, plugin: str) -> frozenset[str]:
            asked.append(self.bin_dir / plugin)
            if spoken is None:
                raise AzureCniError("cannot ask portmap for its versions: Exec format error")
            return spoken

    newer = replace(host, chained=(PORTMAP,), spec_version="1.1.0")
    newer.bin_dir.mkdir()
    (newer.bin_dir / "portmap").touch()
    async with SimulatedNode().running() as node:
        runs_on(node, "containerd://2.4.2")
        files = Files(newer.plugin, newer.bin_dir, newer.conf_dir, newer.conf_name)
        async with at_work(of(node, newer, files=files)):
            await node.until(lambda: takes_pods(newer) and served(newer))
            assert written(newer)["cniVersion"] == version
            assert [plugin["type"] for plugin in written(newer)["plugins"]] == ["azure-cni", "portmap"]
            await asyncio.sleep(FULL_S * 3)
            assert set(asked) == {newer.bin_dir / "portmap"}
            if not why:
                assert len(asked) == 1, "asked once, and not each minute"
                (newer.bin_dir / "portmap").write_text("another one")
                await node.until(lambda: len(asked) == 2, within_s=LOOK_S + 0.1)
    reported = [vars(record)["why"] for record in caplog.records if record.message == "conflist of an older version"]
    assert len(reported) == (1 if why else 0)
    assert all(words.startswith(why) for words in reported)


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


async def test_where_no_node_object_says_what_the_runtime_speaks_the_settings_do(host: HostSettings) -> None:
    newer = replace(host, spec_version="1.1.0")
    async with SimulatedNode(in_cluster=False).running() as node, at_work(of(node, newer, node=None)):
        await node.until(lambda: takes_pods(newer))
        assert written(newer)["cniVersion"] == "1.1.0"
