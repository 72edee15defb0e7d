"""The default route of a node when it is not by the NIC, but by a second NIC or a VPN: what becomes of pods' traffic.

Azure carries a pod's address by the NIC that holds it and by no other, and a VPN knows the addresses of its members. So
what would leave the NIC with the node's primary address leaves another interface with that one's own: the node's
traffic and its pods' go the same way, which is what a person expects who turned the default route. Only the interface
of the default route is treated so. A tunnel to a certain network, and what else the node has of links, see pods' own
addresses, as before.

Networks that shall see pods by their own address (the VNet, its peers) cannot be served on such a way: they have to be
routed by the NIC, and only the person who turned the default route can say so. Those that are not are reported.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from azure_cni.datapath.conflicts import Conflict, ConflictReason

SAMPLE = IPv4Address("192.0.2.1")
"""An address of the internet to which nobody has a route of its own (RFC 5737, TEST-NET-1)."""

_NAMED = 5


@dataclass(frozen=True, slots=True)
class Way:
    """Where the kernel sends packets for an address: the index of the interface, and how specific the route is."""

    index: int
    prefix_length: int


def stranded(ways: Collection[tuple[IPv4Network, Way | None]], *, to: Way) -> tuple[IPv4Network, ...]:
    """Networks that should see pods and are reached by the default route `to` alone, in order."""
    return tuple(sorted(network for network, way in ways if way == to and not to.prefix_length))


def conflict(*, uplink: str, way_out: str, stranded: Collection[IPv4Network]) -> Conflict:
    """What to tell of a default route by `way_out`, the name of an interface."""
    message = (
        f"the node's default route leaves by {way_out} and not by the NIC's {uplink}: pods' connections to the "
        f"internet leave by {way_out} with its address"
    )
    if stranded:
        named = ", ".join(map(str, list(stranded)[:_NAMED])) + (" and more" if len(stranded) > _NAMED else "")
        message += (
            f", and connections between pods and these networks fail, because Azure carries pods' addresses by "
            f"{uplink} only: {named}. For each of them run: ip route add PREFIX via GATEWAY dev {uplink}"
        )
    message += (
        f"; if this is not intended, give the default route by {uplink} the lower metric (see: ip route show "
        f"default; ip route get {SAMPLE})"
    )
    return Conflict(ConflictReason.DEFAULT_ROUTE_ELSEWHERE, message)
