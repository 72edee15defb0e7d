"""Which interface of the node is the NIC: a decision over what the kernel lists.

Azure names a NIC by its MAC, and several interfaces may carry that MAC. With accelerated networking the virtual
function has the MAC of the synthetic interface, which is its master and the one that holds the addresses (Azure
documentation, "How Accelerated Networking works in Linux"). A VLAN or macvlan on top of the NIC has it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from azure_cni.datapath.names import PREFIX
from azure_cni.errors import DatapathError


@dataclass(frozen=True, slots=True)
class Link:
    """One interface as the kernel lists it; indexes are 0 where there is none.

    `master` is the index of what it is enslaved to; `below` of what it is stacked upon in the same namespace.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    group: int = 0
    master: int = 0
    below: int = 0


@dataclass(frozen=True, slots=True)
class Uplink:
    """The NIC's interface: where pods' traffic leaves the node, and whose MTU they get."""

    name: str
    index: int
    mtu: int


def choose(links: Iterable[Link], mac: str) -> Uplink:
    """The one interface with `mac` (lower case, colons) that is neither enslaved to another one nor stacked on one."""
    bearers = [link for link in links if link.mac == mac and not link.name.startswith(PREFIX)]
    indexes = {link.index for link in bearers}
    tops = [link for link in bearers if link.master not in indexes and not link.below]
    if not bearers:
        raise DatapathError(f"cannot find the uplink: no interface has the NIC's MAC {mac}")
    if len(tops) != 1:
        names = ", ".join(sorted(link.name for link in bearers))
        raise DatapathError(f"cannot find the uplink: {len(tops)} of the interfaces with MAC {mac} qualify ({names})")
    return Uplink(name=tops[0].name, index=tops[0].index, mtu=tops[0].mtu)
