"""The dozen rtnetlink messages that a sandbox needs: built here, read here (rtnetlink(7), linux/rtnetlink.h).

Requests that add carry the index of the interface, so nothing on the way of an ADD looks anything up by a dump.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from azure_cni.datapath.sandbox import Interface, Lost, Neighbour, Route
from azure_cni.datapath.uplink import Link
from azure_cni.datapath.way_out import Way
from azure_cni.linux.netlink import Netlink, Refused, Request, attribute, attributes

_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30
_CREATE_NEW = 0x600  # NLM_F_CREATE | NLM_F_EXCL
_CREATE_OR_REPLACE = 0x500  # NLM_F_CREATE | NLM_F_REPLACE

_AF_INET, _AF_INET6 = 2, 10
_IFF_UP = 0x1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
_IFLA_AF_SPEC, _IFLA_GROUP, _IFLA_NET_NS_FD, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 26, 27, 28, 29, 37
_IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 31, 32
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 8, 1
_RTEXT_FILTER_SKIP_STATS = 0x8
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_RTM_F_LOOKUP_TABLE, _RTM_F_FIB_MATCH = 0x1000, 0x2000  # the second: tell the route, not what it means for a packet
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}  # no route, or one that refuses
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_NUD_PERMANENT = 0x80

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_U32 = struct.Struct("=I")

# Since Linux 5.16 a veth has a queue per CPU, each with its objects in sysfs: most of the time that making one takes.
# Only a veth with XDP or GRO of its own uses them; before 5.16 one was the default.
_ONE_QUEUE = attribute(_IFLA_NUM_TX_QUEUES, _U32.pack(1)) + attribute(_IFLA_NUM_RX_QUEUES, _U32.pack(1))


def create_veth(host: Interface, peer: Interface, *, netns: int) -> Request:
    """Both ends in one request, each where it belongs, both still down; `netns` is a file descriptor.

    (Moving a finished link into another namespace costs the kernel 27 ms.)
    """
    other = _IFINFO.pack(0, 0, 0, 0, 0) + _identity(peer) + attribute(_IFLA_NET_NS_FD, _U32.pack(netns))
    info = attribute(_IFLA_INFO_KIND, b"veth\0") + attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, other))
    body = _IFINFO.pack(0, 0, 0, 0, 0) + _identity(host) + _group(host.group) + attribute(_IFLA_LINKINFO, info)
    return Request(f"create veth {host.name} with peer {peer.name}", _RTM_NEWLINK, _CREATE_NEW, body)


def set_down(name: str, index: int, *, group: int) -> Request:
    """Turn a link off, by which the kernel drops its routes and neighbours, and put it into a group."""
    body = _IFINFO.pack(0, 0, index, 0, _IFF_UP) + _group(group)
    return Request(f"set {name} down", _RTM_NEWLINK, 0, body, forgiven=(errno.ENODEV,))


def set_group(name: str, index: int, group: int) -> Request:
    """Put a link into a group."""
    body = _IFINFO.pack(0, 0, index, 0, 0) + _group(group)
    return Request(f"put {name} into link group {group}", _RTM_NEWLINK, 0, body, forgiven=(errno.ENODEV,))


def delete_link(name: str, index: int) -> Request:
    """Remove a link, and with a veth its peer."""
    body = _IFINFO.pack(0, 0, index, 0, 0)
    return Request(f"delete {name}", _RTM_DELLINK, 0, body, forgiven=(errno.ENODEV,))


def delete_group(group: int) -> Request:
    """Remove all links of a group at once: the kernel's wait (20-50 ms) is paid once and not per link."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + _group(group)
    return Request(f"delete the links of group {group}", _RTM_DELLINK, 0, body, forgiven=(errno.ENODEV,))


def furnish(interface: Interface, index: int) -> list[Request]:
    """Turn a new interface on and give it addresses, routes and neighbours, in this order."""
    requests = [_without_ipv6(interface.name, index), _set_up(interface.name, index)]
    requests += [_add_address(interface.name, index, address) for address in interface.addresses]
    return requests + lead(interface.name, index, Lost(interface.routes, interface.neighbours))


def lead(name: str, index: int, lost: Lost) -> list[Request]:
    """Give an interface that is up these routes and neighbours, in place of other ones to the same destinations."""
    routes = [_add_route(name, index, route) for route in lost.routes]
    return routes + [_add_neighbour(name, index, neighbour) for neighbour in lost.neighbours]


def delete_address(name: str, index: int, address: IPv4Address, *, prefix: int) -> Request:
    """Take an address off an interface."""
    body = _IFADDR.pack(_AF_INET, prefix, 0, 0, index) + attribute(_IFA_LOCAL, address.packed)
    what = f"remove address {address}/{prefix} from {name}"
    return Request(what, _RTM_DELADDR, 0, body, forgiven=(errno.EADDRNOTAVAIL,))


