"""A sandbox as tests ask for it, with the names and MACs that it gets in the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from azure_cni.datapath import names
from azure_cni.datapath.interface import Wiring
from azure_cni.ipam.address_state import Holder
from azure_cni.node.ports import LinkKey, SandboxSpec


@dataclass(frozen=True, slots=True)
class VethSandbox(SandboxSpec):
    """One that the transparent mode wires."""

    @property
    def holder(self) -> Holder:
        return Holder(self.sandbox, self.netns)

    @property
    def host_ifname(self) -> str:
        return names.host_ifname(*self.sandbox.interface)

    @property
    def host_mac(self) -> str:
        return names.host_mac(*self.sandbox.interface)

    @property
    def pod_mac(self) -> str:
        return names.pod_mac(*self.sandbox.interface)


def key_of(wiring: Wiring) -> LinkKey:
    """The link that an ADD made."""
    return LinkKey(wiring.node[0].name)
