"""Follows the logs of all agents and controllers as the kubelets write them on the nodes' disks.

Containers that are started again and pods that are deleted leave no log for long, so all are read each half second.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from soak.log_lines import LogLines

READ_S = 0.5
PODS = "kube-system_azure-cni-*/*/*.log*"

File = tuple[Path, int]
"""A container's directory and an inode: a log that is rotated keeps both, and the inode of one that is gone may be that
of another container's next.
"""


@dataclass
class Follower:
    """A thread that reads what is written after its beginning into `lines`."""

    directories: Sequence[Path]
    """Where the nodes' kubelets keep the logs of pods."""
    lines: LogLines = field(default_factory=LogLines)
    _offsets: dict[File, int] = field(default_factory=dict)
    """Of each file that is there: a log that is rotated keeps its own."""
    _rests: dict[File, str] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Pass over what is there already, and follow."""
        self.pass_over()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Read what is left."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.read()

    def pass_over(self) -> None:
        """What is there by now is not read."""
        for path in self._paths():
            status = path.stat()
            self._offsets[path.parent, status.st_ino] = status.st_size

    def read(self) -> None:
        """What was added since the last time."""
        offsets: dict[File, int] = {}
        rests: dict[File, str] = {}
        for path in self._paths():
            try:
                known = path.parent, path.stat().st_ino
                begin = self._offsets.get(known, 0)
                with path.open("rb") as file:
                    file.seek(begin)
                    added = file.read()
            except OSError:  # removed meanwhile
                continue
            offsets[known] = begin + len(added)
            *whole, rests[known] = (self._rests.get(known, "") + added.decode(errors="replace")).split("\n")
            where = path.parts[-3].split("_")[1]
            for line in whole:
                self.lines.read(where, line)
        self._offsets, self._rests = offsets, rests

    def _follow(self) -> None:
        while not self._over.wait(READ_S):
            self.read()

    def _paths(self) -> list[Path]:
        found = (path for directory in self.directories for path in directory.glob(PODS))
        return [path for path in found if path.suffix != ".gz"]