def delete_route(name: str, index: int, destination: IPv4Network) -> Request:
    """Remove a route by way of one interface from the main table; one that is gone already is no error."""
    head = _RTMSG.pack(_AF_INET, destination.prefixlen, 0, 0, _RT_TABLE_MAIN, 0, 0xFF, 0, 0)  # 0xFF: of any scope
    body = head + _destination(destination) + attribute(_RTA_OIF, _U32.pack(index))
    return Request(f"remove route {destination} from {name}", _RTM_DELROUTE, 0, body, forgiven=(errno.ESRCH,))


def link(kernel: Netlink, name: str) -> Link | None:
    """One interface by name, None where there is none."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0") + _without_statistics()
    found = kernel.get(f"read interface {name}", kind=_RTM_GETLINK, body=body)
    return _link(found) if found is not None else None


def links(kernel: Netlink) -> list[Link]:
    """All interfaces of the namespace."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + _without_statistics()
    return [_link(found) for found in kernel.dump("list interfaces", kind=_RTM_GETLINK, body=body)]


def addresses(kernel: Netlink, index: int = 0) -> list[tuple[int, IPv4Address, int]]:
    """IPv4 addresses with their interface's index and prefix length; of one interface if `index` is given."""
    body = _IFADDR.pack(_AF_INET, 0, 0, 0, index)
    found: list[tuple[int, IPv4Address, int]] = []
    for payload in kernel.dump("list addresses", kind=_RTM_GETADDR, body=body):
        _, prefix, _, _, owner = _IFADDR.unpack_from(payload)
        local = attributes(payload[_IFADDR.size :]).get(_IFA_LOCAL)
        if local is not None and index in {0, owner}:
            found.append((owner, IPv4Address(local), prefix))
    return found


def routes(kernel: Netlink, index: int = 0) -> list[tuple[int, Route]]:
    """Unicast IPv4 routes of the main table with the index of their interface; of one interface if `index` is given."""
    body = _RTMSG.pack(_AF_INET, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, 0, 0)
    body += attribute(_RTA_OIF, _U32.pack(index)) if index else b""
    found: list[tuple[int, Route]] = []
    for payload in kernel.dump("list routes", kind=_RTM_GETROUTE, body=body):
        _, prefix, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(payload)
        told = attributes(payload[_RTMSG.size :])
        if table != _RT_TABLE_MAIN or kind != _RTN_UNICAST or _RTA_OIF not in told:
            continue
        destination = IPv4Network((told.get(_RTA_DST, bytes(4)), prefix))
        route = Route(
            destination,
            gateway=_address(told, _RTA_GATEWAY),
            source=_address(told, _RTA_PREFSRC),
            metric=_number(told, _RTA_PRIORITY),
        )
        found.append((_number(told, _RTA_OIF), route))
    return found


def way(kernel: Netlink, address: IPv4Address) -> Way | None:
    """Where the node itself would send a packet, by policy rules too; None where nowhere, or several ways at once."""
    flags = _RTM_F_LOOKUP_TABLE | _RTM_F_FIB_MATCH
    body = _RTMSG.pack(_AF_INET, 32, 0, 0, 0, 0, 0, 0, flags) + attribute(_RTA_DST, address.packed)
    try:
        found = kernel.get(f"look up the route to {address}", kind=_RTM_GETROUTE, body=body)
    except Refused as refused:
        if refused.errno in _NO_WAY:
            return None
        raise
    if found is None:
        return None
    told = attributes(found[_RTMSG.size :])
    return Way(_number(told, _RTA_OIF), found[1]) if _RTA_OIF in told else None


def interface(kernel: Netlink, name: str) -> Interface | None:
    """Everything that CHECK compares, of one interface; None where there is none."""
    found = link(kernel, name)
    if found is None:
        return None
    bare = Interface(name=found.name, mac=found.mac, mtu=found.mtu, up=found.up, group=found.group)
    return replace(
        bare,
        addresses=tuple(address for _, address, _ in addresses(kernel, found.index)),
        routes=tuple(route for _, route in routes(kernel, found.index)),
        neighbours=tuple(neighbour for _, neighbour in permanent_neighbours(kernel, found.index)),
    )


