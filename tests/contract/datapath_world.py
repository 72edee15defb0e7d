"""Where the contract of the Datapath port is tried: in memory, in network namespaces of a real kernel, and on the
stand-in for Windows' HNS. The kernel's is in `kernel_world`, which no Windows can load.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, Protocol

import pytest

from azure_cni.datapath.node_table import NodeTable
from azure_cni.datapath.policy import OURS
from azure_cni.docker.ports import LinkHandover
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.model.identity import ModeName
from azure_cni.node.ports import Datapath, LinkKey
from azure_cni.windows.datapath import HcnDatapath
from datapath.needs_root import NEEDS_ROOT
from fakehns.service import FakeHns
from fakes.veth import VethSandbox
from simulation.datapath import FakeDatapath
from windows.library import FakeAdapters, stand_in_hcn

UPLINK_MAC = "00:0d:3a:00:00:0a"
PRIMARY = "10.240.0.4"
MTU = 1400
WORLDS = [pytest.param("memory"), pytest.param("kernel", marks=NEEDS_ROOT)]
"""Those of Linux."""
EVERYWHERE = [
    *(
        pytest.param((kind, mode), id=f"{kind}-{mode}", marks=NEEDS_ROOT if kind == "kernel" else ())
        for kind in ("memory", "kernel")
        for mode in ModeName
    ),
    pytest.param(("windows", ModeName.TRANSPARENT), id="windows"),
]
A, B = "10.240.0.7", "10.240.0.8"
TABLE = NodeTable(
    uplink_mac=UPLINK_MAC,
    primary=IPv4Address(PRIMARY),
    pool=frozenset({IPv4Address(A), IPv4Address(B)}),
    public=frozenset(),
    routable=frozenset({IPv4Network("10.240.0.0/16")}),
    imds_allowed=False,
)
A6 = IPv6Address("2001:db8::7")
DUAL = replace(TABLE, ipv6_pairs=frozenset({(IPv4Address(A), A6)}))


class HandingOver(Datapath, LinkHandover, Protocol):
    """Both ports of a data plane."""


class DatapathUnderTest(Protocol):
    """A data plane, and what others may do behind its back."""

    datapath: HandingOver
    mode: ModeName

    uplink: str
    """The name of the NIC's interface."""

    async def prepare(self) -> None:
        """Whatever must have been done before pods can be wired."""

    async def settle(self) -> None:
        """Wait until removals under way are done."""

    def new_netns(self) -> str:
        """The path of a namespace for a pod."""

    def remove_netns(self, path: str) -> None:
        """The runtime takes it away."""

    def occupy(self, path: str, ifname: str) -> None:
        """Something else makes an interface in it."""

    def break_link(self, spec: VethSandbox) -> None:
        """Somebody turns the pod's interface off."""

    def lose_routes(self, spec: VethSandbox) -> None:
        """Somebody deletes what leads to the pod, the neighbour too."""

    def turn_off(self, spec: VethSandbox) -> None:
        """Somebody turns the node's end off, and with it the kernel drops what hangs on it."""

    def run_in(self, path: str) -> Callable[[], None]:
        """Start a process in a namespace; returns what ends it."""

    def lose_rule(self) -> None:
        """Somebody flushes the policy rules."""

    def move(self, spec: VethSandbox) -> None:
        """The runtime moves a link that was offered into the sandbox."""

    def own_egress(self) -> frozenset[IPv4Address]:
        """The addresses with which pods leave the VNet as themselves."""


def way_to(spec: VethSandbox) -> str:
    """The interface that what leads to a sandbox hangs on."""
    return "azure0" if spec.link.mode is ModeName.BRIDGE else spec.host_ifname


