"""Where the contract of the Datapath port is tried: in memory, and in network namespaces of a real kernel."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Protocol

import pytest

from azure_cni.datapath import names
from azure_cni.datapath.policy import OURS
from azure_cni.datapath.sandbox import SandboxSpec
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.ports import Datapath
from datapath.namespaces import NEEDS_ROOT, OUR_RULE, Namespace, Namespaces
from fakes.datapath import FakeDatapath

UPLINK_MAC = "00:0d:3a:00:00:0a"
PRIMARY = "10.240.0.4"
MTU = 1400
WORLDS = [pytest.param("memory"), pytest.param("kernel", marks=NEEDS_ROOT)]


class World(Protocol):
    """A data plane, and what others may do behind its back."""

    datapath: Datapath

    def new_netns(self) -> str:
        """The path of a namespace for a pod."""

    def remove_netns(self, path: str) -> None:
        """The runtime takes it away."""

    def occupy(self, path: str, ifname: str) -> None:
        """Something else makes an interface in it."""

    def break_link(self, spec: SandboxSpec) -> None:
        """Somebody turns the pod's interface off."""

    def lose_routes(self, spec: SandboxSpec) -> None:
        """Somebody deletes what leads to the pod, the neighbour too."""

    def turn_off(self, spec: SandboxSpec) -> None:
        """Somebody turns the node's end off, and with it the kernel drops what hangs on it."""

    def run_in(self, path: str) -> Callable[[], None]:
        """Start a process in a namespace; returns what ends it."""

    def lose_rule(self) -> None:
        """Somebody flushes the policy rules."""


class Memory:
    def __init__(self) -> None:
        self.datapath = FakeDatapath(uplink_mac=UPLINK_MAC, mtu=MTU)
        self._numbers = itertools.count()

    def new_netns(self) -> str:
        return f"/run/netns/pod{next(self._numbers)}"

    def remove_netns(self, path: str) -> None:
        self.datapath.remove_netns(path)

    def occupy(self, path: str, ifname: str) -> None:
        self.datapath.foreign.add((path, ifname))

    def break_link(self, spec: SandboxSpec) -> None:
        self.datapath.lose(spec.host_ifname, where="pod", up=False)

    def lose_routes(self, spec: SandboxSpec) -> None:
        self.datapath.lose(spec.host_ifname, where="node", routes=(), neighbours=())

    def turn_off(self, spec: SandboxSpec) -> None:
        self.datapath.lose(spec.host_ifname, where="node", up=False, routes=(), neighbours=())

    def run_in(self, path: str) -> Callable[[], None]:
        self.datapath.processes[path] = 1
        return self.datapath.processes.clear

    def lose_rule(self) -> None:
        self.datapath.rules.discard(OURS)


class Kernel:
    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        node = namespaces.new("node")
        node.sysctl("net/ipv4/ip_forward", "1")
        node.ip("rule", "add", "pref", *OUR_RULE.split())
        node.ip("link", "add", "eth0", "address", UPLINK_MAC, "mtu", str(MTU), "type", "bridge")
        node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
        node.ip("link", "set", "eth0", "up")
        self._node = node
        self.datapath = LinuxDatapath(node_netns=node.path, processes=Path("/proc"))

    def new_netns(self) -> str:
        return self._namespaces.new().path

    def remove_netns(self, path: str) -> None:
        self._at(path).delete()

    def occupy(self, path: str, ifname: str) -> None:
        self._at(path).ip("link", "add", ifname, "type", "bridge")

    def break_link(self, spec: SandboxSpec) -> None:
        self._at(spec.netns).ip("link", "set", spec.ifname, "down")

    def lose_routes(self, spec: SandboxSpec) -> None:
        self._node.ip("route", "flush", "dev", spec.host_ifname)
        self._node.ip("neigh", "flush", "dev", spec.host_ifname, "nud", "permanent")

    def turn_off(self, spec: SandboxSpec) -> None:
        self._node.ip("link", "set", spec.host_ifname, "down")

    def run_in(self, path: str) -> Callable[[], None]:
        process = subprocess.Popen(
            ["nsenter", f"--net={path}", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE
        )
        assert process.stdout
        process.stdout.readline()

        def end() -> None:
            process.kill()
            process.communicate()

        return end

    def lose_rule(self) -> None:
        self._node.ip("rule", "del", "pref", OUR_RULE.split()[0])

    @staticmethod
    def _at(path: str) -> Namespace:
        return Namespace(Path(path).name)


@contextlib.asynccontextmanager
async def open_world(kind: str) -> AsyncIterator[World]:
    if kind == "memory":
        yield Memory()
        return
    with Namespaces() as namespaces:
        world = Kernel(namespaces)
        yield world
        await world.datapath.close()


def a_spec(world: World, container: str, address: str, **changes: Any) -> SandboxSpec:
    """A sandbox in a namespace of its own, unless told otherwise."""
    facts: dict[str, Any] = {
        "netns": changes.pop("netns", None) or world.new_netns(),
        "ifname": "eth0",
        "address": IPv4Address(address),
        "host_ifname": names.host_ifname(container, "eth0"),
        "host_mac": names.host_mac(container, "eth0"),
        "pod_mac": names.pod_mac(container, "eth0"),
        "mtu": MTU,
        "node_address": IPv4Address(PRIMARY),
    }
    return SandboxSpec(**(facts | changes))
