"""What the kernel's routing says about one packet, without sending it: its own answer, policy rules included.

A lookup changes nothing and needs no right: it is what `ip route get` does.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address

from azure_cni.datapath.uplink import Forwarding, ForwardingKind, Way
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, Refused, attribute, attributes

_KINDS = {rt.RTN_UNICAST: ForwardingKind.FORWARD, rt.RTN_LOCAL: ForwardingKind.LOCAL}
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
    kernel: Netlink, destination: IPv4Address, *, source: IPv4Address, index: int, names: dict[int, str]
) -> Forwarding:
    """What becomes of a packet that comes in by the interface `index`; `names` are the interfaces' by index."""
    body = rt.RTMSG.pack(rt.AF_INET, 32, 32, 0, 0, 0, 0, 0, _BY_NAME)
    body += attribute(rt.RTA_DST, destination.packed) + attribute(rt.RTA_SRC, source.packed)
    body += attribute(rt.RTA_IIF, rt.U32.pack(index))
    try:
        found = kernel.get(f"look up what becomes of packets to {destination}", kind=rt.RTM_GETROUTE, body=body)
    except Refused as refused:
        return Forwarding(destination, ForwardingKind.REFUSE, why=os.strerror(refused.errno))
    if found is None:
        return Forwarding(destination, ForwardingKind.REFUSE, why="the interface is gone")
    kind = rt.RTMSG.unpack_from(found)[7]
    values = attributes(found[rt.RTMSG.size :])
    return Forwarding(
        destination,
        _KINDS.get(kind, ForwardingKind.REFUSE),
        interface=names.get(rt.number(values, rt.RTA_OIF), ""),
        gateway=rt.address(values, rt.RTA_GATEWAY),
        table=rt.number(values, rt.RTA_TABLE),
        why="" if kind in _KINDS else f"a route of type {kind} (linux/rtnetlink.h)",
    )
