"""The dozen rtnetlink messages that a sandbox needs: built here, read here (rtnetlink(7), linux/rtnetlink.h).

Requests that add carry the index of the interface, so nothing on the way of an ADD looks anything up by a dump.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from azure_cni.datapath.interface import Interface, Missing, Neighbour, Route
from azure_cni.datapath.uplink import Link
from azure_cni.linux import bridge_messages
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, NetlinkRequest, attribute, attributes, values_of

# Since Linux 5.16 a veth has a queue per CPU, each with its objects in sysfs: most of the time that making one takes.
# Only a veth with XDP or GRO of its own uses them; before 5.16 one was the default.
_NESTED = 0x8000  # NLA_F_NESTED, which messages since Linux 5.2 must have
_ONE_QUEUE = attribute(rt.IFLA_NUM_TX_QUEUES, rt.U32.pack(1)) + attribute(rt.IFLA_NUM_RX_QUEUES, rt.U32.pack(1))


def create_veth(host: Interface, peer: Interface, *, netns: int, master: int = 0) -> NetlinkRequest:
    """Both ends in one request, each where it belongs, both still down; `netns` is a file descriptor.

    `master` is the index of the bridge that the host end becomes a port of.

    (Moving a finished link into another namespace costs the kernel 27 ms.)
    """
    other = rt.IFINFO.pack(0, 0, 0, 0, 0) + _identity(peer) + attribute(rt.IFLA_NET_NS_FD, rt.U32.pack(netns))
    info = attribute(rt.IFLA_INFO_KIND, b"veth\0") + attribute(rt.IFLA_INFO_DATA, attribute(rt.VETH_INFO_PEER, other))
    body = rt.IFINFO.pack(0, 0, 0, 0, 0) + _identity(host) + _group(host.group) + attribute(rt.IFLA_LINKINFO, info)
    body += bridge_messages.master(master)
    return NetlinkRequest(f"create veth {host.name} with peer {peer.name}", rt.RTM_NEWLINK, rt.CREATE_NEW, body)


def create_offered(host: Interface, peer: Interface) -> NetlinkRequest:
    """Both ends in this namespace, both still down; the peer without ARP, wherever it is moved."""
    other = rt.IFINFO.pack(0, 0, 0, rt.IFF_NOARP, rt.IFF_NOARP) + _identity(peer)
    info = attribute(rt.IFLA_INFO_KIND, b"veth\0") + attribute(rt.IFLA_INFO_DATA, attribute(rt.VETH_INFO_PEER, other))
    body = rt.IFINFO.pack(0, 0, 0, 0, 0) + _identity(host) + _group(host.group) + attribute(rt.IFLA_LINKINFO, info)
    return NetlinkRequest(f"create veth {host.name} with peer {peer.name}", rt.RTM_NEWLINK, rt.CREATE_NEW, body)


def add_alias(name: str, index: int, alias: str) -> NetlinkRequest:
    """Give a link an alternative name, by which the kernel finds it as well."""
    what = f"give {name} the alternative name {alias} (linkNames: calico needs Linux 5.5 or later)"
    names = attribute(rt.IFLA_PROP_LIST | _NESTED, attribute(rt.IFLA_ALT_IFNAME, alias.encode() + b"\0"))
    return NetlinkRequest(what, rt.RTM_NEWLINKPROP, rt.CREATE_NEW, rt.IFINFO.pack(0, 0, index, 0, 0) + names)


def set_down(name: str, index: int, *, group: int) -> NetlinkRequest:
    """Turn a link off, by which the kernel drops its routes and neighbours, and put it into a group."""
    body = rt.IFINFO.pack(0, 0, index, 0, rt.IFF_UP) + _group(group)
    return NetlinkRequest(f"set {name} down", rt.RTM_NEWLINK, 0, body, forgiven=(errno.ENODEV,))


def set_group(name: str, index: int, group: int) -> NetlinkRequest:
    """Put a link into a group."""
    body = rt.IFINFO.pack(0, 0, index, 0, 0) + _group(group)
    return NetlinkRequest(f"put {name} into link group {group}", rt.RTM_NEWLINK, 0, body, forgiven=(errno.ENODEV,))


def delete_link(name: str, index: int) -> NetlinkRequest:
    """Remove a link, and with a veth its peer."""
    body = rt.IFINFO.pack(0, 0, index, 0, 0)
    return NetlinkRequest(f"delete {name}", rt.RTM_DELLINK, 0, body, forgiven=(errno.ENODEV,))


def delete_group(group: int) -> NetlinkRequest:
    """Remove all links of a group at once: the kernel's wait (20-50 ms) is paid once and not per link."""
    body = rt.IFINFO.pack(0, 0, 0, 0, 0) + _group(group)
    return NetlinkRequest(f"delete the links of group {group}", rt.RTM_DELLINK, 0, body, forgiven=(errno.ENODEV,))


