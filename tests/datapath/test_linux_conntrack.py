"""The table of connections of a real kernel: how full it is, that drops are counted when it is full, and what ends.

The table is a namespace's own, its limit the whole kernel's: it is filled with connections that nobody opened, by the
messages that `conntrack -I` sends, marked so that the kernel throws none of them away for a new one.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

import pytest

from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.linux.conntrack import NETLINK_NETFILTER, Conntrack
from azure_cni.linux.netlink import attribute
from azure_cni.linux.worker import Worker
from datapath.namespaces import NEEDS_ROOT, Namespace, Namespaces
from datapath.node_site import TABLE, Site

pytestmark = NEEDS_ROOT

REFUSED = 5
NEW = 1 << 8
FLAGS = 0x1 | 0x400  # NLM_F_REQUEST, NLM_F_CREATE
NESTED = 0x8000
TUPLE_ORIG, TUPLE_REPLY, STATUS, TIMEOUT = 1, 2, 3, 7
CONFIRMED, ASSURED, SEEN_REPLY = 1 << 3, 1 << 2, 1 << 1
BATCH = 200
PORTS = range(1024, 61_024)
FROM, TO = "192.0.2.1", "198.51.100.0"
OTHERS = ("192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")


def test_a_namespace_that_tracks_nothing_has_an_empty_table(namespaces: Namespaces):
    usage = asked(namespaces.new())
    assert (usage.entries, usage.dropped) == (0, 0)
    assert usage.limit > 0


async def test_a_full_table_shows_as_full_and_what_it_drops_is_counted(site: Site):
    before = (await site.machine.datapath.apply_node(TABLE)).conntrack
    assert before is not None
    fill(site.node, before.limit - before.entries)
    for port in range(1000, 1000 + REFUSED):
        with site.node.socket(socket.SOCK_DGRAM) as sender, pytest.raises(PermissionError):
            sender.sendto(b"one more", ("127.0.0.1", port))
    now = (await site.machine.datapath.apply_node(TABLE)).conntrack
    assert now is not None
    assert (now.entries, now.dropped) == (now.limit, before.dropped + REFUSED)


@pytest.mark.parametrize("beside", [(), OTHERS], ids=["asked by address", "found in the whole table"])
def test_the_connections_of_an_address_end_and_no_others(namespaces: Namespaces, beside: tuple[str, ...]):
    namespace, former = namespaces.new(), [IPv4Address(address) for address in (FROM, *beside)]
    opened = [connection(port) for port in range(1024, 1324)]
    served = [connection(port, opener=TO, server=FROM) for port in range(1024, 1029)]
    by_service = [connection(port, opener=TO, server="203.0.113.1", answers=FROM) for port in range(2000, 2003)]
    of_others = [connection(port, opener=address) for port in (1024, 1025) for address in beside]
    kept = [connection(port, opener="192.0.2.10", server="192.0.2.11") for port in range(1024, 1031)]
    send(namespace, [*kept, *opened, *served, *by_service, *of_others])
    assert asked(namespace).entries == 315 + len(of_others)
    assert told(namespace, lambda conntrack: conntrack.forget(former)) == 308 + len(of_others)
    assert asked(namespace).entries == len(kept)
    assert told(namespace, lambda conntrack: conntrack.forget(former)) == 0


Answer = TypeVar("Answer")


def told(namespace: Namespace, work: Callable[[Conntrack], Answer]) -> Answer:
    worker = Worker(Conntrack, name="conntrack", node_netns=namespace.path)
    try:
        return worker.submit(work).result()
    finally:
        worker.close()


def asked(namespace: Namespace) -> ConntrackUsage:
    usage = told(namespace, Conntrack.usage)
    assert usage is not None
    return usage


def send(namespace: Namespace, messages: Sequence[bytes]) -> None:
    with namespace.socket(socket.SOCK_RAW, family=socket.AF_NETLINK, protocol=NETLINK_NETFILTER) as kernel:
        for first in range(0, len(messages), BATCH):
            kernel.send(b"".join(messages[first : first + BATCH]))


def fill(namespace: Namespace, count: int) -> None:
    """Add that many connections, from each port to one address, then to the next."""
    to_one = b"".join(map(connection, PORTS))
    size = len(to_one) // len(PORTS)
    with namespace.socket(socket.SOCK_RAW, family=socket.AF_NETLINK, protocol=NETLINK_NETFILTER) as kernel:
        for number in range(-(-count // len(PORTS))):
            messages = to_one.replace(IPv4Address(TO).packed, (IPv4Address(TO) + number).packed)
            messages = messages[: size * min(len(PORTS), count - number * len(PORTS))]
            for first in range(0, len(messages), size * BATCH):
                kernel.send(messages[first : first + size * BATCH])


def connection(port: int, *, opener: str = FROM, server: str = TO, answers: str = "") -> bytes:
    there, back = (opener, server, port, 9), (answers or server, opener, 9, port)
    body = (
        struct.pack("=BBH", socket.AF_INET, 0, 0)
        + attribute(TUPLE_ORIG | NESTED, way(*there))
        + attribute(TUPLE_REPLY | NESTED, way(*back))
        + attribute(STATUS, struct.pack("!I", CONFIRMED | ASSURED | SEEN_REPLY))
        + attribute(TIMEOUT, struct.pack("!I", 600))
    )
    return struct.pack("=IHHII", 16 + len(body), NEW, FLAGS, 0, 0) + body


def way(source: str, target: str, source_port: int, target_port: int) -> bytes:
    addresses = attribute(1, socket.inet_aton(source)) + attribute(2, socket.inet_aton(target))
    ports = attribute(1, bytes([socket.IPPROTO_UDP]))
    ports += attribute(2, struct.pack("!H", source_port)) + attribute(3, struct.pack("!H", target_port))
    return attribute(1 | NESTED, addresses) + attribute(2 | NESTED, ports)
