"""Ports for servers that are given theirs before they listen."""

import random
import socket
from contextlib import ExitStack
from typing import Final

LOOPBACK: Final = "127.0.0.1"
OUTSIDE_EPHEMERAL: Final = range(20_000, 32_000)
"""Below /proc/sys/net/ipv4/ip_local_port_range: no connection that begins meanwhile takes one of these."""


def free_ports(count: int, *, addresses: tuple[str, ...] = (LOOPBACK,)) -> list[int]:
    """Different ports that nothing has, neither for TCP nor for UDP, at any of these addresses.

    Raises:
        OSError: fewer are free.

    """
    found = []
    for port in random.SystemRandom().sample(OUTSIDE_EPHEMERAL, len(OUTSIDE_EPHEMERAL)):
        if _is_free(port, addresses):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"cannot find {count} free ports below {OUTSIDE_EPHEMERAL.stop}: {len(found)} are")


def _is_free(port: int, addresses: tuple[str, ...]) -> bool:
    with ExitStack() as opened:
        for address in addresses:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                probe = opened.enter_context(socket.socket(socket.AF_INET, kind))
                try:
                    probe.bind((address, port))
                except OSError:
                    return False
    return True
