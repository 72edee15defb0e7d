"""What a listener asks of its sockets that Linux and Windows name differently, or that only one of them has.

Linux lets a socket listen on an address that no interface has yet, and says how much of an answer the caller's kernel
has not acknowledged. Windows says neither. There a port may be taken over by another process unless the socket is
opened as its only user, where Linux would take that for waiting until old connections have ended.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

from azure_cni.errors import AzureCniError

BACKLOG: Final = 64
"""Connections that wait in the kernel; more are refused by it."""

_WINDOWS: Final = sys.platform == "win32"
_IP_FREEBIND: Final = 15  # linux/in.h; Python 3.11 has no name for it
_EXCLUSIVE: Final = ~socket.SO_REUSEADDR
"""SO_EXCLUSIVEADDRUSE (ws2def.h)."""
_RECEIVE_BYTES: Final = 8192
_LINGER: Final = struct.Struct("HH" if _WINDOWS else "ii")
"""`struct linger`: whether, and for how many seconds."""


def bound_socket(address: str, port: int) -> socket.socket:
    """A listening socket. AzureCniError when something else has the port, or `address` is no IP address.

    The address need not be on an interface yet: a NIC's can be away for a moment while a network manager restarts.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, _EXCLUSIVE if _WINDOWS else socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET and not _WINDOWS:
            listening.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        listening.bind((address, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        find = f"netstat -ano | findstr :{port}" if _WINDOWS else f"ss -ltnp sport = :{port}"
        raise AzureCniError(
            f"cannot serve metrics and health on {address} port {port}: {error.strerror or error}; find what has it "
            f"with `{find}`, or set another one"
        ) from error
    return listening


def reset_at_close(connection: socket.socket, *, reset: bool) -> None:
    """Whether its close drops what the kernel still has for the caller (a reset), or is a usual one."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(int(reset), 0))


def outstanding(connection: socket.socket) -> int:
    """Bytes that the caller's kernel has not acknowledged, with one for the end. 0 where the system does not say."""
    if _WINDOWS:
        return 0
    import fcntl
    import termios

    (count,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    return int(count)
