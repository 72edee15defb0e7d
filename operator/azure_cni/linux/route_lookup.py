"""What the kernel's routing says about one packet, without sending it: its own answer, policy rules included.

A lookup changes nothing and needs no right: it is what `ip route get` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from azure_cni.datapath.leaving import IMDS, NODE_MARK, WIRESERVER
from azure_cni.datapath.uplink import RouteDecision, RouteKind, Way
from azure_cni.errors import DatapathError
from azure_cni.linux import rtnetlink
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, Refused, attribute, attributes

_KINDS = {rt.RTN_UNICAST: RouteKind.FORWARD, rt.RTN_LOCAL: RouteKind.LOCAL}
_RTA_MARK = 16
_BY_NAME = rt.RTM_F_LOOKUP_TABLE


def way(kernel: Netlink, address: IPv4Address) -> Way | None:
    """Where the node itself would send a packet, by policy rules too; None where nowhere, or several ways at once."""
    flags = rt.RTM_F_LOOKUP_TABLE | rt.RTM_F_FIB_MATCH
    body = rt.RTMSG.pack(rt.AF_INET, 32, 0, 0, 0, 0, 0, 0, flags) + attribute(rt.RTA_DST, address.packed)
    try:
        found = kernel.get(f"look up the route to {address}", kind=rt.RTM_GETROUTE, body=body)
    except Refused as refused:
        if refused.errno in rt.NO_WAY:
            return None
        raise
    if found is None:
        return None
    values = attributes(found[rt.RTMSG.size :])
    return Way(rt.number(values, rt.RTA_OIF), found[1]) if rt.RTA_OIF in values else None


def forwarding(
    kernel: Netlink, destinations: Sequence[IPv4Address], *, source: IPv4Address, interface: str
) -> tuple[RouteDecision, ...]:
    """What becomes of packets that come in by that interface. DatapathError where there is none of the name."""
    names = {link.index: link.name for link in rtnetlink.links(kernel)}
    index = next((index for index, name in names.items() if name == interface), 0)
    if not index:
        raise DatapathError(f"cannot look up routes for {source}: its interface {interface} is not on the node")
    return tuple(_decision(kernel, one, source=source, index=index, names=names) for one in destinations)


def _decision(
    kernel: Netlink, destination: IPv4Address, *, source: IPv4Address, index: int, names: Mapping[int, str]
) -> RouteDecision:
    body = rt.RTMSG.pack(rt.AF_INET, 32, 32, 0, 0, 0, 0, 0, _BY_NAME)
    body += attribute(rt.RTA_DST, destination.packed) + attribute(rt.RTA_SRC, source.packed)
    body += attribute(rt.RTA_IIF, rt.U32.pack(index))
    if destination in {IMDS, WIRESERVER}:  # as the node's table marks them; where it does not, no rule asks for it
        body += attribute(_RTA_MARK, rt.U32.pack(NODE_MARK))
    try:
        found = kernel.get(f"look up what becomes of packets to {destination}", kind=rt.RTM_GETROUTE, body=body)
    except Refused as refused:
        return RouteDecision(destination, RouteKind.REFUSE, why=os.strerror(refused.errno))
    if found is None:
        return RouteDecision(destination, RouteKind.REFUSE, why="the interface is gone")
    kind = rt.RTMSG.unpack_from(found)[7]
    values = attributes(found[rt.RTMSG.size :])
    return RouteDecision(
        destination,
        _KINDS.get(kind, RouteKind.REFUSE),
        interface=names.get(rt.number(values, rt.RTA_OIF), ""),
        gateway=rt.address(values, rt.RTA_GATEWAY),
        table=rt.number(values, rt.RTA_TABLE),
        why="" if kind in _KINDS else f"a route of type {kind} (linux/rtnetlink.h)",
    )
