"""The rtnetlink messages that make, change and remove links (linux/if_link.h)."""

from __future__ import annotations

import errno

from azure_cni.datapath.interface import Interface
from azure_cni.linux import bridge_messages
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import NetlinkRequest, attribute

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


def turn_on(name: str, index: int) -> list[NetlinkRequest]:
    """Turn an interface on that nobody used yet."""
    return [_without_ipv6(name, index), _set_up(name, index)]


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


def _identity(end: Interface) -> bytes:
    return (
        attribute(rt.IFLA_IFNAME, end.name.encode() + b"\0")
        + attribute(rt.IFLA_ADDRESS, rt.octets(end.mac))
        + attribute(rt.IFLA_MTU, rt.U32.pack(end.mtu))
        + _ONE_QUEUE
    )


def _group(group: int) -> bytes:
    return attribute(rt.IFLA_GROUP, rt.U32.pack(group))
