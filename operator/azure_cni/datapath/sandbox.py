"""What one sandbox should look like in the kernel.

A sandbox is one interface of one container: a veth whose host end stays in the node's namespace and whose peer is
the pod's interface. In `transparent` mode the pod has its address as a /32, a link-local gateway that is on-link,
and a permanent neighbour for it; the node has one route to the pod. Nothing is ever learnt by ARP.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

GATEWAY = IPv4Address("169.254.1.1")
"""Next hop inside every pod; never leaves the veth. Calico and Azure's own plugin use the same."""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """All that is needed to wire one sandbox, and to check it later.

    `netns` is a path in the agent's mount namespace; MACs are lower case with colons; `mtu` in bytes, the NIC's.
    """

    netns: str
    ifname: str
    address: IPv4Address
    host_ifname: str
    host_mac: str
    pod_mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SandboxLinks:
    """What the kernel made of it, as a CNI result wants it."""

    host_ifname: str
    host_mac: str
    pod_ifname: str
    pod_mac: str
    mtu: int
