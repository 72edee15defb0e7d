"""Changes of links, addresses, routes, neighbours, policy rules and switches by others, by pyroute2.

Most of what the kernel announces there is our own doing or nobody's concern: every ADD and DEL of a pod is some twenty
messages, every neighbour that goes stale is one. A filter in the kernel (some twenty instructions of classic BPF) keeps
them from waking this process at all. It passes removals that a program asked for, addresses, rules, switches, routes to
everywhere or to a single address (which may take a pod's place), and links that are not pods', but nothing that this
process asked for (a message carries the port of the socket that asked). What passes is rare, and may cost what a
library costs.

Of IPv6 nothing but neighbours is announced before pods have it (`hear_ipv6`).
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Collection, Iterable
from typing import Any

from pyroute2.netlink import nlmsg, rtnl  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.iprsocket import IPRSocket  # type: ignore[import-untyped]

from azure_cni.datapath.names import BRIDGE, PREFIX
from azure_cni.errors import DatapathError
from azure_cni.linux.netfilter_changes import OVERRUN
from azure_cni.node.ports import HostChange

_GROUPS = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_NEIGH
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV4_RULE
    | 1 << (rtnl.RTNLGRP_IPV4_NETCONF - 1)
)
_OF_IPV6 = (9, 11, 19, 25)
"""RTNLGRP_IPV6_IFADDR, ROUTE, RULE and NETCONF (linux/rtnetlink.h)."""
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1  # linux/netlink.h
_LINKS = (rtnl.RTM_NEWLINK, rtnl.RTM_DELLINK)
_OTHERS = (
    *(rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR),
    *(rtnl.RTM_NEWRULE, rtnl.RTM_DELRULE, rtnl.RTM_NEWNETCONF),
)
_NEW_ROUTES = (rtnl.RTM_NEWROUTE,)
_ASKED = (rtnl.RTM_NEWNEIGH, rtnl.RTM_DELROUTE)
"""Of interest where a program asked for it. A program that deletes a neighbour makes it a failed one first, and that
carries its port; the removal itself is the kernel's own, as when a neighbour goes stale or its link goes. With a link
the kernel removes its routes, and announces that in IPv6: at the end of each pod."""
_PORT_AT, _KIND_AT, _LINK_NAME_AT, _PREFIX_LENGTH_AT = 12, 4, 36, 17
"""Offsets in a message: struct nlmsghdr, and after it and struct ifinfomsg the first attribute, which is the name; of
struct rtmsg its second byte."""
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06  # linux/filter.h
_SO_ATTACH_FILTER = 26
_WHOLE = 0xFFFFFFFF
_ALL, _DEFAULT = -1, -2  # NETCONFA_IFINDEX_ALL and _DEFAULT of linux/netconf.h
_AF_INET, _AF_INET6 = socket.AF_INET, socket.AF_INET6
_HOST_ROUTES = {_AF_INET: 32, _AF_INET6: 128}
"""How long the prefix of a route to a single address is."""
_MAIN = 254
_SCOPE_LINK = 253
_NUD_FAILED = 0x20  # linux/neighbour.h
_AT_ONCE = 200
"""Datagrams, some 20 ms."""
_Instruction = tuple[int, int, int, int]


class netconfmsg(nlmsg):  # type: ignore[misc] # noqa: N801 - as pyroute2 names such classes; it lacks this one
    """A change of an interface's switches (linux/netconf.h)."""

    fields = (("family", "B"), ("__pad", "3x"))
    nla_map = (
        ("NETCONFA_UNSPEC", "none"),
        ("NETCONFA_IFINDEX", "int32"),
        ("NETCONFA_FORWARDING", "int32"),
        ("NETCONFA_RP_FILTER", "int32"),
    )


class RouteChanges:
    """Makes its socket in the namespace of the calling thread; used from one thread at a time after that."""

    def __init__(self, own_ports: Collection[int]) -> None:
        try:
            self._dual = False
            self.socket = IPRSocket(groups=_GROUPS)
            self.socket.register_policy(rtnl.RTM_NEWNETCONF, netconfmsg)
            _attach(self.socket.socket, _filter(own_ports))
            self.socket.bind(groups=_GROUPS)
            self.socket.socket.setblocking(False)
        except OSError as error:
            raise DatapathError(f"cannot listen for changes of the network: {error.strerror}") from error

    def hear_ipv6(self) -> None:
        """From now on of IPv6 too; a repeat changes nothing."""
        self._dual = True
        for group in _OF_IPV6:
            self.socket.socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def read(self) -> tuple[list[HostChange], bool]:
        """What waits and may concern us, as much as is read in one turn; true when there may be more."""
        found: list[HostChange] = []
        for _ in range(_AT_ONCE):
            try:
                messages = self.socket.get()
            except BlockingIOError:
                return found, False
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise DatapathError(f"cannot listen for changes of the network: {error.strerror}") from error
                found.append(HostChange.everything(OVERRUN))
                continue
            changes = (_meaning(message) for message in messages if self._dual or message.get("family") != _AF_INET6)
            found += [change for change in changes if change is not None]
        return found, True

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close()


