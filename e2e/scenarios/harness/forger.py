"""Datagrams of IPv6 with another source than the pod's own, and a pod that says whose have come."""

import json
from collections.abc import Sequence
from ipaddress import IPv6Address

from azurebox.client import Box
from scenarios.harness.pods import NAMESPACE, Pod

LISTEN = """
import json, socket, sys
own, seen, count = sys.argv[1], set(), 0
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
    server.bind(("::", 9998))
    server.settimeout(120)
    while count < 5:  # each comes behind forged ones
        _, caller = server.recvfrom(64)
        seen.add(caller[0])
        count += caller[0] == own
    for _ in range(20):
        server.sendto(b"enough", (own, 9999))
print(json.dumps(sorted(seen)))
"""
"""What a pod runs that is sent to; its argument is the sender's own address."""

SEND = """
import socket, struct, sys
own, target, *forged = sys.argv[1:]
def packet(source):
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    udp = struct.pack("!HHHH", 9999, 9998, 12, 0) + b"from"
    words = struct.unpack("!26H", ends + struct.pack("!II", len(udp), 17) + udp)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    udp = udp[:6] + struct.pack("!H", ~total & 0xFFFF or 0xFFFF) + udp[8:]
    return struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + ends + udp
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
answers = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
answers.bind((own, 9999))
answers.settimeout(0.1)
for _ in range(1200):
    for source in (*forged, own):
        raw.sendto(packet(source), (target, 0))
    try:
        answers.recv(64)
        break
    except TimeoutError:
        pass
else:
    sys.exit("nobody has heard of us")
"""


def listen_for(box: Box, pod: Pod, sender: IPv6Address) -> set[str]:
    """From whom datagrams come to a pod, until some have come from the sender's own address."""
    return set(json.loads(_python(box, pod, LISTEN, str(sender))))


def send_forged(box: Box, pod: Pod, target: IPv6Address, *, sources: Sequence[IPv6Address]) -> None:
    """Send to a pod that listens, from these sources and then from the pod's own address, until it has heard that."""
    _python(box, pod, SEND, str(pod.ipv6), str(target), *map(str, sources))


def _python(box: Box, pod: Pod, program: str, *words: str) -> str:
    return box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "python3", "-c", program, *words)
