"""What a run of the tests that was killed left on the machine, and how the next one takes it away.

Each namespace's name says whose it is: the process id, and when that process began, because ids are given again. What
belongs to a run that goes on is nobody else's, so two runs on one machine do not meet.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from azurebox.fabric import Fabric

NAMESPACES = Path("/run/netns")
OURS = re.compile(r"(azt(\d+)s(\d+)[a-z0-9]*)-.+")


def own_prefix(label: str = "") -> str:
    """What the names of this process's namespaces begin with; a dash and more follows. `label`: letters and digits."""
    return f"azt{os.getpid()}s{_began(os.getpid())}{label}"


def take_away() -> list[str]:
    """Remove the namespaces of runs that have ended, and end the processes in them; their names."""
    with _alone():
        return _take_away()


@contextmanager
def _alone() -> Iterator[None]:
    """The workers of a run begin at once, and what one removes another would not find."""
    try:
        directory = os.open(NAMESPACES, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # no namespace had a name since the machine booted
        yield
        return
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _take_away() -> list[str]:
    dead: dict[str, str] = {}
    for path in NAMESPACES.glob("azt*"):
        owner = OURS.fullmatch(path.name)
        if owner and _began(int(owner[2])) != int(owner[3]):
            dead[path.name] = owner[1]
    for pid in _inside(dead):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for prefix in sorted(set(dead.values())):
        Fabric(prefix).destroy()
    return sorted(dead)


def _began(pid: int) -> int | None:
    """When a process began, in ticks since the machine did; None when it is no more. /proc/PID/stat, field 22."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return None


def _inside(namespaces: Iterable[str]) -> Iterator[int]:
    """The processes whose network is one of these."""
    wanted = set()
    for name in namespaces:
        with suppress(FileNotFoundError):
            wanted.add((NAMESPACES / name).stat().st_ino)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is one that even root may not look at
            if (process / "ns/net").stat().st_ino in wanted:
                yield int(process.name)