def _meaning(message: Any) -> HostChange | None:
    """What a message says to us; None for what cannot concern a node's pods."""
    kind = message["header"]["type"]
    change: HostChange | None = None
    match kind:
        case rtnl.RTM_NEWNETCONF:
            change = _switch(message)
        case rtnl.RTM_NEWLINK | rtnl.RTM_DELLINK:
            name = message.get_attr("IFLA_IFNAME")
            # What leads to pods behind the bridge hangs on it, and goes with it.
            change = HostChange(node=True, sandboxes=name == BRIDGE, cause=f"link {name} changed")
        case rtnl.RTM_NEWADDR | rtnl.RTM_DELADDR:
            change = _address(message, "added" if kind == rtnl.RTM_NEWADDR else "removed")
        case rtnl.RTM_NEWRULE | rtnl.RTM_DELRULE:
            change = HostChange(node=True, cause="policy routing rules changed")
        case rtnl.RTM_NEWROUTE | rtnl.RTM_DELROUTE if message["family"] == _AF_INET and not message["dst_len"]:
            change = HostChange(node=True, cause="a default route changed")
        case rtnl.RTM_NEWROUTE | rtnl.RTM_DELROUTE if _is_of_one_address(message):
            verb = "added" if kind == rtnl.RTM_NEWROUTE else "removed"
            route = f"{message.get_attr('RTA_DST')}/{message['dst_len']}"
            change = HostChange(sandboxes=True, cause=f"route {route} was {verb}")
        case rtnl.RTM_NEWNEIGH if message["family"] in _HOST_ROUTES and message["state"] & _NUD_FAILED:
            change = HostChange(sandboxes=True, cause=f"neighbour {message.get_attr('NDA_DST')} was removed")
    return change


def _address(message: Any, verb: str) -> HostChange | None:
    """One of the node's. Those of a link alone come and go with links, and are no pod's."""
    ipv4 = message["family"] == _AF_INET
    if not ipv4 and message["scope"] == _SCOPE_LINK:
        return None
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    # With an address of IPv4 the kernel removes, without a word, each route that names it as its source.
    return HostChange(node=True, sandboxes=ipv4, cause=f"address {address}/{message['prefixlen']} was {verb}")


def _is_of_one_address(message: Any) -> bool:
    return (message["dst_len"], message["table"]) == (_HOST_ROUTES.get(message["family"]), _MAIN)


def _switch(message: Any) -> HostChange | None:
    """Forwarding that was turned off; other switches do not stop pods' traffic, nor does the default of new links.

    That of a single link decides in IPv4 only.
    """
    index = message.get_attr("NETCONFA_IFINDEX")
    if message["family"] != _AF_INET and index != _ALL:
        return None
    if message.get_attr("NETCONFA_FORWARDING") != 0 or index == _DEFAULT:
        return None
    where = "of all links" if index == _ALL else f"of link {index}"
    return HostChange(node=True, cause=f"forwarding {where} was turned off")


def _filter(own_ports: Collection[int]) -> list[_Instruction]:
    """The program as (code, jump if true, jump if false, operand); jumps are counted from the next instruction.

    Loads are big-endian, whatever the machine is.
    """
    kinds_judged = len(_LINKS) + len(_ASKED) + len(_OTHERS) + len(_NEW_ROUTES)
    judged = len(own_ports) + kinds_judged + 2  # with the loads of port and kind
    drop, name, asked, accept, route = judged, judged + 1, judged + 3, judged + 6, judged + 7
    program: list[_Instruction] = [(_LOAD_WORD, 0, 0, _PORT_AT)]
    program += [(_EQUAL, drop - at - 1, 0, port) for at, port in enumerate(map(_u32, own_ports), len(program))]
    program += [(_LOAD_HALF, 0, 0, _KIND_AT)]
    for kinds, target in ((_LINKS, name), (_ASKED, asked), (_OTHERS, accept), (_NEW_ROUTES, route)):
        program += [(_EQUAL, target - at - 1, 0, kind) for at, kind in enumerate(map(_u16, kinds), len(program))]
    pods = int.from_bytes(PREFIX.encode(), "big")
    return [
        *program,
        (_RETURN, 0, 0, 0),
        *((_LOAD_WORD, 0, 0, _LINK_NAME_AT), (_EQUAL, 2, 3, pods)),
        *((_LOAD_WORD, 0, 0, _PORT_AT), (_EQUAL, 0, 1, 0)),
        *((_RETURN, 0, 0, 0), (_RETURN, 0, 0, _WHOLE)),
        *((_LOAD_BYTE, 0, 0, _PREFIX_LENGTH_AT), (_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, 32), (_EQUAL, 0, 1, 128)),
        *((_RETURN, 0, 0, _WHOLE), (_RETURN, 0, 0, 0)),
    ]


def _attach(listener: socket.socket, program: Iterable[_Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _u16(number: int) -> int:
    return int.from_bytes(struct.pack("=H", number), "big")


def _u32(number: int) -> int:
    return int.from_bytes(struct.pack("=I", number), "big")