class MemoryDatapath:
    uplink = "eth0"

    def __init__(self, mode: ModeName) -> None:
        self.mode = mode
        self.datapath = FakeDatapath(uplink_mac=UPLINK_MAC, mtu=MTU)
        self._numbers = itertools.count()

    async def prepare(self) -> None:
        """Nothing."""

    async def settle(self) -> None:
        self.datapath.leaving.clear()

    def new_netns(self) -> str:
        return f"/run/netns/pod{next(self._numbers)}"

    def remove_netns(self, path: str) -> None:
        self.datapath.remove_netns(path)

    def occupy(self, path: str, ifname: str) -> None:
        self.datapath.foreign.add((path, ifname))

    def break_link(self, spec: VethSandbox) -> None:
        self.datapath.lose(LinkKey(spec.host_ifname), where="pod", up=False)

    def lose_routes(self, spec: VethSandbox) -> None:
        self.datapath.lose(LinkKey(spec.host_ifname), where="node", routes=(), neighbours=())

    def turn_off(self, spec: VethSandbox) -> None:
        self.datapath.lose(LinkKey(spec.host_ifname), where="node", up=False)
        if self.mode is ModeName.TRANSPARENT:  # what leads to a port hangs on its bridge
            self.lose_routes(spec)

    def run_in(self, path: str) -> Callable[[], None]:
        self.datapath.processes[path] = 1
        return self.datapath.processes.clear

    def lose_rule(self) -> None:
        self.datapath.rules.discard(OURS)

    def move(self, spec: VethSandbox) -> None:
        self.datapath.move(LinkKey(spec.host_ifname), spec.netns)

    def own_egress(self) -> frozenset[IPv4Address]:
        return self.datapath.own_egress


class WindowsDatapath:
    """On the stand-in for HNS. There are no links to lose parts of, and no handing over: see `DatapathUnderTest`."""

    mode = ModeName.TRANSPARENT
    uplink = "vEthernet (Ethernet)"

    def __init__(self) -> None:
        self.hns = FakeHns()
        self.adapters = FakeAdapters(self.hns, mac=UPLINK_MAC, primary=IPv4Address(PRIMARY), mtu=MTU)
        self.datapath = HcnDatapath(stand_in_hcn(self.hns), self.adapters)

    async def prepare(self) -> None:
        await self.datapath.apply_node(TABLE)

    async def settle(self) -> None:
        """What HNS has answered is done."""

    def new_netns(self) -> str:
        return self.hns.add_namespace()

    def remove_netns(self, path: str) -> None:
        self.hns.forget("Namespace", path)

    def occupy(self, path: str, ifname: str) -> None:
        del ifname  # no interface of Windows has a name that a runtime chooses
        (network,) = self.hns.objects["Network"]
        document = {
            "SchemaVersion": {"Major": 2, "Minor": 0},
            "Name": "another",
            "IpConfigurations": [{"IpAddress": "10.240.0.99", "PrefixLength": 22}],
        }
        made = json.loads(self.hns.create("Endpoint", json.dumps(document), network))
        self._modify(path, "Add", made["ID"])

    def break_link(self, spec: VethSandbox) -> None:
        (endpoint,) = self.hns.endpoints(spec.host_ifname)
        self._modify(spec.netns, "Remove", endpoint["ID"])

    def own_egress(self) -> frozenset[IPv4Address]:
        return frozenset(
            IPv4Address(endpoint["IpConfigurations"][0]["IpAddress"])
            for endpoint in self.hns.endpoints()
            if not any(policy["Settings"].get("Exceptions") for policy in endpoint["Policies"])
        )

    def _modify(self, namespace: str, what: str, endpoint: str) -> None:
        request = {"ResourceType": "Endpoint", "RequestType": what, "Settings": {"EndpointId": endpoint}}
        self.hns.modify("Namespace", namespace, json.dumps(request))


@contextlib.asynccontextmanager
async def open_world(kind: str, mode: ModeName) -> AsyncIterator[Any]:
    if kind == "memory":
        yield MemoryDatapath(mode)
        return
    if kind == "windows":
        windows = WindowsDatapath()
        yield windows
        await windows.datapath.close()
        return
    from contract.kernel_world import KernelDatapath
    from datapath.namespaces import Namespaces

    with Namespaces() as namespaces:
        world = KernelDatapath(namespaces, mode)
        yield world
        await world.datapath.close()


def a_spec(world: DatapathUnderTest, container: str, address: str, **changes: Any) -> VethSandbox:
    """A sandbox in a namespace of its own, by default."""
    netns = changes.pop("netns", None) or world.new_netns()
    link = LinkParameters(MTU, IPv4Address(PRIMARY), world.mode)
    return replace(
        VethSandbox(Sandbox("azure-cni", container, "eth0"), netns, (IPv4Address(address),), link), **changes
    )
