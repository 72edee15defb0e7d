"""How full the kernel's table of connections is, asked of ctnetlink (linux/netfilter/nfnetlink_conntrack.h).

Not of /proc/net/stat/nf_conntrack: some distributions build their kernel without it. Both are of the network namespace
of the thread that asks; the limit is the whole kernel's.
"""

from __future__ import annotations

import socket
import struct

from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.errors import DatapathError
from azure_cni.linux.netlink import Netlink, attributes

NETLINK_NETFILTER = 12
_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET_STATS_CPU, _GET_STATS = _SUBSYSTEM | 4, _SUBSYSTEM | 5
_STATS_DROP = 10
_GLOBAL_ENTRIES, _GLOBAL_MAX_ENTRIES = 1, 2
_NFGENMSG = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
_COUNT = struct.Struct("!I")


class Conntrack:
    """A socket of the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._kernel = Netlink(NETLINK_NETFILTER)

    def close(self) -> None:
        """Give the socket back."""
        self._kernel.close()

    def usage(self) -> ConntrackUsage | None:
        """The table now; None where the kernel says nothing of it: it tracks no connections, or lacks ctnetlink."""
        try:
            whole = self._kernel.get("read the size of conntrack's table", kind=_GET_STATS, body=_NFGENMSG)
            each = self._kernel.dump("read conntrack's counts", kind=_GET_STATS_CPU, body=_NFGENMSG)
        except DatapathError:
            return None
        if whole is None:
            return None
        found = attributes(whole[len(_NFGENMSG) :])
        # Kernels before 4.18 do not show the limit.
        limit = _count(found, _GLOBAL_MAX_ENTRIES)
        dropped = sum(_count(attributes(processor[len(_NFGENMSG) :]), _STATS_DROP) for processor in each)
        return ConntrackUsage(_count(found, _GLOBAL_ENTRIES), limit, dropped) if limit else None


def _count(found: dict[int, bytes], kind: int) -> int:
    value = found.get(kind, b"")
    return int(_COUNT.unpack(value)[0]) if len(value) == _COUNT.size else 0