def configure(interface: Interface, index: int) -> list[NetlinkRequest]:
    """Turn a new interface on and give it addresses, routes and neighbours, in this order."""
    requests = turn_on(interface.name, index)
    requests += [_add_address(interface.name, index, address) for address in interface.addresses]
    return requests + add_routes(interface.name, index, Missing(interface.routes, interface.neighbours))


def turn_on(name: str, index: int) -> list[NetlinkRequest]:
    """Turn an interface on that nobody used yet."""
    return [_without_ipv6(name, index), _set_up(name, index)]


def add_routes(name: str, index: int, missing: Missing) -> list[NetlinkRequest]:
    """Give an interface that is up these routes and neighbours, in place of other ones to the same destinations."""
    routes = [_add_route(name, index, route) for route in missing.routes]
    return routes + [_add_neighbour(name, index, neighbour) for neighbour in missing.neighbours]


def delete_address(name: str, index: int, address: IPv4Address, *, prefix: int) -> NetlinkRequest:
    """Take an address off an interface."""
    body = rt.IFADDR.pack(rt.AF_INET, prefix, 0, 0, index) + attribute(rt.IFA_LOCAL, address.packed)
    what = f"remove address {address}/{prefix} from {name}"
    return NetlinkRequest(what, rt.RTM_DELADDR, 0, body, forgiven=(errno.EADDRNOTAVAIL,))


def link(kernel: Netlink, name: str) -> Link | None:
    """One interface by name, None where there is none."""
    body = rt.IFINFO.pack(0, 0, 0, 0, 0) + attribute(rt.IFLA_IFNAME, name.encode() + b"\0") + _without_statistics()
    found = kernel.get(f"read interface {name}", kind=rt.RTM_GETLINK, body=body)
    return _link(found) if found is not None else None


def settle_carrier(kernel: Netlink, name: str, index: int) -> None:
    """Let an interface send that has just got its carrier: the kernel does what is outstanding when asked about it.

    Linux 6.8 and later; an older one leaves it to its worker, which runs a moment later.
    """
    body = rt.IFINFO.pack(0, 0, index, 0, 0) + _without_statistics()
    kernel.get(f"read interface {name}", kind=rt.RTM_GETLINK, body=body)


def links(kernel: Netlink) -> list[Link]:
    """All interfaces of the namespace."""
    body = rt.IFINFO.pack(0, 0, 0, 0, 0) + _without_statistics()
    return [_link(found) for found in kernel.dump("list interfaces", kind=rt.RTM_GETLINK, body=body)]


def addresses(kernel: Netlink, index: int = 0) -> list[tuple[int, IPv4Address, int]]:
    """IPv4 addresses with their interface's index and prefix length; of one interface if `index` is given."""
    body = rt.IFADDR.pack(rt.AF_INET, 0, 0, 0, index)
    found: list[tuple[int, IPv4Address, int]] = []
    for payload in kernel.dump("list addresses", kind=rt.RTM_GETADDR, body=body):
        _, prefix, _, _, owner = rt.IFADDR.unpack_from(payload)
        local = attributes(payload[rt.IFADDR.size :]).get(rt.IFA_LOCAL)
        if local is not None and index in {0, owner}:
            found.append((owner, IPv4Address(local), prefix))
    return found


def routes(kernel: Netlink, index: int = 0) -> list[tuple[int, Route]]:
    """Unicast IPv4 routes of the main table with the index of their interface; of one interface if `index` is given."""
    body = rt.RTMSG.pack(rt.AF_INET, 0, 0, 0, rt.RT_TABLE_MAIN, 0, 0, 0, 0)
    body += attribute(rt.RTA_OIF, rt.U32.pack(index)) if index else b""
    found: list[tuple[int, Route]] = []
    for payload in kernel.dump("list routes", kind=rt.RTM_GETROUTE, body=body):
        _, prefix, _, _, table, _, _, kind, _ = rt.RTMSG.unpack_from(payload)
        values = attributes(payload[rt.RTMSG.size :])
        if table != rt.RT_TABLE_MAIN or kind != rt.RTN_UNICAST or rt.RTA_OIF not in values:
            continue
        destination = IPv4Network((values.get(rt.RTA_DST, bytes(4)), prefix))
        route = Route(
            destination,
            gateway=rt.address(values, rt.RTA_GATEWAY),
            source=rt.address(values, rt.RTA_PREFSRC),
            metric=rt.number(values, rt.RTA_PRIORITY),
        )
        found.append((rt.number(values, rt.RTA_OIF), route))
    return found


