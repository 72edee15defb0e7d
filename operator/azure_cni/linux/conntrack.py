"""The kernel's table of connections, by ctnetlink (linux/netfilter/nfnetlink_conntrack.h): how full it is, and which of
it belong to addresses that no pod has.

How full it is, is not asked of /proc/net/stat/nf_conntrack: some distributions build their kernel without it. Both are
of the network namespace of the thread that asks; the limit is the whole kernel's.

A table may have a hundred thousand connections, so the kernel is asked for those of an address (CTA_FILTER, from Linux
5.8; older kernels ignore it and list everything). For more than a few addresses the whole table is read once. What
comes is compared in any case, and only what belongs to an address is kept.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from typing import Final

from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.errors import DatapathError
from azure_cni.linux.netlink import Netlink, NetlinkRequest, attribute, attributes
from azure_cni.model.nic import Address

NETLINK_NETFILTER = 12
_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET_STATS_CPU, _GET_STATS = _SUBSYSTEM | 4, _SUBSYSTEM | 5
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP = 1
_NESTED = 0x8000
_FILTER_SOURCE = struct.pack("=I", 1)  # CTA_FILTER_FLAG(CTA_IP_SRC)
_SOURCE: Final = {4: (socket.AF_INET, 1), 6: (socket.AF_INET6, 3)}
"""Of each version of IP: the address family, and the attribute of a tuple that has the source (CTA_IP_V4_SRC...)."""
_ASKED_ONE_BY_ONE = 4
_DELETED_AT_ONCE = 64  # the answers to more may not fit the socket's buffer
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

    def forget(self, addresses: Collection[Address]) -> int:
        """Delete the connections that one of these opened, or answers; returns how many there were. DatapathError.

        Whatever was translated: a connection's first tuple comes from who opened it, and the second from who answers.
        """
        sources = frozenset(address.packed for address in addresses)
        found: dict[bytes, NetlinkRequest] = {}
        for body in _questions(addresses):
            for entry in self._kernel.dump(
                "list connections of former pods", kind=_GET, body=body, keep=lambda entry: _is_of(entry, sources)
            ):
                request = _deletion(entry)
                found[request.body] = request
        requests = list(found.values())
        for first in range(0, len(requests), _DELETED_AT_ONCE):
            self._kernel.change(*requests[first : first + _DELETED_AT_ONCE])
        return len(requests)


def _questions(addresses: Collection[Address]) -> Iterator[bytes]:
    """What to ask for: the connections of each address, or for more than a few all that there are."""
    if len(addresses) > _ASKED_ONE_BY_ONE:
        yield _NFGENMSG
        return
    for address in addresses:
        family, source = _SOURCE[address.version]
        by_source = attribute(_TUPLE_IP | _NESTED, attribute(source, address.packed))
        for way, tuple_kind in enumerate((_TUPLE_ORIG, _TUPLE_REPLY), start=1):
            yield (
                struct.pack("=BBH", family, 0, 0)
                + attribute(tuple_kind | _NESTED, by_source)
                + attribute(_FILTER | _NESTED, attribute(way, _FILTER_SOURCE))
            )


def _is_of(entry: bytes, sources: Collection[bytes]) -> bool:
    if not any(source in entry for source in sources):  # most of a long list ends here
        return False
    found = attributes(entry[len(_NFGENMSG) :])
    return any(_source_of(found.get(kind, b"")) in sources for kind in (_TUPLE_ORIG, _TUPLE_REPLY))


def _source_of(connection_tuple: bytes) -> bytes:
    ends = attributes(attributes(connection_tuple).get(_TUPLE_IP, b""))
    return next((ends[kind] for _, kind in _SOURCE.values() if kind in ends), b"")


def _deletion(entry: bytes) -> NetlinkRequest:
    """Of just this connection: its number tells it from one that another packet has opened between the same ends."""
    found = attributes(entry[len(_NFGENMSG) :])
    named = ((_TUPLE_ORIG | _NESTED, _TUPLE_ORIG), (_ID, _ID), (_ZONE, _ZONE))
    body = entry[: len(_NFGENMSG)] + b"".join(attribute(kind, found[key]) for kind, key in named if key in found)
    # Another may have ended it; with another number it is a new one, which the kernel says by the same error.
    return NetlinkRequest("end a connection of a former pod", _DELETE, 0, body, forgiven=(errno.ENOENT,))


def _count(found: dict[int, bytes], kind: int) -> int:
    value = found.get(kind, b"")
    return int(_COUNT.unpack(value)[0]) if len(value) == _COUNT.size else 0
