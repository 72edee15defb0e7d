"""The agent of a Windows node, as its process composes it, on stand-ins: HNS, registry, console, and a socket as pipe.

The directories are Windows' own: on Linux each is one odd name in the working directory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from azure_cni.cni.systems import WINDOWS
from azure_cni.entrypoints import settings
from azure_cni.entrypoints.agent import run_agent
from azure_cni.entrypoints.windows_platform import WindowsPlatform
from azure_cni.kube.client import KubeEndpoint
from azure_cni.windows.stop import CTRL_SHUTDOWN
from fakeazure import FakeAzure
from fakes.kubeapi import NODES, TOKEN, FakeKubeAPI
from fakes.waiting import LOOK_S, PATIENCE_S, until
from fakes.windows_libraries import StandInNode
from windows.library import FakeAdapters

PRIMARY = IPv4Address("10.240.0.4")
CONFLIST = Path(WINDOWS.conf_dir) / "10-azure-cni.conflist"
BINARY = Path(WINDOWS.bin_dir) / "azure-cni.exe"
PLUGIN = b"MZ\x90"
CLUSTER_DNS = {"servers": ["10.0.0.10"], "searches": ["default.svc.cluster.local"], "options": ["ndots:5"]}
"""What a kubelet has a runtime pass on for a pod with the policy ClusterFirst."""


class Windows:
    """A node, its Azure and its API server. `agent` runs one agent after another there."""

    def __init__(self, directory: Path, azure: FakeAzure, environ: dict[str, str], api: str) -> None:
        self.node = StandInNode()
        self._directory, self._environ, self._api = directory, environ, api
        mac = next(iter(azure.network.vms.values())).mac
        self._adapters = FakeAdapters(self.node.hns, mac=mac.replace("-", ":").lower(), primary=PRIMARY, mtu=1500)
        self._agents = 0

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """Until it is stopped as a runtime stops a HostProcess container. It has ended then."""
        self._agents += 1
        chosen = settings.read(self._environ, system=WINDOWS)
        platform = WindowsPlatform(
            chosen.host, self.node.libraries(), adapters=self._adapters, open_pipe=self._open_pipe
        )
        task = asyncio.create_task(
            run_agent(chosen, api_server=KubeEndpoint(self._api, token=TOKEN), platform=platform)
        )
        await until(lambda: task.done() or self._serves, within_s=PATIENCE_S, say=lambda: "no conflist")
        async with asyncio.timeout(PATIENCE_S):  # a restarted agent opens the pipe before it applies the node's table
            while not task.done() and await platform.datapath.guarded_mode() is None:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)
        if task.done():
            await task
        yield
        assert await asyncio.to_thread(self.node.kernel.send, CTRL_SHUTDOWN) == 1
        await asyncio.wait_for(task, PATIENCE_S)

    @property
    def socket(self) -> Path:
        """In the pipe's place; Windows removes a pipe with its process."""
        return self._directory / f"pipe{self._agents}"

    async def call(self, verb: str, container: str, netns: str) -> dict[str, Any]:
        """As the binary does, with what the runtime makes of the conflist. AssertionError for a CNI error."""
        conflist = json.loads(CONFLIST.read_text())
        config = conflist["plugins"][0] | {"cniVersion": conflist["cniVersion"], "name": conflist["name"]}
        if config["capabilities"].get("dns"):
            config["runtimeConfig"] = {"dns": CLUSTER_DNS}
        names = {"K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": container}
        body = {"containerID": container, "netns": netns, "ifname": "eth0", "args": names, "path": "", "config": config}
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.socket))) as session,
            session.post(f"http://agent/cni/v1/{verb}", data=json.dumps(body)) as response,
        ):
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer

    @property
    def _serves(self) -> bool:
        return CONFLIST.exists() and self.socket.exists()

    @property
    def shown(self) -> set[str]:
        """Addresses of endpoints in namespaces, as HNS has them."""
        return {
            one["IpConfigurations"][0]["IpAddress"]
            for one in self.node.hns.endpoints()
            if one.get("HostComputeNamespace")
        }

    async def _open_pipe(self, protocol: Callable[[], asyncio.Protocol], name: str) -> Sequence[asyncio.Server]:
        assert name == WINDOWS.default_socket
        return [await asyncio.get_running_loop().create_unix_server(protocol, path=str(self.socket))]


@pytest.fixture
async def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Windows]:
    monkeypatch.chdir(tmp_path)
    Path(WINDOWS.plugin).write_bytes(PLUGIN)  # noqa: ASYNC240
    azure, api = FakeAzure(seed=7, operation_duration_s=0.05, throttling=False), FakeKubeAPI()
    azure.add_vnet()
    azure.add_vm("vm1", address=str(PRIMARY))
    azure.pin_caller("vm1")
    api.put(NODES, "vm1")
    async with azure.serve() as endpoints, api.serve() as url:
        environ = {
            "NODE_NAME": "vm1",
            "METRICS_BIND": "loopback",
            "METRICS_PORT": "0",
            "ARM_ENDPOINT": endpoints.arm,
            "IMDS_ENDPOINT": endpoints.imds,
            "CA_FILE": str(endpoints.ca_file),
            "COOLING_S": "1",
        }
        yield Windows(tmp_path, azure, {f"AZURE_CNI_{name}": value for name, value in environ.items()}, url)


def address_of(result: dict[str, Any]) -> str:
    (one,) = result["ips"]
    return str(one["address"]).partition("/")[0]


async def test_pods_live_through_an_agent_s_restart_and_a_reboot_begins_anew(windows: Windows) -> None:
    netns = windows.node.hns.add_namespace()
    async with windows.agent():
        assert BINARY.read_bytes() == PLUGIN
        ours = json.loads(CONFLIST.read_text())["plugins"]
        assert [(one["type"], one["socket"], one["runDir"]) for one in ours] == [
            ("azure-cni", WINDOWS.default_socket, WINDOWS.run_dir)
        ]
        first = address_of(await windows.call("add", "p1", netns))
        assert windows.shown == {first}
        (endpoint,) = windows.node.hns.endpoints()
        assert endpoint["Dns"]["ServerList"] == CLUSTER_DNS["servers"]
        assert endpoint["Dns"]["Search"] == CLUSTER_DNS["searches"]
    assert windows.shown == {first}, "pods keep running while no agent does"

    async with windows.agent():
        assert address_of(await windows.call("add", "p1", netns)) == first, "a repeat"
        other = address_of(await windows.call("add", "p2", windows.node.hns.add_namespace()))
        assert windows.shown == {first, other}
        await windows.call("del", "p2", "")
        assert windows.shown == {first}
    assert (Path(WINDOWS.run_dir) / "ledger.sqlite").exists()

    windows.node.reboot()
    async with windows.agent():
        assert windows.shown == set()
        again = address_of(await windows.call("add", "p3", windows.node.hns.add_namespace()))
        assert windows.shown == {again}
        await windows.call("del", "p1", "")
        assert windows.shown == {again}, "what ran before the reboot is no more, and its DEL still succeeds"
