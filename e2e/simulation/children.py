"""The processes of a run: each is started here, ended by its own id, and measured while it lives.

Each is asked by the kernel to end when whoever started it is gone, so that nothing is left behind however a run ends.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
GRACE_S = 5.0
_LIBC = ctypes.CDLL(None)


@dataclass(slots=True)
class Usage:
    """Processor seconds, and the most resident memory in MiB that any one process had."""

    cpu_s: float = 0.0
    peak_mib: float = 0.0


@dataclass(slots=True)
class Child:
    """One process, which may be started again; `usage` is of its earlier lives."""

    name: str
    argv: Sequence[str]
    log: Path
    wants_input: bool = False
    _process: "subprocess.Popen[bytes] | None" = None
    _earlier: Usage = field(default_factory=Usage)

    def start(self) -> "Child":
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE if self.wants_input else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # one system call, no lock
            )
        return self

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def kill(self) -> None:
        """At once."""
        self._end(grace_s=0.0)

    def stop(self) -> None:
        """Ask it to end, and end it."""
        self._end(grace_s=GRACE_S)

    def _end(self, *, grace_s: float) -> None:
        if self._process is None:
            return
        self._earlier = self.usage()
        if grace_s:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def usage(self) -> Usage:
        """Of all its lives together."""
        now = _usage(self._process.pid) if self._process is not None else Usage()
        return Usage(self._earlier.cpu_s + now.cpu_s, max(self._earlier.peak_mib, now.peak_mib))


def python(module: str, *args: str) -> list[str]:
    """The command line of a module of this package."""
    return [sys.executable, "-m", f"simulation.{module}", *args]


def _usage(pid: int) -> Usage:
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
        of_memory = (line for line in status.splitlines() if line.startswith("VmHWM"))
        peak_kib = int(next(of_memory, "VmHWM: 0 kB").split()[1])  # one that has ended has no memory any more
        return Usage((int(fields[11]) + int(fields[12])) / TICKS_PER_S, peak_kib / 1024)
    return Usage()


def _end_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for_file(path: Path, *, child: Child, within_s: float) -> None:
    """Until `child` has written it. Raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + within_s
    while not path.exists():
        if not child.alive or time.monotonic() > deadline:
            raise RuntimeError(f"{child.name} did not come up:\n{child.log.read_text()[-3000:]}")
        time.sleep(0.02)
