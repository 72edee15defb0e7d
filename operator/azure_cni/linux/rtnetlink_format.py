"""The numbers, structures and values of rtnetlink messages (rtnetlink(7), linux/rtnetlink.h, linux/if_link.h)."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from azure_cni.datapath.interface import IPV4, Network
from azure_cni.linux.netlink import attribute
from azure_cni.model.nic import Address

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
CREATE_NEW = 0x600  # NLM_F_CREATE | NLM_F_EXCL
CREATE_OR_REPLACE = 0x500  # NLM_F_CREATE | NLM_F_REPLACE

AF_INET, AF_INET6 = 2, 10
IFF_UP, IFF_NOARP = 0x1, 0x80
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 5, 10, 18
IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 26, 27, 28, 29, 37
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
RTM_NEWLINKPROP, IFLA_PROP_LIST, IFLA_ALT_IFNAME = 108, 52, 53
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFLA_INET_CONF = 1
IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODE_NONE = 8, 1
RTEXT_FILTER_SKIP_STATS = 0x8
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFA_F_NODAD = 0x02
RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE = 1, 2, 3, 4, 5, 6, 7, 15
RT_TABLE_LOCAL, RTA_EXPIRES = 255, 23
RT_TABLE_MAIN, RTPROT_KERNEL, RTPROT_STATIC, RTN_UNICAST, RTN_LOCAL = 254, 2, 4, 1, 2
RTNH_F_ONLINK = 4
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x1000, 0x2000  # the second: show the route, not its effect on a packet
NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}  # no route, or one that refuses
NDA_DST, NDA_LLADDR, NDA_IFINDEX = 1, 2, 8
NUD_PERMANENT = 0x80

IFINFO = struct.Struct("=BxHiII")
IFADDR = struct.Struct("=BBBBI")
RTMSG = struct.Struct("=BBBBBBBBI")
NDMSG = struct.Struct("=BxxxiHBB")
_IPV6_SIZE = 16
U16, U32 = struct.Struct("=H"), struct.Struct("=I")


def text(octets: bytes) -> str:
    """A name that others chose: to the kernel it is octets, and need not be UTF-8."""
    return octets.rstrip(b"\0").decode(errors="backslashreplace")


def family_of(of: Address | Network) -> int:
    """As the kernel numbers it."""
    return AF_INET if of.version == IPV4 else AF_INET6


def destination(network: Network) -> bytes:
    """The attribute of a route's destination; a default route has none."""
    return attribute(RTA_DST, network.network_address.packed) if network.prefixlen else b""


def network(family: int, octets: bytes | None, length: int) -> Network:
    """The prefix in an attribute; without one, everything."""
    if family == AF_INET:
        return IPv4Network((octets or bytes(4), length))
    return IPv6Network((octets or bytes(16), length))


def address(values: dict[int, bytes], kind: int) -> IPv4Address | None:
    """The IPv4 address in an attribute."""
    return IPv4Address(values[kind]) if kind in values else None


def any_address(values: dict[int, bytes], kind: int) -> Address | None:
    """The address in an attribute, whose length says of which family it is."""
    if kind not in values:
        return None
    return IPv6Address(values[kind]) if len(values[kind]) == _IPV6_SIZE else IPv4Address(values[kind])


def number(values: dict[int, bytes], kind: int) -> int:
    """The 32-bit number in an attribute; 0 where there is none."""
    return int(U32.unpack(values[kind])[0]) if kind in values else 0


def octets(mac: str) -> bytes:
    """A MAC as the kernel has it."""
    return bytes.fromhex(mac.replace(":", ""))