def default_routes(kernel: Netlink, table: int) -> list[tuple[int, IPv4Address]]:
    """The default routes of one table, by interface and gateway; none where there is no such table."""
    body = rt.RTMSG.pack(rt.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0) + attribute(rt.RTA_TABLE, rt.U32.pack(table))
    found: list[tuple[int, IPv4Address]] = []
    for payload in kernel.dump(f"list the routes of table {table}", kind=rt.RTM_GETROUTE, body=body):
        values = attributes(payload[rt.RTMSG.size :])
        gateway = rt.address(values, rt.RTA_GATEWAY)
        if gateway is not None and rt.RTA_DST not in values and rt.number(values, rt.RTA_TABLE) == table:
            found.append((rt.number(values, rt.RTA_OIF), gateway))
    return found


def add_default(index: int, gateway: IPv4Address, *, table: int) -> NetlinkRequest:
    """A default route in a table other than main's, whether or not another route leads to the gateway."""
    body = _default(index, gateway, table=table)
    what = f"add the default route of table {table} via {gateway}"
    return NetlinkRequest(what, rt.RTM_NEWROUTE, rt.CREATE_OR_REPLACE, body)


def delete_default(index: int, gateway: IPv4Address, *, table: int) -> NetlinkRequest:
    """Remove it again."""
    body = _default(index, gateway, table=table)
    what = f"delete the default route of table {table} via {gateway}"
    return NetlinkRequest(what, rt.RTM_DELROUTE, 0, body, forgiven=(errno.ESRCH,))


def _default(index: int, gateway: IPv4Address, *, table: int) -> bytes:
    head = (rt.AF_INET, 0, 0, 0, 0, rt.RTPROT_KERNEL, rt.SCOPE_UNIVERSE, rt.RTN_UNICAST, rt.RTNH_F_ONLINK)
    body = rt.RTMSG.pack(*head) + attribute(rt.RTA_TABLE, rt.U32.pack(table))
    return body + attribute(rt.RTA_OIF, rt.U32.pack(index)) + attribute(rt.RTA_GATEWAY, gateway.packed)


def interface(kernel: Netlink, name: str) -> Interface | None:
    """Everything that CHECK compares, of one interface; None where there is none."""
    found = link(kernel, name)
    if found is None:
        return None
    bare = Interface(name=found.name, mac=found.mac, mtu=found.mtu, up=found.up, group=found.group)
    return replace(
        bare,
        addresses=tuple(IPv4Interface((address, prefix)) for _, address, prefix in addresses(kernel, found.index)),
        routes=tuple(route for _, route in routes(kernel, found.index)),
        neighbours=tuple(neighbour for _, neighbour in permanent_neighbours(kernel, found.index)),
    )


def permanent_neighbours(kernel: Netlink, index: int = 0) -> list[tuple[int, Neighbour]]:
    """Permanent IPv4 neighbours with the index of their interface; of one interface if `index` is given."""
    body = rt.NDMSG.pack(rt.AF_INET, 0, 0, 0, 0)
    body += attribute(rt.NDA_IFINDEX, rt.U32.pack(index)) if index else b""
    found: list[tuple[int, Neighbour]] = []
    for payload in kernel.dump("list neighbours", kind=rt.RTM_GETNEIGH, body=body):
        _, owner, state, _, _ = rt.NDMSG.unpack_from(payload)
        if not state & rt.NUD_PERMANENT or index not in {0, owner}:
            continue
        values = attributes(payload[rt.NDMSG.size :])
        address = rt.address(values, rt.NDA_DST)
        if address is not None:
            found.append((owner, Neighbour(address, values.get(rt.NDA_LLADDR, b"").hex(":"))))
    return found


def _without_ipv6(name: str, index: int) -> NetlinkRequest:
    """No link-local address: nothing could use it, and its duplicate detection keeps the kernel's lock busy for a
    second after each ADD. EAFNOSUPPORT: a kernel without IPv6.
    """
    spec = attribute(rt.AF_INET6, attribute(rt.IFLA_INET6_ADDR_GEN_MODE, bytes([rt.ADDR_GEN_MODE_NONE])))
    body = rt.IFINFO.pack(0, 0, index, 0, 0) + attribute(rt.IFLA_AF_SPEC, spec)
    what = f"keep IPv6 addresses off {name}"
    return NetlinkRequest(what, rt.RTM_NEWLINK, 0, body, forgiven=(errno.EAFNOSUPPORT,))


