"""A node whose kernel is real: a namespace, the data plane inside it, and pods made on demand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.identity import ModeName
from datapath.namespaces import Namespace, Namespaces
from fakes.veth import VethSandbox

MTU = 1400
BRIDGE_MAC = "02:61:7a:75:72:65"


class DatapathInMode(LinuxDatapath):
    """One whose node is in a mode, whatever the tables of a test say about that."""

    def __init__(self, mode: ModeName, **settings: Any) -> None:
        super().__init__(**settings)
        self._mode = mode

    async def apply_node(self, table: NodeTable) -> HostReport:
        return await super().apply_node(replace(table, mode=self._mode))


@dataclass
class Machine:
    """A node whose kernel is real, and its pods."""

    namespaces: Namespaces
    node: Namespace
    mode: ModeName
    datapath: LinuxDatapath
    pods: dict[str, Namespace] = field(default_factory=dict)

    def spec(self, address: str, *, pod: Namespace | None = None, **changes: Any) -> VethSandbox:
        """A sandbox with this address in a namespace of its own; the address serves as container ID.

        Without a `node_address` the kernel chooses the source of what the node sends to it.
        """
        if pod is None:
            if address not in self.pods:
                self.pods[address] = self.namespaces.new()
            pod = self.pods[address]
        link = LinkParameters(changes.pop("mtu", MTU), changes.pop("node_address", None), self.mode)
        return replace(
            VethSandbox(Sandbox("azure-cni", address, "eth0"), pod.path, (IPv4Address(address),), link), **changes
        )

    def successor(self, **settings: Any) -> LinuxDatapath:
        """The data plane of another agent, on the same node in the same mode."""
        return DatapathInMode(self.mode, node_netns=self.node.path, **settings)

    def way_to(self, address: str) -> str:
        """The interface that what leads to this pod hangs on."""
        return "azure0" if self.mode is ModeName.BRIDGE else self.spec(address).host_ifname

    def gateway_mac(self, address: str) -> str:
        """Of the pod's gateway."""
        return BRIDGE_MAC if self.mode is ModeName.BRIDGE else self.spec(address).host_mac

    def facts_about(self, address: str) -> dict[str, str]:
        """A pod's interfaces and MACs, for commands and messages."""
        spec = self.spec(address)
        return {
            "host": spec.host_ifname,
            "way": self.way_to(address),
            "a": address,
            "host_mac": spec.host_mac,
            "pod_mac": spec.pod_mac,
            "gateway_mac": self.gateway_mac(address),
        }

    async def pod(self, address: str, **changes: Any) -> Namespace:
        """A namespace that is wired."""
        spec = self.spec(address, **changes)
        await self.datapath.attach(spec)
        return self.pods[address]
