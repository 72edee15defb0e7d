"""A Windows node on the stand-in for HNS, as the tests of the adapter have it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from azure_cni.datapath import names
from azure_cni.datapath.node_table import NodeTable
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.node.ports import SandboxSpec
from azure_cni.windows.datapath import HcnDatapath
from fakehns.service import FakeHns
from windows.library import FakeAdapters, stand_in_hcn

A, B = IPv4Address("10.240.0.7"), IPv4Address("10.240.0.8")
MAC, PRIMARY, MTU = "00:0d:3a:00:00:0a", IPv4Address("10.240.0.4"), 1500
TABLE = NodeTable(
    uplink_mac=MAC,
    primary=PRIMARY,
    pool=frozenset({A, B}),
    public=frozenset(),
    routable=frozenset({IPv4Network("10.240.0.0/16")}),
    imds_allowed=False,
)


class HnsNode:
    """`hns` outlives the agents of the node: `agent` starts another one."""

    def __init__(self) -> None:
        self.hns = FakeHns()
        self.adapters = FakeAdapters(self.hns, mac=MAC, primary=PRIMARY, mtu=MTU)
        self._agents: list[HcnDatapath] = []

    def agent(self, **settings: Any) -> HcnDatapath:
        self._agents.append(HcnDatapath(stand_in_hcn(self.hns), self.adapters, **settings))
        return self._agents[-1]

    def spec(self, container: str, address: IPv4Address, *, netns: str = "") -> SandboxSpec:
        """In a namespace of its own, unless one is named."""
        sandbox = Sandbox("azure-cni", container, "eth0")
        return SandboxSpec(sandbox, netns or self.hns.add_namespace(), (address,), LinkParameters(MTU, PRIMARY))

    def endpoints(self, spec: SandboxSpec) -> list[dict[str, Any]]:
        return self.hns.endpoints(names.host_ifname(*spec.sandbox.interface))

    async def close(self) -> None:
        for agent in self._agents:
            await agent.close()


@contextlib.asynccontextmanager
async def prepared() -> AsyncIterator[tuple[HnsNode, HcnDatapath]]:
    """A node whose agent has applied its table."""
    node = HnsNode()
    agent = node.agent()
    await agent.apply_node(TABLE)
    yield node, agent
    await node.close()
