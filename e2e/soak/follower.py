"""Follows the logs of all agents and controllers as the kubelets write them on the nodes' disks.

Containers that are started again and pods that are deleted leave no log for long, so all are read each half second.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from azurebox.facts import DISKS
from scenarios.harness.node import Node
from soak.log_lines import LogLines

READ_S = 0.5
PODS = "kube-system_azure-cni-*/*/*.log"


@dataclass
class Follower:
    """A thread that reads what is written after its beginning."""

    nodes: Sequence[Node]
    lines: LogLines = field(default_factory=LogLines)
    _offsets: dict[int, int] = field(default_factory=dict)
    """Of each file that was found, by inode: a log that is rotated keeps its inode."""
    _rests: dict[int, str] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Pass over what is there already."""
        for path in self._paths():
            status = path.stat()
            self._offsets[status.st_ino] = status.st_size
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Read what is left."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._read()

    def _follow(self) -> None:
        while not self._over.wait(READ_S):
            self._read()

    def _paths(self) -> list[Path]:
        return [path for node in self.nodes for path in (DISKS / node.name / "var/log/pods").glob(PODS)]

    def _read(self) -> None:
        for path in self._paths():
            try:
                inode = path.stat().st_ino
                with path.open("rb") as file:
                    file.seek(self._offsets.get(inode, 0))
                    added = file.read()
            except OSError:  # removed meanwhile
                continue
            self._offsets[inode] = self._offsets.get(inode, 0) + len(added)
            *whole, self._rests[inode] = (self._rests.get(inode, "") + added.decode(errors="replace")).split("\n")
            where = path.parts[-3].split("_")[1]
            for line in whole:
                self.lines.read(where, line)
