"""The rtnetlink messages about a bridge, its ports and who is behind them (linux/if_link.h, linux/neighbour.h)."""

from __future__ import annotations

import errno

from azure_cni.datapath.interface import PortSettings
from azure_cni.datapath.uplink import BridgeSettings
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, NetlinkRequest, Refused, attribute, attributes
from azure_cni.model.nic import Address

_RTM_DELROUTE, _RTM_DELNEIGH = 25, 29
_AF_BRIDGE = 7
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 4, 5
_BR_STP_STATE, _BR_MCAST_SNOOPING = 5, 23
_PORT_HAIRPIN, _PORT_LEARNING, _PORT_FLOOD, _PORT_MCAST_FLOOD, _PORT_BCAST_FLOOD = 4, 8, 9, 27, 30
_PORT_FLOODS = (_PORT_FLOOD, _PORT_MCAST_FLOOD, _PORT_BCAST_FLOOD)
_PORT_GROUP_FWD_MASK = 31
_ALL_RESERVED = 0xFFFF & ~(1 << 1)
"""Bit X of 01:80:c2:00:00:0X, but for 01 (PAUSE): the kernel drops those frames, and takes no order about them."""
_NDA_MASTER = 9
_NUD_NOARP, _NTF_MASTER = 0x40, 0x04  # a static entry that is not the bridge's own address; and it is the bridge's
_SCOPE_NOWHERE = 255  # as the second, any scope is meant
_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH)


def create_bridge(name: str, *, mac: str, mtu: int, group: int, settings: BridgeSettings) -> NetlinkRequest:
    """Make a bridge, still down; that it is there already is no error."""
    body = rt.IFINFO.pack(0, 0, 0, 0, 0) + attribute(rt.IFLA_IFNAME, name.encode() + b"\0")
    body += _hardware(mac) + attribute(rt.IFLA_MTU, rt.U32.pack(mtu)) + attribute(rt.IFLA_GROUP, rt.U32.pack(group))
    body += _as_bridge(settings)
    return NetlinkRequest(f"create bridge {name}", rt.RTM_NEWLINK, rt.CREATE_NEW, body, forgiven=(errno.EEXIST,))


def set_bridge(name: str, index: int, *, mac: str, mtu: int, settings: BridgeSettings) -> NetlinkRequest:
    """Put right what somebody changed, and turn it on. `mtu` 0 leaves that to the kernel."""
    body = rt.IFINFO.pack(0, 0, index, rt.IFF_UP, rt.IFF_UP) + _hardware(mac) + _as_bridge(settings)
    body += attribute(rt.IFLA_MTU, rt.U32.pack(mtu)) if mtu else b""
    return NetlinkRequest(f"set bridge {name} right", rt.RTM_NEWLINK, 0, body)


def set_master(name: str, index: int, master: int, *, group: int) -> NetlinkRequest:
    """Make an interface a port, and put it into a link group."""
    body = rt.IFINFO.pack(0, 0, index, 0, 0) + attribute(rt.IFLA_MASTER, rt.U32.pack(master))
    return NetlinkRequest(f"make {name} a port", rt.RTM_NEWLINK, 0, body + attribute(rt.IFLA_GROUP, rt.U32.pack(group)))


def set_port(name: str, index: int, settings: PortSettings) -> NetlinkRequest:
    """What the bridge does at a port."""
    wanted = {_PORT_HAIRPIN: settings.hairpin, _PORT_LEARNING: settings.learning}
    wanted |= dict.fromkeys(_PORT_FLOODS, settings.floods)
    data = b"".join(attribute(kind, bytes([value])) for kind, value in wanted.items())
    data += attribute(_PORT_GROUP_FWD_MASK, rt.U16.pack(_ALL_RESERVED if settings.reserved else 0))
    info = attribute(_IFLA_INFO_SLAVE_KIND, b"bridge\0") + attribute(_IFLA_INFO_SLAVE_DATA, data)
    body = rt.IFINFO.pack(0, 0, index, 0, 0) + attribute(rt.IFLA_LINKINFO, info)
    return NetlinkRequest(f"set the port {name}", rt.RTM_NEWLINK, 0, body)


def add_station(name: str, index: int, mac: str) -> NetlinkRequest:
    """Give the bridge the MAC behind a port, in place of any former one."""
    body = rt.NDMSG.pack(_AF_BRIDGE, index, _NUD_NOARP, _NTF_MASTER, 0) + attribute(rt.NDA_LLADDR, rt.octets(mac))
    return NetlinkRequest(f"add station {mac} to {name}", rt.RTM_NEWNEIGH, rt.CREATE_OR_REPLACE, body)


