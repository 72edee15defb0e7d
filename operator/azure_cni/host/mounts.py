"""Whether the node's directories are still those that the agent's container sees.

A hostPath volume is bound once, when the container starts. When the directory is removed and made again, or moved away
(package upgrades do both), the container goes on with the old one, which the rest of the node no longer has. The kernel
shows that in /proc/self/mountinfo (proc_pid_mountinfo(5)): the fourth field is the path of what is mounted, and ends in
`//deleted` or becomes another path. Only a new container sees the new directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")

_DELETED: Final = "//deleted"
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def mounted(mountinfo: str) -> dict[Path, str]:
    """What is mounted, by mount point: a path within its file system. The topmost of several on one point."""
    lines = (line.split(" ") for line in mountinfo.splitlines())
    return {Path(_unescaped(fields[4])): _unescaped(fields[3]) for fields in lines}


def _unescaped(field: str) -> str:
    """Blanks and backslashes are octal there."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)


class NodeDirectories:
    """Remembers what is mounted on each of the directories; those that are no mount points are left alone."""

    def __init__(self, directories: Iterable[Path], *, mountinfo: Path = MOUNTINFO) -> None:
        self._points = {directory: directory.resolve() for directory in directories}  # mounts are listed without links
        self._mountinfo = mountinfo
        self._first = self._look()

    def replaced(self) -> str:
        """Words about the first directory that the node has no longer under its name; "" when all are there.

        OSError when the kernel does not say what is mounted.
        """
        now = self._look()
        for directory, first in self._first.items():
            root = now.get(directory, first)
            if root.endswith(_DELETED):
                return f"{directory} of the node was removed"
            if root != first:
                return f"{directory} of the node was moved to {root}"
        return ""

    def _look(self) -> Mapping[Path, str]:
        roots = mounted(self._mountinfo.read_text())
        return {directory: roots[point] for directory, point in self._points.items() if point in roots}
