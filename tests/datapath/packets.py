"""Raw packets that no socket would send, and a capture of what a node sends."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from datapath.node_site import Site

ETH_P_IP = 0x0800


def reset(source: str, target: str) -> bytes:
    """A TCP segment with RST, from port 4711 to 443."""
    head = struct.pack("!HHIIBBHHH", 4711, 443, 1, 0, 5 << 4, 0x04, 0, 0, 0)
    pseudo = IPv4Address(source).packed + IPv4Address(target).packed + struct.pack("!BBH", 0, 6, len(head))
    return packet(source, target, socket.IPPROTO_TCP, head[:16] + checksum(pseudo + head) + head[18:])


def packet(source: str, target: str, protocol: int, content: bytes) -> bytes:
    ends = IPv4Address(source).packed + IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, protocol, 0) + ends
    return head[:10] + checksum(head) + head[12:] + content


def fragment(source: str, target: str, content: bytes, *, number: int, offset: int = 0, more: bool = False) -> bytes:
    """A part of a UDP datagram; `offset` in bytes, of which eight are one to IP."""
    head = packet(source, target, socket.IPPROTO_UDP, content)[:20]
    head = head[:4] + struct.pack("!HH", number, more << 13 | offset // 8) + head[8:10] + bytes(2) + head[12:]
    return head[:10] + checksum(head) + head[12:] + content


def checksum(data: bytes) -> bytes:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)


def discover(content: bytes) -> bytes:
    """A UDP datagram from 0.0.0.0:68 to 255.255.255.255:67."""
    udp = struct.pack("!HHHH", 68, 67, 8 + len(content), 0) + content
    return packet("0.0.0.0", "255.255.255.255", socket.IPPROTO_UDP, udp)


@contextlib.contextmanager
def wire(site: Site) -> Iterator[Callable[[], list[bytes]]]:
    """What has come from the node until now, as IP packets."""
    with site.outside.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as tap:
        tap.bind(("vm", ETH_P_IP))

        def arrived() -> list[bytes]:
            tap.setblocking(False)
            found = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, (_, _, direction, *_) = tap.recvfrom(2000)
                    if direction == socket.PACKET_HOST:
                        found.append(data)
            return found

        yield arrived