def delete_route(name: str, index: int, address: Address) -> NetlinkRequest:
    """Remove one route to this address by an interface: the most preferred that is left."""
    head = (rt.family_of(address), address.max_prefixlen, 0, 0, rt.RT_TABLE_MAIN, 0, _SCOPE_NOWHERE, 0, 0)
    body = rt.RTMSG.pack(*head) + attribute(rt.RTA_DST, address.packed) + attribute(rt.RTA_OIF, rt.U32.pack(index))
    return NetlinkRequest(f"delete route {address} from {name}", _RTM_DELROUTE, 0, body, forgiven=_GONE)


def delete_neighbour(name: str, index: int, address: Address) -> NetlinkRequest:
    """Forget a neighbour."""
    body = rt.NDMSG.pack(rt.family_of(address), index, 0, 0, 0) + attribute(rt.NDA_DST, address.packed)
    return NetlinkRequest(f"delete neighbour {address} from {name}", _RTM_DELNEIGH, 0, body, forgiven=_GONE)


def neighbour_mac(kernel: Netlink, index: int, address: Address) -> str:
    """The MAC that an interface's neighbour has; "" where there is none, or the kernel cannot be asked for one."""
    body = rt.NDMSG.pack(rt.family_of(address), index, 0, 0, 0) + attribute(rt.NDA_DST, address.packed)
    try:
        found = kernel.get(f"look up neighbour {address}", kind=rt.RTM_GETNEIGH, body=body)
    except Refused as refused:
        if refused.errno in {errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL}:  # before Linux 5.0 there are lists only
            return ""
        raise
    return "" if found is None else attributes(found[rt.NDMSG.size :]).get(rt.NDA_LLADDR, b"").hex(":")


def stations(kernel: Netlink, master: int, *, port: int = 0) -> dict[int, str]:
    """The MACs of the bridge's static entries, by the ports' indexes; of one port if it is given."""
    body = rt.NDMSG.pack(_AF_BRIDGE, port, 0, 0, 0) + attribute(_NDA_MASTER, rt.U32.pack(master))
    found: dict[int, str] = {}
    for payload in kernel.dump("list the stations of a bridge", kind=rt.RTM_GETNEIGH, body=body):
        _, owner, state, _, _ = rt.NDMSG.unpack_from(payload)
        if not state & _NUD_NOARP or port not in {0, owner}:  # most are ports' own, and permanent
            continue
        values = attributes(payload[rt.NDMSG.size :])
        if _NDA_MASTER in values:
            found[owner] = values.get(rt.NDA_LLADDR, b"").hex(":")
    return found


def master(index: int) -> bytes:
    """The attribute that makes an interface a port while it is created."""
    return attribute(rt.IFLA_MASTER, rt.U32.pack(index)) if index else b""


def bridge_settings(info: dict[int, bytes]) -> BridgeSettings | None:
    """From an interface's IFLA_LINKINFO; None for what is no bridge."""
    if info.get(rt.IFLA_INFO_KIND) != b"bridge\0":
        return None
    data = attributes(info.get(rt.IFLA_INFO_DATA, b""))
    return BridgeSettings(stp=_is_on(data, _BR_STP_STATE), snooping=_is_on(data, _BR_MCAST_SNOOPING))


def port_settings(info: dict[int, bytes]) -> PortSettings | None:
    """From an interface's IFLA_LINKINFO; None for what is no port of a bridge."""
    if info.get(_IFLA_INFO_SLAVE_KIND) != b"bridge\0":
        return None
    data = attributes(info.get(_IFLA_INFO_SLAVE_DATA, b""))
    return PortSettings(
        learning=_is_on(data, _PORT_LEARNING),
        floods=any(_is_on(data, kind) for kind in _PORT_FLOODS),
        hairpin=_is_on(data, _PORT_HAIRPIN),
        reserved=data.get(_PORT_GROUP_FWD_MASK) == rt.U16.pack(_ALL_RESERVED),
    )


def _as_bridge(settings: BridgeSettings) -> bytes:
    data = attribute(_BR_STP_STATE, rt.U32.pack(settings.stp))
    data += attribute(_BR_MCAST_SNOOPING, bytes([settings.snooping]))
    return attribute(rt.IFLA_LINKINFO, attribute(rt.IFLA_INFO_KIND, b"bridge\0") + attribute(rt.IFLA_INFO_DATA, data))


def _is_on(values: dict[int, bytes], kind: int) -> bool:
    """Whether a switch, of whatever width, is not 0; also where this kernel does not have it."""
    return any(values.get(kind, b""))


def _hardware(mac: str) -> bytes:
    return attribute(rt.IFLA_ADDRESS, rt.octets(mac))
