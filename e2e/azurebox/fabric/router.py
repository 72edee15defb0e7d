"""Azure's router of IPv6, as far as VMs hear of it: it advertises itself, and answers who asks.

Usage: router.py MAC, with a raw socket of ICMPv6 as its standard input. What it says: that addresses come by DHCPv6,
that no prefix is on the link, and that it is a default router for LIFETIME_S. It says so on each link of its namespace
that has its address (the kernel of the fabric answers who looks for its MAC), each EVERY_S and when a VM asks. How
often Azure's does is not documented. Standard library only, run on its own.
"""

import socket
import struct
import sys
import time
from pathlib import Path

SOLICITATION, ADVERTISEMENT = 133, 134
MANAGED = 0xC0  # addresses and all else by DHCPv6
LIFETIME_S = 9000  # RFC 4861: the longest
EVERY_S = 10.0
ALL_NODES = "ff02::1"
ADDRESSES = Path("/proc/net/if_inet6")
LINK_LOCAL = "20"  # its scope there


def advertisement(mac: str) -> bytes:
    """The message; the kernel fills in the checksum."""
    option = b"\1\1" + bytes.fromhex(mac.replace(":", ""))
    return struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 64, MANAGED, LIFETIME_S, 0, 0) + option


def links() -> list[int]:
    """The numbers of the links on which VMs know this router."""
    lines = [line.split() for line in ADDRESSES.read_text().splitlines()]
    return [int(number, 16) for _, number, _, scope, _, _ in lines if scope == LINK_LOCAL]


def serve(served: socket.socket, said: bytes) -> None:
    for option in (socket.IPV6_MULTICAST_HOPS, socket.IPV6_UNICAST_HOPS):
        served.setsockopt(socket.IPPROTO_IPV6, option, 255)
    due = time.monotonic()
    while True:
        if (now := time.monotonic()) >= due:
            for link in links():
                _say(served, said, link)
            due = now + EVERY_S
        served.settimeout(max(due - time.monotonic(), 0.01))
        try:
            asked, source = served.recvfrom(2048)
        except TimeoutError:
            continue
        if asked[:1] == bytes([SOLICITATION]):
            _say(served, said, source[3])


def _say(served: socket.socket, said: bytes, link: int) -> None:
    try:
        served.sendto(said, (ALL_NODES, 0, 0, link))
    except OSError as error:  # a cable that was pulled out a moment ago
        print(f"cannot advertise on link {link}: {error}", file=sys.stderr, flush=True)


def main() -> None:
    served = socket.socket(fileno=sys.stdin.fileno())
    serve(served, advertisement(sys.argv[1]))


if __name__ == "__main__":
    main()
