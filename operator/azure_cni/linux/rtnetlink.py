"""The dozen rtnetlink messages that a sandbox needs: built here, read here (rtnetlink(7), linux/rtnetlink.h).

Requests that add carry the index of the interface, so nothing on the way of an ADD looks anything up by a dump.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from azure_cni.datapath.interface import Interface, Missing, Neighbour, Route
from azure_cni.datapath.names import PREFIX
from azure_cni.datapath.uplink import Link
from azure_cni.errors import DatapathError
from azure_cni.linux import bridge_messages, link_messages
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink, NetlinkRequest, attribute, attributes, values_of
from azure_cni.model.nic import Address

_LAST = 0xFFFFFFFF
"""The metric after all others."""


def configure(interface: Interface, index: int) -> list[NetlinkRequest]:
    """Turn a new interface on and give it addresses, routes and neighbours, in this order."""
    requests = link_messages.turn_on(interface.name, index)
    requests += [_add_address(interface.name, index, address) for address in interface.addresses]
    return requests + add_routes(interface.name, index, Missing(interface.routes, interface.neighbours))


def add_routes(name: str, index: int, missing: Missing) -> list[NetlinkRequest]:
    """Give an interface that is up these routes and neighbours, in place of other ones to the same destinations."""
    routes = [_add_route(name, index, route) for route in missing.routes]
    return routes + [_add_neighbour(name, index, neighbour) for neighbour in missing.neighbours]


def delete_address(name: str, index: int, address: Address, *, prefix: int) -> NetlinkRequest:
    """Take an address off an interface."""
    body = rt.IFADDR.pack(rt.family_of(address), prefix, 0, 0, index) + attribute(rt.IFA_LOCAL, address.packed)
    what = f"remove address {address}/{prefix} from {name}"
    return NetlinkRequest(what, rt.RTM_DELADDR, 0, body, forgiven=(errno.EADDRNOTAVAIL,))


def link(kernel: Netlink, name: str) -> Link | None:
    """One interface by name, None where there is none."""
    body = rt.IFINFO.pack(0, 0, 0, 0, 0) + attribute(rt.IFLA_IFNAME, name.encode() + b"\0") + _without_statistics()
    found = kernel.get(f"read interface {name}", kind=rt.RTM_GETLINK, body=body)
    return _link(found) if found is not None else None


def own_link(kernel: Netlink, name: str) -> Link | None:
    """The same of azure-cni's interfaces alone: by an alternative name the kernel finds those of others, too."""
    found = _link_there(kernel, name)
    return found if found is not None and found.name.startswith(PREFIX) else None


def require_free(kernel: Netlink, name: str) -> None:
    """DatapathError where another program's interface has one of our names as an alternative one."""
    taken = _link_there(kernel, name)
    if taken is not None:
        raise DatapathError(
            f"cannot wire {name}: {taken.name} has the alternative name {name}, which is azure-cni's to give; remove "
            f"it there: ip link property del dev {taken.name} altname {name}"
        )


def _link_there(kernel: Netlink, name: str) -> Link | None:
    """As `link`, for names that mostly are nobody's: `index` says that without a message."""
    return link(kernel, name) if kernel.index(name) is not None else None


def index_of(kernel: Netlink, name: str) -> int:
    """Of an interface that is being wired."""
    index = kernel.index(name)
    if index is None:
        raise DatapathError(f"cannot wire {name}: it vanished while it was being wired")
    return index


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


def ipv6_addresses(kernel: Netlink, index: int = 0) -> list[tuple[int, IPv6Address, int]]:
    """The same of IPv6, none where the kernel has no IPv6. Where an address has a peer, it is the address's own."""
    body = rt.IFADDR.pack(rt.AF_INET6, 0, 0, 0, index)
    found: list[tuple[int, IPv6Address, int]] = []
    for payload in kernel.dump("list IPv6 addresses", kind=rt.RTM_GETADDR, body=body):
        family, prefix, _, _, owner = rt.IFADDR.unpack_from(payload)
        values = attributes(payload[rt.IFADDR.size :])
        own = values.get(rt.IFA_LOCAL, values.get(rt.IFA_ADDRESS))
        if family == rt.AF_INET6 and own is not None and index in {0, owner}:
            found.append((owner, IPv6Address(own), prefix))
    return found


