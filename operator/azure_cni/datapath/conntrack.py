"""The kernel's table of connections, and what it means for pods when it is full. Pure.

The kernel tracks every connection that a Service or the node's source NAT translates. While the table is full, and
holds nothing that could be thrown away, the first packet of each new connection is dropped: pods and node lose new
connections at random, running ones go on. How large the table is, is the administrator's to set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from azure_cni.datapath.conflicts import Conflict, ConflictReason

FULL: Final = 0.8
"""How much of the table must still be used when drops are seen: it was full within the last minute, and what lives
longest in it (an open connection, one that waits to end) lives for minutes. The kernel counts other packets with those,
so drops beside an emptier table are not for want of room: the loser of a race (two DNS requests by one socket), or what
the tracker of a protocol refuses (nf_conntrack_core.c: `drop`).
"""
LASTS_S = 300.0
"""How long the conflict outlives the last drop: a burst each minute is one conflict, and not one each minute."""


@dataclass(frozen=True, slots=True)
class ConntrackUsage:
    """Connections in the table, how many it may hold, and packets dropped since boot because none could be added."""

    entries: int
    limit: int
    dropped: int


class DropWatch:
    """Remembers when packets were last dropped. Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._dropped: int | None = None
        """The count as last read; None before the first time, for what was dropped then may be long ago."""
        self._last_s = float("-inf")
        self._limit = 0
        """Of the table when that was seen."""

    def record(self, usage: ConntrackUsage | None, *, now_s: float) -> None:
        """The table as just read; None where the kernel says nothing of it."""
        if usage is None:
            return
        if self._dropped is not None and usage.dropped > self._dropped and usage.entries >= FULL * usage.limit:
            self._last_s, self._limit = now_s, usage.limit
        self._dropped = usage.dropped

    def conflicts(self, usage: ConntrackUsage | None, *, now_s: float) -> tuple[Conflict, ...]:
        """The conflict while packets are dropped, and for LASTS_S after, unless the table was enlarged meanwhile; the
        same from pass to pass.
        """
        if usage is None or usage.limit > self._limit or now_s - self._last_s >= LASTS_S:
            return ()
        command = f"sysctl -w net.netfilter.nf_conntrack_max={2 * usage.limit}"
        message = (
            f"the node's table of connections is full: it holds {usage.limit} (nf_conntrack_max), and packets of new "
            f"connections, pods' and the node's, are dropped. Run: {command} (kube-proxy sets it at its start, by its "
            f"conntrack.maxPerCore and conntrack.min). Who has them: conntrack -L"
        )
        return (Conflict(ConflictReason.CONNTRACK_FULL, message, command),)
