"""The driver of an interface, as `ethtool -i` shows it (linux/ethtool.h).

Asked of the kernel and not of /sys: what a container sees there is the namespace that mounted it.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_GDRVINFO = 0x3
_INFO = struct.Struct("=I32s160x")  # struct ethtool_drvinfo: the command, the driver's name, and what is not asked here
_IFREQ = struct.Struct("=16sQ16x")


def driver(name: str) -> str:
    """Its driver, "" where it has none or is not there, in the namespace of the calling thread."""
    info = ctypes.create_string_buffer(_INFO.pack(_GDRVINFO, b""), _INFO.size)
    request = _IFREQ.pack(name.encode(), ctypes.addressof(info))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            fcntl.ioctl(asking, _SIOCETHTOOL, request)
        except OSError:
            return ""
    return bytes(_INFO.unpack(info.raw)[1]).rstrip(b"\0").decode(errors="replace")