def permanent_neighbours(kernel: Netlink, index: int = 0) -> list[tuple[int, Neighbour]]:
    """Permanent IPv4 neighbours with the index of their interface; of one interface if `index` is given."""
    body = _NDMSG.pack(_AF_INET, 0, 0, 0, 0)
    body += attribute(_NDA_IFINDEX, _U32.pack(index)) if index else b""
    found: list[tuple[int, Neighbour]] = []
    for payload in kernel.dump("list neighbours", kind=_RTM_GETNEIGH, body=body):
        _, owner, state, _, _ = _NDMSG.unpack_from(payload)
        if not state & _NUD_PERMANENT or index not in {0, owner}:
            continue
        told = attributes(payload[_NDMSG.size :])
        address = _address(told, _NDA_DST)
        if address is not None:
            found.append((owner, Neighbour(address, told.get(_NDA_LLADDR, b"").hex(":"))))
    return found


def _without_ipv6(name: str, index: int) -> Request:
    """No link-local address: nothing could use it, and its duplicate detection keeps the kernel's lock busy for a
    second after each ADD. EAFNOSUPPORT: a kernel without IPv6.
    """
    spec = attribute(_AF_INET6, attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE])))
    body = _IFINFO.pack(0, 0, index, 0, 0) + attribute(_IFLA_AF_SPEC, spec)
    what = f"keep IPv6 addresses off {name}"
    return Request(what, _RTM_NEWLINK, 0, body, forgiven=(errno.EAFNOSUPPORT,))


def _set_up(name: str, index: int) -> Request:
    return Request(f"set {name} up", _RTM_NEWLINK, 0, _IFINFO.pack(0, 0, index, _IFF_UP, _IFF_UP))


def _add_address(name: str, index: int, address: IPv4Address) -> Request:
    body = _IFADDR.pack(_AF_INET, 32, 0, _SCOPE_UNIVERSE, index)
    body += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
    return Request(f"add address {address}/32 to {name}", _RTM_NEWADDR, _CREATE_NEW, body)


def _add_route(name: str, index: int, route: Route) -> Request:
    scope = _SCOPE_LINK if route.gateway is None else _SCOPE_UNIVERSE
    head = (_AF_INET, route.destination.prefixlen, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, 0)
    body = _RTMSG.pack(*head) + _destination(route.destination) + attribute(_RTA_OIF, _U32.pack(index))
    if route.gateway is not None:
        body += attribute(_RTA_GATEWAY, route.gateway.packed)
    if route.source is not None:
        body += attribute(_RTA_PREFSRC, route.source.packed)
    if route.metric:
        body += attribute(_RTA_PRIORITY, _U32.pack(route.metric))
    return Request(f"add route {route} to {name}", _RTM_NEWROUTE, _CREATE_OR_REPLACE, body)


def _add_neighbour(name: str, index: int, neighbour: Neighbour) -> Request:
    body = _NDMSG.pack(_AF_INET, index, _NUD_PERMANENT, 0, 0)
    body += attribute(_NDA_DST, neighbour.address.packed) + attribute(_NDA_LLADDR, _octets(neighbour.mac))
    return Request(f"add neighbour {neighbour.address} to {name}", _RTM_NEWNEIGH, _CREATE_OR_REPLACE, body)


def _identity(end: Interface) -> bytes:
    return (
        attribute(_IFLA_IFNAME, end.name.encode() + b"\0")
        + attribute(_IFLA_ADDRESS, _octets(end.mac))
        + attribute(_IFLA_MTU, _U32.pack(end.mtu))
        + _ONE_QUEUE
    )


def _group(group: int) -> bytes:
    return attribute(_IFLA_GROUP, _U32.pack(group))


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(payload)
    told = attributes(payload[_IFINFO.size :])
    return Link(
        index=index,
        name=_text(told[_IFLA_IFNAME]),
        mac=told.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(told, _IFLA_MTU),
        up=bool(flags & _IFF_UP),
        group=_number(told, _IFLA_GROUP),
        master=_number(told, _IFLA_MASTER),
        below=0 if _IFLA_LINK_NETNSID in told else _number(told, _IFLA_LINK),
        kind=_text(attributes(told.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")),
    )


def _text(octets: bytes) -> str:
    """A name that others chose: to the kernel it is octets, and need not be UTF-8."""
    return octets.rstrip(b"\0").decode(errors="backslashreplace")


def _destination(network: IPv4Network) -> bytes:
    return attribute(_RTA_DST, network.network_address.packed) if network.prefixlen else b""


def _without_statistics() -> bytes:
    return attribute(_IFLA_EXT_MASK, _U32.pack(_RTEXT_FILTER_SKIP_STATS))


def _address(told: dict[int, bytes], kind: int) -> IPv4Address | None:
    return IPv4Address(told[kind]) if kind in told else None


def _number(told: dict[int, bytes], kind: int) -> int:
    return int(_U32.unpack(told[kind])[0]) if kind in told else 0


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
