"""A node of both families on its network, and frames of IPv6 that no socket would send.

As on Azure, the node has its IPv6 address as a /128 and a default route by its router's link-local address; the fabric
routes every address of the VNet to the NIC that holds it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from datapath import node_site
from datapath.machine import Machine
from datapath.namespaces import Namespace, caller_of
from datapath.node_site import FABRIC_MAC, NIC_MAC, PORT, PRIMARY, TABLE, A, B, Site
from datapath.packets import checksum
from fakes.veth import VethSandbox

PRIMARY6, A6, B6, UNUSED6 = "2001:db8::4", "2001:db8::a:7", "2001:db8::a:8", "2001:db8::a:99"
BLOCK = IPv6Network("2001:db8::a:0/112")
PEER6, INTERNET6 = "2001:db8:1::4", "2001:db8:ffff::10"
ROUTER = "fe80::1234:5678:9abc"
IPV6_RULE = "90 lookup main suppress_prefixlength 127 suppress_ifgroup default protocol kernel"
DUAL = replace(
    TABLE,
    ipv6_pairs=frozenset({(IPv4Address(A), IPv6Address(A6)), (IPv4Address(B), IPv6Address(B6))}),
    ipv6_blocks=frozenset({BLOCK}),
)
ETH_P_IPV6 = 0x86DD
ICMPV6 = socket.IPPROTO_ICMPV6
ALL_NODES = "ff02::1"


def connected(machine: Machine) -> Site:
    """The site of `node_site`, with IPv6 on it."""
    machine.node.sysctl("net/ipv6/conf/default/accept_dad", "0")  # a search for duplicates takes a second
    site = node_site.connected(machine)
    node, outside = site.node, site.outside
    node.ip(*f"neigh add {ROUTER} lladdr {FABRIC_MAC} nud permanent dev eth0".split())
    outside.ip(*f"address add {ROUTER}/64 dev vm nodad".split())
    node.ip(*f"address add {PRIMARY6}/128 dev eth0 nodad".split())
    node.ip(*f"-6 route add default via {ROUTER} dev eth0".split())
    for address in (PEER6, INTERNET6):
        outside.ip(*f"address add {address}/128 dev lo nodad".split())
    for network in (f"{PRIMARY6}/128", str(BLOCK)):
        outside.ip(*f"-6 route add {network} dev vm".split())
    for address in (PRIMARY6, A6, B6, UNUSED6):
        outside.ip(*f"-6 neigh add {address} lladdr {NIC_MAC} nud permanent dev vm".split())
    outside.sysctl("net/ipv6/conf/all/forwarding", "1")
    return site


def spec_of(machine: Machine, ipv4: str, ipv6: str, **changes: object) -> VethSandbox:
    """A sandbox with both addresses."""
    addresses = IPv4Address(ipv4), IPv6Address(ipv6)
    return machine.spec(ipv4, addresses=addresses, **{"node_address": IPv4Address(PRIMARY), **changes})


async def pod(machine: Machine, ipv4: str, ipv6: str) -> Namespace:
    """The namespace of one that is wired."""
    await machine.datapath.attach(spec_of(machine, ipv4, ipv6))
    return machine.pods[ipv4]


async def pods_of(site: Site) -> tuple[Namespace, Namespace]:
    """Two, on a node that is prepared."""
    await site.machine.datapath.apply_node(DUAL)
    return await pod(site.machine, A, A6), await pod(site.machine, B, B6)


def default_routes(node: Namespace) -> list[tuple[str, str]]:
    """By gateway, and who made them."""
    return [(route["gateway"], route["protocol"]) for route in node.show("-6", "route", "show", "default")]


def listen(at: Namespace, address: str) -> socket.socket:
    listener = at.socket(family=socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, PORT))
    listener.listen()
    return listener


def seen(caller: Namespace, target: Namespace, address: str) -> str:
    """As which address `target` sees the caller."""
    with listen(target, address) as listener:
        return caller_of(listener, caller.socket(family=socket.AF_INET6), (address, PORT))


def icmpv6(source: str, target: str, kind: int, body: bytes) -> bytes:
    """A packet with the hop limit that neighbour discovery asks for."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    said = struct.pack("!BBH", kind, 0, 0) + body
    total = checksum(ends + struct.pack("!II", len(said), ICMPV6) + said)
    return struct.pack("!IHBB", 6 << 28, len(said), ICMPV6, 255) + ends + said[:2] + total + said[4:]


def datagram(source: str, target: str, content: bytes) -> bytes:
    """UDP, from port 4711 to PORT; `content` of an even length."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    udp = struct.pack("!HHHH", 4711, PORT, 8 + len(content), 0) + content
    total = checksum(ends + struct.pack("!II", len(udp), socket.IPPROTO_UDP) + udp)
    return struct.pack("!IHBB", 6 << 28, len(udp), socket.IPPROTO_UDP, 64) + ends + udp[:6] + total + udp[8:]


def advertisement(source: str, target: str = ALL_NODES, *, mac: str = "") -> bytes:
    """Of a router, for half an hour."""
    option = b"\1\1" + _octets(mac) if mac else b""
    return icmpv6(source, target, 134, struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option)


def neighbour_claim(source: str, target: str, claimed: str, mac: str) -> bytes:
    """A neighbour advertisement, unasked, that replaces what was known."""
    return icmpv6(source, target, 136, struct.pack("!I", 1 << 29) + _packed(claimed) + b"\2\1" + _octets(mac))


def neighbour_question(source: str, target: str, wanted: str, mac: str) -> bytes:
    """A neighbour solicitation, by which who is asked learns who asks."""
    return icmpv6(source, target, 135, bytes(4) + _packed(wanted) + b"\1\1" + _octets(mac))


def send(at: Namespace, device: str, packets: Iterable[bytes], *, source: str, target: str) -> None:
    """Frames from one MAC to another."""
    with at.socket(socket.SOCK_RAW, family=socket.AF_PACKET) as raw:
        raw.bind((device, 0))
        for packet in packets:
            raw.send(_octets(target) + _octets(source) + struct.pack("!H", ETH_P_IPV6) + packet)


def _octets(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address)
