"""Which network namespaces have processes in them, seen without the right to trace processes.

/proc/PID/ns/net names a process's namespace, but needs CAP_SYS_PTRACE. /proc/PID/net does not: it shows the network of
that process, and each of its files has an inode number that belongs to the namespace, the same for all processes in it
and in every mount of procfs. So the number of `net/dev` identifies a namespace, and the agent sees it by a read-only
mount of the node's /proc alone: without hostPID, and without a capability.

Each thread is looked at separately: some runtimes run a virtual machine in a thread of a process that is elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from azure_cni.datapath import names
from azure_cni.errors import DatapathError
from azure_cni.ipam.address_state import Holder
from azure_cni.linux import netns, rtnetlink
from azure_cni.node.pods.liveness import Occupancy

_MARK: Final = "net/dev"
_OWN_MARK: Final = Path("/proc/thread-self") / _MARK


class Occupants:
    """Looks for processes in sandboxes. Belongs to the thread that made it.

    `processes` is where the node's procfs is mounted; None where it is not.
    """

    def __init__(self, processes: Path | None) -> None:
        self._processes = processes
        self._home = netns.own()

    def close(self) -> None:
        """Give the namespace's descriptor back."""
        os.close(self._home)

    def look(self, holders: Sequence[Holder]) -> tuple[Occupancy, ...]:
        """Of each holder's sandbox, in the order given. DatapathError.

        Nobody lives in one whose end is in the node's namespace: it was offered to a runtime that has not moved it into
        a container, or has put it back.
        """
        if not holders:
            return ()
        occupied = None if self._processes is None else occupied_marks(self._processes)
        with netns.socket_in(self._home, home=self._home) as kernel:
            here = frozenset(link.name for link in rtnetlink.links(kernel))
        return tuple(
            Occupancy.EMPTY if names.offered_ifname(*one.sandbox.interface) in here else self._of(one, occupied)
            for one in holders
        )

    def _of(self, holder: Holder, occupied: frozenset[int] | None) -> Occupancy:
        mark = self._mark_of(holder)
        if occupied is None or mark is None:
            return Occupancy.UNREADABLE
        return Occupancy.OCCUPIED if mark in occupied else Occupancy.EMPTY

    def _mark_of(self, holder: Holder) -> int | None:
        """The mark of the sandbox's namespace; None when it is not the one at that path (any more).

        It is known by the MAC of its interface: Docker gives the interface a name of its own.
        """
        mac = names.pod_mac(*holder.sandbox.interface)
        try:
            with netns.opened(holder.netns) as there:
                with netns.socket_in(there, home=self._home) as inside:
                    if all(link.mac != mac for link in rtnetlink.links(inside)):
                        return None
                netns.enter(there)
                try:
                    return own_mark()
                finally:
                    netns.enter(self._home)
        except (DatapathError, OSError):
            return None


def own_mark() -> int:
    """The number of the network namespace that this thread is in."""
    return _OWN_MARK.stat().st_ino


def occupied_marks(processes: Path) -> frozenset[int] | None:
    """The numbers of all namespaces that a thread is in, as `processes` (a mount of procfs) shows them.

    None when it does not show all processes of the node: it is not there, it is the one of this container, or it hides
    those of others (hidepid). Some 15 µs for each thread.
    """
    try:
        if str((processes / "self").readlink()) == "1":  # a container's own: the first process in it is this one
            return None
        found = [name for name in os.listdir(processes) if name.isdecimal()]  # noqa: PTH208  # half the time
        if "1" not in found:
            return None
        return frozenset(mark for name in found for mark in _marks(f"{processes}/{name}/task"))
    except OSError:
        return None


def _marks(tasks: str) -> Iterator[int]:
    """Of the threads of one process, but those that have ended; OSError when they may not be looked at."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(tasks):  # noqa: PTH208
            with suppress(FileNotFoundError, ProcessLookupError):
                yield os.stat(f"{tasks}/{thread}/{_MARK}").st_ino  # noqa: PTH116
