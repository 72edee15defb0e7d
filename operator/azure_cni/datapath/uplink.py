"""Which interface of the node is the NIC: a decision over what the kernel lists.

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
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from azure_cni.datapath.conflicts import Conflict, ConflictReason
from azure_cni.datapath.names import PREFIX
from azure_cni.errors import DatapathError

SYNTHETIC_DRIVER = "hv_netvsc"
"""Of Hyper-V's own network interface, as ethtool names it."""

_STACKED = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"}


@dataclass(frozen=True, slots=True)
class Link:
    """One interface as the kernel lists it; indexes are 0 where there is none.

    `master` is the index of what it is enslaved to; `below` of what it is stacked upon in the same namespace; `kind`
    what software it is made of (`bridge`, `veth`), "" for hardware.
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


@dataclass(frozen=True, slots=True)
class Uplink:
    """The NIC's interface: where pods' traffic leaves the node, and whose MTU they get."""

    name: str
    index: int
    mtu: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one interface or another, by index: the one in use, drivers, who has what."""

    known: int = 0
    synthetic: frozenset[int] = field(default_factory=frozenset)
    primary: frozenset[int] = field(default_factory=frozenset)
    default: frozenset[int] = field(default_factory=frozenset)

    def strength(self, link: Link) -> tuple[bool, bool, bool, bool]:
        """What can be known of it; higher is better."""
        return (
            link.index == self.known and link.index in self.primary,
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
    """The conflict where nothing tells the best candidate from the next."""
    if len(tops) == 1:
        return ()
    best, second = _ranked(tops, evidence)[:2]
    if evidence.strength(best) != evidence.strength(second):
        return ()
    message = (
        f"{len(tops)} interfaces have the NIC's MAC {best.mac} ({_named(tops)}), and neither driver, primary address "
        f"nor default route tells which of them is the NIC; {best.name} is used. Remove the others, or give them "
        f"another MAC: ip link set dev NAME address MAC"
    )
    return (Conflict(ConflictReason.AMBIGUOUS_UPLINK, message),)


def _ranked(tops: Sequence[Link], evidence: Evidence) -> list[Link]:
    return sorted(tops, key=lambda link: (*_negated(evidence.strength(link)), bool(link.kind), not link.up, link.index))


def _negated(strength: Iterable[bool]) -> list[bool]:
    return [not one for one in strength]


def _named(links: Iterable[Link]) -> str:
    return ", ".join(sorted(link.name for link in links))