def routes_of_both(kernel: Netlink, index: int = 0) -> list[tuple[int, Route]]:
    """`routes` of IPv4, then of IPv6."""
    return routes(kernel, index) + routes(kernel, index, family=rt.AF_INET6)


def neighbours_of_both(kernel: Netlink, index: int = 0) -> list[tuple[int, Neighbour]]:
    """`permanent_neighbours` of IPv4, then of IPv6."""
    return permanent_neighbours(kernel, index) + permanent_neighbours(kernel, index, family=rt.AF_INET6)


def routes(kernel: Netlink, index: int = 0, *, family: int = rt.AF_INET) -> list[tuple[int, Route]]:
    """Unicast routes of the main table with the index of their interface; of one interface if `index` is given."""
    body = rt.RTMSG.pack(family, 0, 0, 0, rt.RT_TABLE_MAIN, 0, 0, 0, 0)
    body += attribute(rt.RTA_OIF, rt.U32.pack(index)) if index else b""
    found: list[tuple[int, Route]] = []
    for payload in kernel.dump("list routes", kind=rt.RTM_GETROUTE, body=body):
        of, prefix, _, _, table, _, _, kind, _ = rt.RTMSG.unpack_from(payload)
        values = attributes(payload[rt.RTMSG.size :])
        known = table == rt.RT_TABLE_MAIN and kind == rt.RTN_UNICAST and of == family
        if not known or rt.RTA_OIF not in values:
            continue
        route = Route(
            rt.network(of, values.get(rt.RTA_DST), prefix),
            gateway=rt.any_address(values, rt.RTA_GATEWAY),
            source=rt.any_address(values, rt.RTA_PREFSRC),
            metric=rt.number(values, rt.RTA_PRIORITY),
        )
        found.append((rt.number(values, rt.RTA_OIF), route))
    return found


def has_way_out(kernel: Netlink, *, family: int) -> bool:
    """Whether the main table says where everything goes, by whatever kind of route: several next hops, or a refusal.

    The kernel's own refusal of IPv6, after all other routes, says nothing.
    """
    body = rt.RTMSG.pack(family, 0, 0, 0, rt.RT_TABLE_MAIN, 0, 0, 0, 0)
    found = kernel.dump("list routes", kind=rt.RTM_GETROUTE, body=body, keep=lambda payload: payload[0] == family)
    heads = [(rt.RTMSG.unpack_from(payload), attributes(payload[rt.RTMSG.size :])) for payload in found]
    return any(
        head[4] == rt.RT_TABLE_MAIN and not head[1] and rt.number(values, rt.RTA_PRIORITY) != _LAST
        for head, values in heads
    )


def add_way_out(name: str, index: int, route: Route) -> NetlinkRequest:
    """A default route, unless there is one of the same metric meanwhile."""
    return replace(_add_route(name, index, route), flags=rt.CREATE_NEW, forgiven=(errno.EEXIST,))


def default_routes(kernel: Netlink, table: int, *, family: int = rt.AF_INET) -> list[tuple[int, Address]]:
    """The default routes of one table, by interface and gateway; none where there is no such table."""
    body = rt.RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + attribute(rt.RTA_TABLE, rt.U32.pack(table))
    found: list[tuple[int, Address]] = []
    for payload in kernel.dump(f"list the routes of table {table}", kind=rt.RTM_GETROUTE, body=body):
        values = attributes(payload[rt.RTMSG.size :])
        gateway = rt.any_address(values, rt.RTA_GATEWAY)
        if (
            gateway is not None
            and payload[0] == family
            and rt.RTA_DST not in values
            and rt.number(values, rt.RTA_TABLE) == table
        ):
            found.append((rt.number(values, rt.RTA_OIF), gateway))
    return found


def add_default(index: int, gateway: Address, *, table: int) -> NetlinkRequest:
    """A default route in a table other than main's, whether or not another route leads to the gateway."""
    body = _default(index, gateway, table=table)
    what = f"add the default route of table {table} via {gateway}"
    return NetlinkRequest(what, rt.RTM_NEWROUTE, rt.CREATE_OR_REPLACE, body)


