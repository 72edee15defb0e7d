"""`azure-cni docker` as a process on a real kernel: a container's whole life, the status, an end by signal."""

from __future__ import annotations

import http.client
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from datapath.docker_process import DockerVm
from datapath.docker_vm import PRIMARY
from datapath.namespaces import NEEDS_ROOT, Namespace, Namespaces, caller_of

pytestmark = NEEDS_ROOT
ONE = {"NetworkID": "net1", "EndpointID": "ep1"}


class Plugin(http.client.HTTPConnection):
    """A client of its socket, as Docker is one."""

    def __init__(self, path: Path) -> None:
        super().__init__("plugin", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))

    def call(self, method: str, **content: Any) -> dict[str, Any]:
        self.request("POST", f"/{method}", body=json.dumps(content))
        reply: dict[str, Any] = json.loads(self.getresponse().read())
        assert not reply.get("Err"), reply
        return reply


def put_in(container: Namespace, node: Namespace, joined: dict[str, Any], address: str) -> None:
    """What Docker does with a Join's reply."""
    name = joined["InterfaceName"]["SrcName"]
    node.ip("link", "set", name, "netns", container.name)
    container.ip("link", "set", name, "name", "eth0")
    container.ip("address", "add", address, "dev", "eth0")
    container.ip("link", "set", "eth0", "up")
    for route in joined["StaticRoutes"]:
        way = ("via", route["NextHop"]) if route["RouteType"] == 0 else ("dev", "eth0", "scope", "link")
        container.ip("route", "add", route["Destination"], *way)
    container.ip("route", "add", "default", "via", joined["Gateway"])


def live(vm: DockerVm, namespaces: Namespaces) -> str:
    """A container's whole life, with a look at the status; the address that it had."""
    plugin, container = Plugin(vm.socket), namespaces.new("container")
    assert plugin.call("Plugin.Activate")["Implements"] == ["NetworkDriver", "IpamDriver"]
    pool = plugin.call("IpamDriver.RequestPool", AddressSpace="azure-cni", Pool="10.240.0.0/22")
    data = {"AddressSpace": "azure-cni", "Pool": pool["Pool"], "Gateway": "169.254.1.1/32"}
    plugin.call("NetworkDriver.CreateNetwork", NetworkID="net1", IPv4Data=[data], Options={})
    given = plugin.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"])["Address"]
    plugin.call("NetworkDriver.CreateEndpoint", **ONE, Interface={"Address": given})
    joined = plugin.call("NetworkDriver.Join", **ONE, SandboxKey=container.path)
    put_in(container, vm.node, joined, given)
    with vm.node.listen(PRIMARY, 8080) as listener:
        assert f"{caller_of(listener, container.socket(), (PRIMARY, 8080))}/32" == given
    code, shown = vm.status()
    assert code == 0, shown
    assert f"{given.partition('/')[0]}  joined  net1     ep1" in shown
    assert re.search(r"^Ready +True +PodsCanStart ", shown, re.MULTILINE)
    plugin.call("NetworkDriver.Leave", **ONE)
    plugin.call("NetworkDriver.DeleteEndpoint", **ONE)
    plugin.call("IpamDriver.ReleaseAddress", PoolID=pool["PoolID"], Address=given.partition("/")[0])
    return str(given.partition("/")[0])


def test_a_running_plugin_imports_nothing_more(
    namespaces: Namespaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade of the package replaces its files under the old process, which runs until it is restarted."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    vm = DockerVm(namespaces, tmp_path)
    try:
        assert vm.status("--wait", "20")[0] == 0
        before = vm.said.count("import time:")
        assert before
        live(vm, namespaces)
        assert vm.end() == 0
        assert vm.said.count("import time:") == before, vm.said[-2000:]
    finally:
        vm.kill()


def test_a_container_lives_on_the_vnet_and_the_process_ends_when_asked(vm: DockerVm, namespaces: Namespaces) -> None:
    assert vm.status("--wait", "20")[0] == 0
    address = live(vm, namespaces)
    assert "1 cooling" in vm.status()[1]
    code, history = vm.asked("who", address)
    assert (code, history.splitlines()[0]) == (0, f"no container of this VM has {address} now")
    assert re.search(r"^\S+Z  \S+Z +net1 +ep1 +-$", history, re.MULTILINE), history
    assert vm.asked("who", address, "--at", "2020-01-01T00:00:00Z")[0] == 3
    assert vm.asked("who", "10.240.0") == (
        1,
        "azure-cni: cannot look for '10.240.0': it is not an IPv4 address such as 10.240.0.36\n",
    )
    assert vm.end() == 0, vm.said
    assert not vm.socket.exists()
    assert (vm.directory / "state" / "docker-networks.json").exists()
    assert vm.status()[0] == 1
