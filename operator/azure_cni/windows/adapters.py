"""The node's network adapters, and which of them is the NIC's.

The NIC's MAC may be on two adapters: once an HCN network of type L2Bridge is on it, the addresses and routes are on the
switch's own adapter (`vEthernet (...)`), and the hardware's has none. A virtual function has the MAC as well. So the
NIC's is the one that holds the primary address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import Protocol

from azure_cni.datapath.hcn_documents import Segment
from azure_cni.datapath.uplink import Uplink
from azure_cni.errors import DatapathError
from azure_cni.model.text import few


@dataclass(frozen=True, slots=True)
class Adapter:
    """One as Windows lists it. `mac` in lower case with colons; `mtu` in bytes; `gateway` of its default route."""

    index: int
    name: str
    mac: str
    mtu: int
    addresses: tuple[IPv4Interface, ...] = ()
    gateway: IPv4Address | None = None


class Adapters(Protocol):
    """Where they are listed (GetAdaptersAddresses)."""

    def read(self) -> Iterable[Adapter]:
        """All of them. DatapathError."""


def nics_adapter(adapters: Iterable[Adapter], mac: str, primary: IPv4Address) -> Adapter:
    """The one with the NIC's `mac` that holds its primary address. DatapathError where there is none."""
    bearers = [adapter for adapter in adapters if adapter.mac == mac]
    if not bearers:
        raise DatapathError(f"cannot find the uplink: no interface has the NIC's MAC {mac}")
    for adapter in bearers:
        if any(address.ip == primary for address in adapter.addresses):
            return adapter
    raise DatapathError(
        f"cannot find the uplink: no interface with the NIC's MAC {mac} has its address {primary} "
        f"({few([adapter.name for adapter in bearers])}); after an HCN network was made it takes some seconds to return"
    )


def uplink_of(adapter: Adapter) -> Uplink:
    """As the node's other parts know it."""
    return Uplink(name=adapter.name, index=adapter.index, mtu=adapter.mtu)


def segment_of(adapter: Adapter, primary: IPv4Address) -> Segment:
    """The NIC's subnet as the adapter has it. DatapathError where it has no gateway."""
    subnets = [address.network for address in adapter.addresses if address.ip == primary]
    if not subnets or adapter.gateway is None:
        raise DatapathError(
            f"cannot wire pods by {adapter.name}: it has {primary} but no gateway; Azure's DHCP gives one, see: "
            "Get-NetIPConfiguration"
        )
    return Segment(adapter.name, subnets[0], adapter.gateway, adapter.mtu)
