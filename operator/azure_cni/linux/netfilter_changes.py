"""Changes of nftables by others, as far as they touch the node's own table.

The kernel announces every transaction on a multicast group (NFNLGRP_NFTABLES): a message for each object, many of
them in one datagram, and at the end one with the number of the new generation and the process that made it. A sync of
kube-proxy is thousands of messages, so they are not decoded: the name of our table is looked for in the octets, which
costs a microsecond for each datagram. A plain socket for that reason: pyroute2 decodes whatever it receives.
"""

from __future__ import annotations

import errno
import socket
import struct

from azure_cni.datapath.node_table import TABLE
from azure_cni.errors import DatapathError
from azure_cni.linux.netlink import attributes

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_NFNLGRP_NFTABLES = 7  # linux/netfilter/nfnetlink.h
_NEWGEN = 10 << 8 | 15  # NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN of linux/netfilter/nf_tables.h
_GEN_PROC_PID, _GEN_PROC_NAME = 2, 3
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 << 20
"""Room for a sync of some ten thousand rules while the event loop does something else; only what waits uses it."""
_DATAGRAM = 65536
_AT_ONCE = 5000
"""Datagrams in one turn, some 20 ms."""
_HEADER = struct.Struct("=IHHII")
_NFGENMSG = struct.Struct("=BBH")
_NEEDLE = TABLE.encode() + b"\0"

OVERRUN = "more changed at once than the kernel keeps for a listener"


def open_socket() -> socket.socket:
    """A socket of the calling thread's network namespace that hears of every transaction; never blocks."""
    try:
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        listener.bind((0, 0))
        listener.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    except OSError as error:
        raise DatapathError(f"cannot listen for changes of nftables: {error.strerror}") from error
    return listener


class NetfilterChanges:
    """What was heard on such a socket."""

    def __init__(self, listener: socket.socket) -> None:
        self.socket = listener
        self._touched = False

    def read(self) -> tuple[list[str], bool]:
        """Each transaction that touched our table, in words with who made it; true when there may be more.

        A transaction is over with its generation; one whose end was lost counts all the same.
        """
        found: list[str] = []
        for _ in range(_AT_ONCE):
            try:
                data = self.socket.recv(_DATAGRAM)
            except BlockingIOError:
                return found, False
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise DatapathError(f"cannot listen for changes of nftables: {error.strerror}") from error
                self._touched = False
                found.append(OVERRUN)
                continue
            self._touched = self._touched or _NEEDLE in data
            if self._touched and _kind(data) == _NEWGEN:
                self._touched = False
                found.append(f"nftables table {TABLE} was changed by {_author(data)}")
        return found, True

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close()


def _kind(data: bytes) -> int:
    return int(_HEADER.unpack_from(data)[1])


def _author(data: bytes) -> str:
    """The process that made a generation, by name and (host's) process ID."""
    said = attributes(data[_HEADER.size + _NFGENMSG.size :])
    name = said.get(_GEN_PROC_NAME, b"?").rstrip(b"\0").decode(errors="replace")
    pid = int.from_bytes(said.get(_GEN_PROC_PID, b""), "big")
    return f"process {name} ({pid})"
