"""Which interface of the node is the NIC, and what to do where the default route is by another one. Pure.

Azure names a NIC by its MAC, and several interfaces may carry that MAC. Some never are the NIC: what is stacked on one
(VLAN, macvlan, ipvlan) and what is enslaved to another one of the same MAC. With accelerated networking that is the
virtual function, whose master is the synthetic interface, which holds the addresses (Azure documentation, "How
Accelerated Networking works in Linux"); or the synthetic interface itself, where somebody put it into a bond or bridge.

More than one may be left: a virtual function that has not joined its master yet (for seconds after a boot, a resize or
a host's maintenance), or a copy of the MAC on a link that a person or a program made. A node whose agent gives up over
that serves no pod any more, so there is always a choice. `Evidence` is asked in this order:

1. the one in use, while it holds the primary address: nothing that appears beside it changes a node that works;
2. the synthetic interface, which its driver names (`hv_netvsc`; a virtual function's is mlx5_core or mana);
3. the one with the primary address, then the one with the default route;
4. hardware before what is made of software, what is up before what is down, and the oldest.

Only a choice by the last line is in doubt, and reported as a conflict.

**A default route elsewhere**, by a second NIC or a VPN. Azure carries a pod's address by the NIC that holds it and by
no other, and a VPN knows the addresses of its members. So what would leave the NIC with the node's primary address
leaves another interface with that one's own: the node's traffic and its pods' go the same way, which is what a person
expects who turned the default route. Only the interface of the default route is treated so. A tunnel to a certain
network, and what else the node has of links, see pods' own addresses, as before.

Networks that shall see pods by their own address (the VNet, its peers) cannot be served on such a way: they have to be
routed by the NIC, and only the person who turned the default route can say so. Those that are not are reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.interface import PortSettings
from azure_cni.datapath.names import PREFIX
from azure_cni.errors import DatapathError

SYNTHETIC_DRIVER = "hv_netvsc"
"""Of Hyper-V's own network interface, as ethtool names it."""

SAMPLE = IPv4Address("192.0.2.1")
"""An address of the internet to which nobody has a route of its own (RFC 5737, TEST-NET-1)."""

_NAMED = 5
_STACKED = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"}


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """What a bridge does: spanning tree protocol, multicast snooping."""

    stp: bool
    snooping: bool

    def __str__(self) -> str:
        return f"stp_state {int(self.stp)}, mcast_snooping {int(self.snooping)}"


@dataclass(frozen=True, slots=True)
class Link:
    """One interface as the kernel lists it; indexes are 0 where there is none.

    `switches` are its IPv4 switches, from number 1 on (IPV4_DEVCONF_... of linux/ip.h). `master` is the index of what
    it is enslaved to; `below` of what it is stacked upon in the same namespace; `kind` what software it is made of
    (`bridge`, `veth`), "" for hardware. `bridge` is what it does as a bridge, `port` as a port of one. `aliases` are
    its alternative names.
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    group: int = 0
    master: int = 0
    below: int = 0
    kind: str = ""
    switches: tuple[int, ...] = ()
    bridge: BridgeSettings | None = None
    port: PortSettings | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Uplink:
    """The NIC's interface: where pods' traffic leaves the node, and whose MTU they get."""

    name: str
    index: int
    mtu: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one interface or another, by index: the one in use, drivers, who has what."""

    current: int = 0
    synthetic: frozenset[int] = field(default_factory=frozenset)
    primary: frozenset[int] = field(default_factory=frozenset)
    default: frozenset[int] = field(default_factory=frozenset)

    def strength(self, link: Link) -> tuple[bool, bool, bool, bool]:
        """What speaks for it; higher is better."""
        return (
            link.index == self.current and link.index in self.primary,
            link.index in self.synthetic,
            link.index in self.primary,
            link.index in self.default,
        )


def candidates(links: Iterable[Link], mac: str) -> tuple[Link, ...]:
    """Those that may be the NIC with `mac` (lower case, colons); DatapathError where none may."""
    bearers = [link for link in links if link.mac == mac and not link.name.startswith(PREFIX)]
    indexes = {link.index for link in bearers}
    tops = [link for link in bearers if link.master not in indexes and not link.below and link.kind not in _STACKED]
    if not bearers:
        raise DatapathError(f"cannot find the uplink: no interface has the NIC's MAC {mac}")
    if not tops:
        raise DatapathError(
            f"cannot find the uplink: of the interfaces with MAC {mac} each is enslaved to another one or stacked on "
            f"one ({_named(bearers)})"
        )
    return tuple(tops)


def choose(tops: Sequence[Link], evidence: Evidence) -> Uplink:
    """The best of the candidates."""
    best = _ranked(tops, evidence)[0]
    return Uplink(name=best.name, index=best.index, mtu=best.mtu)


def doubt(tops: Sequence[Link], evidence: Evidence) -> tuple[Conflict, ...]:
    """The conflict where nothing distinguishes the best candidate from the next."""
    if len(tops) == 1:
        return ()
    best, second = _ranked(tops, evidence)[:2]
    if evidence.strength(best) != evidence.strength(second):
        return ()
    message = (
        f"{len(tops)} interfaces have the NIC's MAC {best.mac} ({_named(tops)}), and neither driver, primary address "
        f"nor default route shows which of them is the NIC; {best.name} is used. Remove the others, or give them "
        f"another MAC: ip link set dev NAME address MAC"
    )
    return (Conflict(ConflictReason.AMBIGUOUS_UPLINK, message),)


@dataclass(frozen=True, slots=True)
class Way:
    """Where the kernel sends packets for an address: the index of the interface, and how specific the route is."""

    index: int
    prefix_length: int


class RouteKind(StrEnum):
    """What the kernel does with a packet that came in by an interface."""

    FORWARD = "forward"
    LOCAL = "local"
    """It is for the node itself."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """What the kernel's routing does with a packet to an address. `table`: the number of the one that decided.

    `gateway`: None where the destination is on the link. `why`: of a refusal.
    """

    destination: IPv4Address
    kind: RouteKind
    interface: str = ""
    gateway: IPv4Address | None = None
    table: int = 0
    why: str = ""


def stranded(ways: Collection[tuple[IPv4Network, Way | None]], *, to: Way) -> tuple[IPv4Network, ...]:
    """Networks that should see pods and are reached by the default route `to` alone, in order."""
    return tuple(sorted(network for network, way in ways if way == to and not to.prefix_length))


def default_route_elsewhere(*, uplink: str, way_out: str, stranded: Collection[IPv4Network]) -> Conflict:
    """The conflict with a default route by `way_out`, the name of an interface."""
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


def _ranked(tops: Sequence[Link], evidence: Evidence) -> list[Link]:
    return sorted(tops, key=lambda link: (*_negated(evidence.strength(link)), bool(link.kind), not link.up, link.index))


def _negated(strength: Iterable[bool]) -> list[bool]:
    return [not one for one in strength]


def _named(links: Iterable[Link]) -> str:
    return ", ".join(sorted(link.name for link in links))
