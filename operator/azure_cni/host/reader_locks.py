"""A ledger that only readers hold: which locks they have, and how an agent starts in spite of them. For Linux.

SQLite locks with POSIX record locks: a reader can only take shared ones, a writer (another agent) holds exclusive ones.
So a file that only readers hold is replaced by a copy, and the readers keep the old file.

Windows has neither these locks nor `fcntl`, so the ledger's store loads this where it is needed.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from azure_cni.host.files import replace_file

_PENDING_BYTE: Final = 0x40000000
"""SQLite's first lock byte (sqlite.org/fileformat2.html, 1.4 "The Lock-Byte Page")."""
_LOCK_BYTES: Final = 512
"""All of them: pending, reserved, and those of which readers share one each (same page)."""
_FLOCK: Final = struct.Struct("hhqqi4x")
"""`struct flock` of 64-bit Linux: type, whence, start, length, pid."""


def written_by_another(path: Path) -> bool:
    """Whether some process holds a lock on the database that only a writer can have. OSError.

    To be called while this process has no connection to the database: closing any descriptor of a file gives up every
    record lock that the process has on it (fcntl(2)).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, _PENDING_BYTE, _LOCK_BYTES, 0)
        kind = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
        return bool(kind != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def leave_readers_behind(path: Path) -> None:
    """Replace the database by a copy that nobody has opened yet. OSError.

    The journal of a killed agent belongs to the file's name, so it applies to the copy, too.
    """
    replace_file(path, path.read_bytes(), mode=0o600)


@contextmanager
def one_at_a_time(directory: Path) -> Iterator[None]:
    """Of two agents that start at once, one replaces the file, and the other finds it held. OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
