"""A whole node on the stand-in for HNS: the real use cases, and a fake of every other port."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.datapath.interface import Wiring
from azure_cni.ipam.address_state import Holder
from azure_cni.ipam.sizing import Policy
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.ports import Grants
from azure_cni.windows.datapath import HcnDatapath
from fakehns.service import FakeHns
from fakes.cloud import IDENTITY
from fakes.simulated_node import SimulatedNode, holder
from windows.library import FakeAdapters, stand_in_hcn


class WindowsNode(SimulatedNode):
    """On the event loop's real time, because HNS has none of its own. With `before` it is the next agent there.

    `size`: how many addresses its pool has.
    """

    def __init__(self, *, before: WindowsNode | None = None, size: int = 32, **settings: Any) -> None:
        self.hns = before.hns if before else FakeHns()
        adapters = FakeAdapters(self.hns, mac=IDENTITY.mac, primary=IDENTITY.primary_ip, mtu=1500)
        self.hcn = HcnDatapath(stand_in_hcn(self.hns), adapters)
        self._namespaces: dict[str, str] = before._namespaces if before else {}
        self._size = size
        super().__init__(before=before, policy=Policy(size=size), **settings)

    def _ports(self, grants: Grants) -> NodePorts:
        return replace(super()._ports(grants), datapath=self.hcn)

    def pod(self, name: str) -> Holder:
        if name not in self._namespaces:
            self._namespaces[name] = self.hns.add_namespace()
        return replace(holder(name), netns=self._namespaces[name])

    async def add(self, name: str) -> Wiring:
        return await self.sandboxes.add(self.pod(name))

    async def serving(self) -> None:
        await self.until(
            lambda: self.state.ready and self.counts.allocated == self._size and not self.counts.programming
        )

    @property
    def held(self) -> dict[str, IPv4Address]:
        """By container: what the ledger says."""
        slots = [slot for slot in self.stored.ledger.slots if slot.holder is not None]
        return {self.hcn.key(slot.holder.sandbox): slot.address for slot in slots if slot.holder}

    @property
    def shown(self) -> dict[str, IPv4Address]:
        """The same, as HNS has it."""
        return {
            one["Name"]: IPv4Address(one["IpConfigurations"][0]["IpAddress"])
            for one in self.hns.endpoints()
            if one.get("HostComputeNamespace")
        }
