"""The register of the processes that the box runs: what was started, where its log is, and how it is ended.

There is no systemd here, so each long-running process has one record, `/run/azbox/processes/NAME.json`, with its
process id and its start time. A pid alone proves nothing after a crash or a reboot: only a process with the recorded
start time is ours, and only such a one is ever sent a signal. Nothing is found or ended by its name.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from azurebox.facts import LOGS, REPOSITORY, RUN
from azurebox.steps import StepError, wait_for, write_whole

RECORDS = RUN / "processes"
GRACE_S = 2.0  # kube-apiserver alone would linger up to a minute after SIGTERM; state is on disk, so SIGKILL is fine
BORN_WITHIN_S = 60.0

# Services see a plain environment: proxies, package settings and certificates of the caller are not theirs.
ENVIRONMENT = {
    "PATH": "/opt/azbox/bin:/opt/azbox/containerd:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    ":/opt/azbox/commands",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
# The box's own programs in Python, which run with the host's files.
PYTHON_ENVIRONMENT = ENVIRONMENT | {
    "PYTHONPATH": ":".join(str(REPOSITORY / part) for part in ("operator", "e2e")),
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, slots=True)
class Process:
    """One process of the box. `started` is field 22 of /proc/PID/stat, in clock ticks since boot.

    A `pid` of 0: its start was interrupted, and it may run or not.
    """

    name: str
    pid: int
    started: int
    argv: list[str]
    env: dict[str, str]
    wrappers: int

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return log_of(self.name)

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return start_time(self.pid) == self.started

    @property
    def memory_kib(self) -> int:
        """Its resident memory, KiB; 0 when it is gone."""
        with suppress(OSError, ValueError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") // 1024
        return 0


def log_of(name: str) -> Path:
    """The log of the process `name`."""
    return LOGS / f"{name}.log"


def start_time(pid: int) -> int | None:
    """When the process `pid` was started, in clock ticks since boot; None when there is none or it is a zombie."""
    try:
        # The command in brackets may hold blanks and brackets itself: cut behind the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def find(name: str) -> Process | None:
    """The record of `name`, alive or not; None too when it is not readable, as after a change of this program."""
    try:
        return Process(**json.loads((RECORDS / f"{name}.json").read_text()))
    except (FileNotFoundError, TypeError, ValueError):
        return None


def all_records() -> list[Process]:
    """Every record there is, oldest first."""
    records = (find(path.stem) for path in RECORDS.glob("*.json"))
    return sorted((process for process in records if process), key=lambda process: process.started)


def running(name: str) -> Process | None:
    """The process `name` when it runs."""
    process = find(name)
    return process if process and process.is_alive() else None


def start(name: str, argv: Sequence[str], *, env: Mapping[str, str] = ENVIRONMENT, wrappers: int = 0) -> Process:
    """Start `name` in a session of its own unless it runs already, and record it.

    `wrappers` says how many processes stand between the one started here and the one that counts: `nsenter` and
    `unshare` with a pid namespace fork, stay as its parents and end with it.

    Raises:
        StepError: it ended at once.

    """
    if process := running(name):
        return process
    # An interruption between start and record would leave a process that nobody knows: a record without a pid shows it.
    process = Process(name=name, pid=0, started=0, argv=list(argv), env=dict(env), wrappers=wrappers)
    _record(process)
    try:
        process = _born(process)
    except StepError:
        _forget(name)
        raise
    _record(process)
    return process


def require(name: str) -> Process:
    """The record of `name`.

    Raises:
        StepError: there is none.

    """
    process = find(name)
    if not process:
        raise StepError(f"the box has no process {name}", advice="e2e/box logs lists them")
    return process


def restart(process: Process) -> Process:
    """Start a recorded process again as it was started before, unless it runs."""
    return start(process.name, process.argv, env=process.env, wrappers=process.wrappers)


def stop(process: Process, *, grace_s: float = GRACE_S) -> None:
    """End one process and forget it; as `halt`."""
    halt(process, grace_s=grace_s)
    _forget(process.name)


def halt(process: Process, *, grace_s: float = GRACE_S) -> None:
    """End one process: SIGTERM, then SIGKILL after `grace_s`. Its record stays, to start it again.

    Raises:
        StepError: it is still there 10 s after SIGKILL.

    """
    _signal(process, signal.SIGTERM, patience_s=grace_s)
    _signal(process, signal.SIGKILL, patience_s=10.0)
    if process.is_alive():
        raise StepError(f"cannot end {process.name}: process {process.pid} survives SIGKILL", log=process.log)


def _signal(process: Process, number: signal.Signals, *, patience_s: float) -> None:
    """Send a signal, if there is time to wait for what it does, and wait until the process is gone."""
    if patience_s <= 0 or not process.is_alive():
        return
    deadline = time.monotonic() + patience_s
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)
    while time.monotonic() < deadline:
        if not process.is_alive():
            return
        time.sleep(0.02)


def wait_until(process: Process, predicate: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Wait for something that `process` is to bring about.

    Raises:
        StepError: it did not within `timeout_s`, or the process ended; carries its log.

    """

    def checked() -> bool:
        if not process.is_alive():
            raise StepError(f"waited in vain for {what}: {process.name} ended", log=process.log)
        return predicate()

    wait_for(checked, timeout_s=timeout_s, what=what, log=process.log)


def _born(process: Process) -> Process:
    """Start it; the same with its pid and start time."""
    log = process.log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        born = subprocess.Popen(
            process.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=process.env,
            start_new_session=True,
        )
    pid = born.pid
    for _ in range(process.wrappers):
        pid = _only_child(pid, born=born, name=process.name)
    started = start_time(pid)
    if started is None:
        raise StepError(f"cannot start {process.name}: it ended at once", log=log)
    return replace(process, pid=pid, started=started)


def _forget(name: str) -> None:
    (RECORDS / f"{name}.json").unlink(missing_ok=True)


def _record(process: Process) -> None:
    RECORDS.mkdir(parents=True, exist_ok=True)
    path = RECORDS / f"{process.name}.json"
    write_whole(path, json.dumps(asdict(process), indent=1))


def _only_child(pid: int, *, born: "subprocess.Popen[bytes]", name: str) -> int:
    """The child of a wrapper, as soon as it has one."""
    path = Path(f"/proc/{pid}/task/{pid}/children")

    def child() -> str | None:
        if born.poll() is not None:
            raise StepError(f"cannot start {name}: it ended with status {born.returncode}", log=log_of(name))
        with suppress(OSError):
            return path.read_text()
        return None

    return int(wait_for(child, timeout_s=BORN_WITHIN_S, what=f"the first process of {name}").split()[0])