def delete_default(index: int, gateway: Address, *, table: int) -> NetlinkRequest:
    """Remove it again."""
    body = _default(index, gateway, table=table)
    what = f"delete the default route of table {table} via {gateway}"
    return NetlinkRequest(what, rt.RTM_DELROUTE, 0, body, forgiven=(errno.ESRCH,))


def _default(index: int, gateway: Address, *, table: int) -> bytes:
    head = (rt.family_of(gateway), 0, 0, 0, 0, rt.RTPROT_KERNEL, rt.SCOPE_UNIVERSE, rt.RTN_UNICAST, rt.RTNH_F_ONLINK)
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
        addresses=(
            *(IPv4Interface((address, prefix)) for _, address, prefix in addresses(kernel, found.index)),
            *(IPv6Interface((address, prefix)) for _, address, prefix in ipv6_addresses(kernel, found.index)),
        ),
        routes=tuple(route for _, route in routes_of_both(kernel, found.index)),
        neighbours=tuple(neighbour for _, neighbour in neighbours_of_both(kernel, found.index)),
    )


def permanent_neighbours(kernel: Netlink, index: int = 0, *, family: int = rt.AF_INET) -> list[tuple[int, Neighbour]]:
    """Permanent neighbours with the index of their interface; of one interface if `index` is given."""
    body = rt.NDMSG.pack(family, 0, 0, 0, 0)
    body += attribute(rt.NDA_IFINDEX, rt.U32.pack(index)) if index else b""
    found: list[tuple[int, Neighbour]] = []
    for payload in kernel.dump("list neighbours", kind=rt.RTM_GETNEIGH, body=body):
        of, owner, state, _, _ = rt.NDMSG.unpack_from(payload)
        if not state & rt.NUD_PERMANENT or index not in {0, owner} or of != family:
            continue
        values = attributes(payload[rt.NDMSG.size :])
        address = rt.any_address(values, rt.NDA_DST)
        if address is not None:
            found.append((owner, Neighbour(address, values.get(rt.NDA_LLADDR, b"").hex(":"))))
    return found


def _add_address(name: str, index: int, address: IPv4Interface | IPv6Interface) -> NetlinkRequest:
    family = rt.family_of(address.ip)
    undetected = rt.IFA_F_NODAD if family == rt.AF_INET6 else 0
    body = rt.IFADDR.pack(family, address.network.prefixlen, undetected, rt.SCOPE_UNIVERSE, index)
    body += attribute(rt.IFA_LOCAL, address.ip.packed) + attribute(rt.IFA_ADDRESS, address.ip.packed)
    return NetlinkRequest(f"add address {address} to {name}", rt.RTM_NEWADDR, rt.CREATE_NEW, body)


def _add_route(name: str, index: int, route: Route) -> NetlinkRequest:
    scope = rt.SCOPE_LINK if route.gateway is None else rt.SCOPE_UNIVERSE
    family = rt.family_of(route.destination)
    head = (family, route.destination.prefixlen, 0, 0, rt.RT_TABLE_MAIN, rt.RTPROT_STATIC, scope, rt.RTN_UNICAST, 0)
    body = rt.RTMSG.pack(*head) + rt.destination(route.destination) + attribute(rt.RTA_OIF, rt.U32.pack(index))
    if route.gateway is not None:
        body += attribute(rt.RTA_GATEWAY, route.gateway.packed)
    if route.source is not None:
        body += attribute(rt.RTA_PREFSRC, route.source.packed)
    if route.metric:
        body += attribute(rt.RTA_PRIORITY, rt.U32.pack(route.metric))
    return NetlinkRequest(f"add route {route} to {name}", rt.RTM_NEWROUTE, rt.CREATE_OR_REPLACE, body)


def _add_neighbour(name: str, index: int, neighbour: Neighbour) -> NetlinkRequest:
    body = rt.NDMSG.pack(rt.family_of(neighbour.address), index, rt.NUD_PERMANENT, 0, 0)
    body += attribute(rt.NDA_DST, neighbour.address.packed) + attribute(rt.NDA_LLADDR, rt.octets(neighbour.mac))
    return NetlinkRequest(f"add neighbour {neighbour.address} to {name}", rt.RTM_NEWNEIGH, rt.CREATE_OR_REPLACE, body)


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
