"""What of the box is on the machine: found by what the kernel says, so that it works when all records are lost.

The box's network namespaces have its prefix in their names; a process that is in one of them is the box's.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from azurebox import cgroups, processes
from azurebox.facts import DISKS, PREFIX, RUN
from azurebox.machine import NETNS, delete_netns
from azurebox.steps import capture

GONE_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What was found, by kind; false when there is nothing."""

    processes: list[int]
    namespaces: list[str]
    mounts: list[str]
    cgroups: list[str]
    links: list[str]
    files: list[str]

    def __bool__(self) -> bool:
        return any((self.processes, self.namespaces, self.mounts, self.cgroups, self.links, self.files))

    def __str__(self) -> str:
        return "; ".join(f"{kind} {' '.join(map(str, found))}" for kind, found in self._kinds() if found)

    def counts(self) -> str:
        """How many of each kind, in words."""
        return ", ".join(f"{len(found)} {kind}" for kind, found in self._kinds() if found)

    def _kinds(self) -> list[tuple[str, list[object]]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def look() -> Leftovers:
    """Look at the machine."""
    recorded = {process.pid for process in processes.all_records() if process.is_alive()}
    return Leftovers(
        processes=sorted(recorded | set(members())),
        namespaces=namespaces(),
        mounts=mounts(),
        cgroups=[str(path) for path in cgroups.ours()],
        links=links(),
        files=[str(path) for path in (RUN, DISKS) if path.exists()],
    )


def namespaces() -> list[str]:
    """The names of the box's network namespaces."""
    return sorted(path.name for path in NETNS.glob(f"{PREFIX}*"))


def members() -> list[int]:
    """The processes that are in one of the box's network namespaces."""
    ours = {_identity(NETNS / name) for name in namespaces()}
    found = []
    for entry in Path("/proc").glob("[0-9]*") if ours else ():
        with suppress(OSError):  # it ended meanwhile, or is a zombie
            if _identity(entry / "ns/net") in ours:
                found.append(int(entry.name))
    return found


def _identity(path: Path) -> tuple[int, int]:
    """What distinguishes one namespace from another (and from a plain file, which a name is after a reboot)."""
    status = path.stat()
    return status.st_dev, status.st_ino


def mounts() -> list[str]:
    """Mount points of the box in this mount namespace, deepest last; its named network namespaces count there."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    ours = (f"{RUN}/", f"{DISKS}/", str(RUN), str(DISKS))
    return [point for point in points if point.startswith(ours)]


def links() -> list[str]:
    """Links of the box in this network namespace: none, unless something went wrong."""
    shown = capture(["ip", "-oneline", "link", "show"], what="list links")
    names = (line.split(": ")[1].split("@")[0] for line in shown.splitlines())
    return [name for name in names if name.startswith(PREFIX)]


def remove_namespaces() -> None:
    """End every process in the box's network namespaces, then remove these with the links in them."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while (pids := members()) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    for name in namespaces():
        delete_netns(name)
    for name in links():
        capture(["ip", "link", "delete", name], what=f"remove link {name}")


def unmount() -> None:
    """Drop mounts of the box in this mount namespace, deepest first."""
    for point in reversed(mounts()):
        capture(["umount", "--lazy", point], what=f"unmount {point}")
