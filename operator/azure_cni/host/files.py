"""The node's files and directories, as the agent's container has them.

A file that others read while it is written is complete or absent, and on disk when a write returns.

A hostPath volume is bound once, when the container starts. When the directory is removed and recreated, or moved away
(package upgrades do both), the container keeps the old one, which the rest of the node no longer has. The kernel
shows that in /proc/self/mountinfo (proc_pid_mountinfo(5)): the fourth field is the path of what is mounted, and ends in
`//deleted` or becomes another path. Only a new container sees the new directory.

Windows has no file descriptors of directories, and refuses to replace a program while it runs, but not to rename it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from azure_cni.errors import AzureCniError

_LEFTOVER: Final = ".tmp"

# Windows has no FIFOs among its files, no children that inherit them unasked, and follows what it calls a link.
_TO_READ: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


def replace_file(path: Path, content: bytes, *, mode: int) -> None:
    """Put a file in place at once, for a reader, for a crash, and while the old one is being executed. OSError.

    The temporary name begins with a dot and has an ending that neither a runtime's search for configurations nor one
    for plugins takes for its own (`sweep`).
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_LEFTOVER, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(content)
            os.fchmod(temporary.fileno(), mode)
            temporary.flush()
            os.fsync(temporary.fileno())
        _into_place(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _into_place(temporary: Path, path: Path) -> None:
    """Rename over what is there. Where that is refused, what is there goes aside first, and comes back if need be."""
    try:
        temporary.replace(path)
    except PermissionError as refused:
        aside = temporary.with_suffix(f".old{_LEFTOVER}")
        try:
            path.rename(aside)
        except OSError:
            raise refused from None
        try:
            temporary.replace(path)
        except OSError:
            aside.rename(path)
            raise


def sweep(path: Path) -> None:
    """Remove what `replace_file` has left beside a file: temporary ones of an agent that was killed, and programs that
    ran when they were replaced. OSError, but not for those that still run.
    """
    for leftover in path.parent.glob(f".{path.name}.*{_LEFTOVER}"):
        with contextlib.suppress(PermissionError):
            leftover.unlink(missing_ok=True)


def open_file(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a file to read. OSError, too, where something else stands in its place.

    A FIFO without a writer would hold the caller up for ever, and a device may do anything when it is opened.
    """
    descriptor = os.open(path, _TO_READ | (0 if follow else _NO_LINK))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.fdopen(descriptor, "rb")


def sync_directory(directory: Path) -> None:
    """Make a rename or removal in the directory last, where the system has a call for that. OSError."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


LARGEST_STATE: Final = 4 << 20
"""Bytes. A pool of 250 addresses is some 20 KiB."""


class WholeFile:
    """A small file that is written rarely and as a whole. AzureCniError from both methods.

    What it means is its user's. Implements `azure_cni.docker.ports.StateFile`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def read(self) -> bytes | None:
        """Its content; None where there is no such file."""
        try:
            with open_file(self._path) as file:
                content = file.read(LARGEST_STATE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("read", error.strerror or str(error)) from error
        if len(content) > LARGEST_STATE:
            raise self._error("read", f"it has more than {LARGEST_STATE >> 20} MiB")
        return content

    def write(self, content: bytes) -> None:
        """Replace it at once; the directory is made if need be, for root alone."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path, content, mode=0o600)
        except OSError as error:
            raise self._error("write", error.strerror or str(error)) from error

    def _error(self, what: str, why: str) -> AzureCniError:
        return AzureCniError(
            f"cannot {what} {self._path}: {why}; it must be a file of root's on a disk that is not full or read-only"
        )


MOUNTINFO: Final = Path("/proc/self/mountinfo")

_DELETED: Final = "//deleted"
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def mounted(mountinfo: str) -> dict[str, str]:
    """What is mounted, by mount point: a path within its file system. The topmost of several on one point.

    No Path is made of them: the parts of each go through Python's one table of names. Those that are gone take room in
    it until it is made again, and twice as large: 1.9 MB more, after half an hour of a node's mounts.
    """
    lines = (line.split(" ") for line in mountinfo.splitlines())
    return {_unescaped(fields[4]): _unescaped(fields[3]) for fields in lines}


def _unescaped(field: str) -> str:
    """Blanks and backslashes are octal there."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)


class NodeDirectories:
    """Remembers what is mounted on each of the directories; those that are no mount points are left alone."""

    def __init__(self, directories: Iterable[Path], *, mountinfo: Path = MOUNTINFO) -> None:
        # Mounts are listed without links.
        self._points = {directory: str(directory.resolve()) for directory in directories}
        self._mountinfo = mountinfo
        self._first = self._look()

    def replaced(self) -> str:
        """The message about the first directory that the node no longer has under its name; "" when all are there.

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