def _set_up(name: str, index: int) -> NetlinkRequest:
    return NetlinkRequest(f"set {name} up", rt.RTM_NEWLINK, 0, rt.IFINFO.pack(0, 0, index, rt.IFF_UP, rt.IFF_UP))


def _add_address(name: str, index: int, address: IPv4Interface) -> NetlinkRequest:
    body = rt.IFADDR.pack(rt.AF_INET, address.network.prefixlen, 0, rt.SCOPE_UNIVERSE, index)
    body += attribute(rt.IFA_LOCAL, address.ip.packed) + attribute(rt.IFA_ADDRESS, address.ip.packed)
    return NetlinkRequest(f"add address {address} to {name}", rt.RTM_NEWADDR, rt.CREATE_NEW, body)


def _add_route(name: str, index: int, route: Route) -> NetlinkRequest:
    scope = rt.SCOPE_LINK if route.gateway is None else rt.SCOPE_UNIVERSE
    head = (rt.AF_INET, route.destination.prefixlen, 0, 0, rt.RT_TABLE_MAIN, rt.RTPROT_STATIC, scope, rt.RTN_UNICAST, 0)
    body = rt.RTMSG.pack(*head) + rt.destination(route.destination) + attribute(rt.RTA_OIF, rt.U32.pack(index))
    if route.gateway is not None:
        body += attribute(rt.RTA_GATEWAY, route.gateway.packed)
    if route.source is not None:
        body += attribute(rt.RTA_PREFSRC, route.source.packed)
    if route.metric:
        body += attribute(rt.RTA_PRIORITY, rt.U32.pack(route.metric))
    return NetlinkRequest(f"add route {route} to {name}", rt.RTM_NEWROUTE, rt.CREATE_OR_REPLACE, body)


def _add_neighbour(name: str, index: int, neighbour: Neighbour) -> NetlinkRequest:
    body = rt.NDMSG.pack(rt.AF_INET, index, rt.NUD_PERMANENT, 0, 0)
    body += attribute(rt.NDA_DST, neighbour.address.packed) + attribute(rt.NDA_LLADDR, rt.octets(neighbour.mac))
    return NetlinkRequest(f"add neighbour {neighbour.address} to {name}", rt.RTM_NEWNEIGH, rt.CREATE_OR_REPLACE, body)


def _identity(end: Interface) -> bytes:
    return (
        attribute(rt.IFLA_IFNAME, end.name.encode() + b"\0")
        + attribute(rt.IFLA_ADDRESS, rt.octets(end.mac))
        + attribute(rt.IFLA_MTU, rt.U32.pack(end.mtu))
        + _ONE_QUEUE
    )


def _group(group: int) -> bytes:
    return attribute(rt.IFLA_GROUP, rt.U32.pack(group))


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = rt.IFINFO.unpack_from(payload)
    values = attributes(payload[rt.IFINFO.size :])
    info = attributes(values.get(rt.IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=rt.text(values[rt.IFLA_IFNAME]),
        mac=values.get(rt.IFLA_ADDRESS, b"").hex(":"),
        mtu=rt.number(values, rt.IFLA_MTU),
        up=bool(flags & rt.IFF_UP),
        group=rt.number(values, rt.IFLA_GROUP),
        master=rt.number(values, rt.IFLA_MASTER),
        below=0 if rt.IFLA_LINK_NETNSID in values else rt.number(values, rt.IFLA_LINK),
        kind=rt.text(info.get(rt.IFLA_INFO_KIND, b"")),
        switches=_switches(values.get(rt.IFLA_AF_SPEC, b"")),
        bridge=bridge_messages.bridge_settings(info),
        port=bridge_messages.port_settings(info),
        aliases=tuple(map(rt.text, values_of(rt.IFLA_ALT_IFNAME, values.get(rt.IFLA_PROP_LIST, b"")))),
    )


def _switches(families: bytes) -> tuple[int, ...]:
    """The kernel lists those of IPv4 in an array."""
    values = attributes(attributes(families).get(rt.AF_INET, b"")).get(rt.IFLA_INET_CONF, b"")
    return struct.unpack(f"={len(values) // rt.U32.size}I", values)


def _without_statistics() -> bytes:
    return attribute(rt.IFLA_EXT_MASK, rt.U32.pack(rt.RTEXT_FILTER_SKIP_STATS))
