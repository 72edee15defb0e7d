"""IPv4 switches of interfaces (net.ipv4.conf.NAME...), set and read over netlink (linux/if_link.h, linux/ip.h).

A container's /proc/sys may be read-only, and a file for each of 250 links takes longer than the one message that the
kernel has for all.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from azure_cni.linux.netlink import Netlink, Request, attribute, attributes

_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_AF_INET = 2
_IFLA_AF_SPEC, _IFLA_INET_CONF, _IFLA_EXT_MASK = 26, 1, 29
_RTEXT_FILTER_SKIP_STATS = 0x8
_PROMOTE_SECONDARIES = 20
_IFINFO = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class Switch:
    """By its name in net.ipv4.conf and its number (IPV4_DEVCONF_...), and what it has to be on a pod's link."""

    name: str
    number: int
    wanted: int


OF_PODS = (Switch("forwarding", 1, 1), Switch("accept_source_route", 9, 0), Switch("arp_ignore", 19, 8))
"""Each link has its own, whatever those of new links are (`conf.default`).

- What comes in by a link is forwarded if that link's switch is on.
- A packet with a source route passes the forward chain under the address of its next stop: a way round the guards.
- No ARP request of a pod is answered (8). It needs no answer, for its neighbours are permanent; and the kernel
  remembers who asked. A pod that asks for the node from a thousand invented addresses (the rights of any container are
  enough) would fill the neighbour table, and then the node and all its pods find nobody new.
"""


def promote_secondaries(name: str, index: int) -> Request:
    """Removing an address shall not take others of its subnet along."""
    return _set(f"let {name} promote secondary addresses", index, (_PROMOTE_SECONDARIES, 1))


def ready_for_pod(name: str, index: int) -> Request:
    """Give a pod's link its switches."""
    return _set(f"set the switches of {name}", index, *((switch.number, switch.wanted) for switch in OF_PODS))


def unready(kernel: Netlink) -> dict[int, dict[Switch, int]]:
    """What each interface has otherwise than a pod's link should, by index; also those of others are looked at."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, _U32.pack(_RTEXT_FILTER_SKIP_STATS))
    found: dict[int, dict[Switch, int]] = {}
    for payload in kernel.dump("list IPv4 switches", kind=_RTM_GETLINK, body=body):
        _, _, index, _, _ = _IFINFO.unpack_from(payload)
        families = attributes(attributes(payload[_IFINFO.size :]).get(_IFLA_AF_SPEC, b""))
        values = attributes(families.get(_AF_INET, b"")).get(_IFLA_INET_CONF, b"")
        wrong = {switch: seen for switch in OF_PODS if (seen := _value(values, switch.number)) != switch.wanted}
        if values and wrong:
            found[index] = wrong
    return found


def _value(values: bytes, number: int) -> int:
    """The kernel lists all in an array, from number 1 on; -1 for one that it does not have."""
    at = _U32.size * (number - 1)
    return int(_U32.unpack_from(values, at)[0]) if at < len(values) else -1


def _set(what: str, index: int, *values: tuple[int, int]) -> Request:
    conf = attribute(_IFLA_INET_CONF, b"".join(attribute(number, _U32.pack(value)) for number, value in values))
    body = _IFINFO.pack(0, 0, index, 0, 0) + attribute(_IFLA_AF_SPEC, attribute(_AF_INET, conf))
    return Request(what, _RTM_NEWLINK, 0, body, forgiven=(errno.ENODEV,))
