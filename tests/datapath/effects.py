"""A child process whose every effect the kernel shows before it happens, and which can be ended there by SIGKILL.

An effect is a system call that changes what others see: files and directories, netlink requests, what goes out by a
socket, programs that are started. The kernel is asked to stop the process at these, in all of its threads and in its
children (seccomp_unotify(2)), and says what each of them is about to do; so no list of steps has to be kept. Whoever is
killed while the kernel waits for an answer has not made the call; the one before it has been made.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import platform
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from datapath.seccomp import CALLS, install_filter
from fakes.waiting import LOOK_S, PATIENCE_S

NEEDS_SECCOMP: Final = pytest.mark.skipif(
    platform.machine() != "x86_64" or os.geteuid() != 0, reason="needs root, and the system calls of x86-64"
)

_ON_DESCRIPTOR: Final = {"write", "pwrite64", "writev", "sendto", "sendmsg", "ftruncate", "fchmod", "bind"}
_SECOND_IS_PATH: Final = {"openat", "mkdirat", "unlinkat", "renameat", "fchmodat", "renameat2"}
_PIDFD_GETFD: Final = 438
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFICATION: Final = struct.Struct("QIIiIQ6Q")  # struct seccomp_notif
_CONTINUE: Final = 1
_LISTENER_NAME: Final = "anon_inode:seccomp notify"
_libc: Final = ctypes.CDLL(None, use_errno=True)


class Child:
    """A forked process that runs `work`, then ends; `log` has what it says. Its effects count once it is `armed`.

    `points` are the effects that were let pass since, in words; `killed_at` the one at which it was ended.
    """

    def __init__(self, work: Callable[[], Any], log: Path, *, armed: bool = True, burns_at: int | None = None) -> None:
        self.points: list[str] = []
        self.killed_at = ""
        self.burns_at = burns_at
        self._log = log
        self._armed = armed
        self._kinds: dict[str, str] = {}
        self._lock = threading.Lock()
        ready, self._said = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._be_child(work)
        os.close(self._said)
        number = int(os.read(ready, 16))
        os.close(ready)
        self._pidfd = os.pidfd_open(self.pid)
        self._listener = self._fetch_listener(number)
        self._code: int | None = None
        self._watch = threading.Thread(target=self._answer_all, daemon=True)
        self._watch.start()

    def arm(self, burns_at: int | None) -> None:
        """From here on effects count from 0; the one of that number does not happen."""
        with self._lock:
            self.points.clear()
            self._armed, self.burns_at = True, burns_at

    def disarm(self) -> list[str]:
        """What has happened since; nothing counts any more."""
        with self._lock:
            self._armed = False
            return list(self.points)

    def kill(self) -> None:
        """With no word."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def wait(self) -> int:
        """Its exit code, negative for a signal."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._watch.join(PATIENCE_S)
            os.close(self._pidfd)
        return self._code

    @property
    def alive(self) -> bool:
        """It has not ended."""
        return self._code is None and not select.select([self._pidfd], [], [], 0)[0]

    def _be_child(self, work: Callable[[], Any]) -> None:
        code = 1
        try:
            os.setpgid(0, 0)
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            gc.disable()  # what tests before this one left might free a lower one meanwhile
            free = os.dup(0)  # the lowest that is free, which the listener gets
            os.close(free)
            os.write(self._said, str(free).encode())
            install_filter()
            gc.enable()
            work()
            code = 0
        except BaseException:  # noqa: BLE001  the parent sees the exit code and the log
            traceback.print_exc()
        finally:
            os._exit(code)

    def _fetch_listener(self, number: int) -> int:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                if str(Path(f"/proc/{self.pid}/fd/{number}").readlink()) == _LISTENER_NAME:
                    found = _libc.syscall(_PIDFD_GETFD, self._pidfd, number, 0)
                    if found >= 0:
                        return int(found)
            assert time.monotonic() < deadline_s, f"no listener in {self.pid}: {self._log.read_text()}"
            time.sleep(0.001)

    # What the kernel says.

    def _answer_all(self) -> None:
        """Until the child and its children have ended; the kernel does not say so of children that it forked itself."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            found = poll.poll(LOOK_S * 1000)
            if not found and self._code is not None and not self._has_children():
                break
            if not found:
                continue
            if not found[0][1] & select.POLLIN:
                break
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, buffer)
            except OSError:  # who asked has been killed
                continue
            number, pid, _, call, _, _, *arguments = _NOTIFICATION.unpack(buffer)
            own = _is_thread(pid, self.pid)
            if not (self._dies(pid, CALLS[call], arguments) and own):  # a program that it has started goes on
                with contextlib.suppress(OSError):
                    fcntl.ioctl(self._listener, _SEND, struct.pack("QqiI", number, 0, 0, _CONTINUE))
        os.close(self._listener)

    def _has_children(self) -> bool:
        """Whether a program that the child started goes on without it."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _dies(self, pid: int, call: str, arguments: list[int]) -> bool:
        with self._lock:
            if not self._armed or self.killed_at:
                return False
            what = self._words(pid, call, arguments)
            if not what:
                return False
            if len(self.points) == self.burns_at:
                self.killed_at = what
                os.kill(self.pid, signal.SIGKILL)
                return True
            self.points.append(what)
            return False

    def _words(self, pid: int, call: str, arguments: list[int]) -> str:
        """What it is about to do; "" for what nobody else sees."""
        if call not in _ON_DESCRIPTOR:
            path = _text(pid, arguments[call in _SECOND_IS_PATH])
            return "" if call == "execve" and not Path(path).exists() else f"{call} {path}"
        try:
            target = str(Path(f"/proc/{pid}/fd/{arguments[0] & 0xFFFFFFFF}").readlink())
        except OSError:
            return ""
        if target.startswith("socket:"):
            kind = self._kinds.get(target) or self._kind(pid, arguments[0])
            if kind:
                self._kinds[target] = kind
            if kind.startswith("netlink"):
                return _request(pid, call, arguments[1], kind)
            return f"{call} {kind}" if kind else ""
        known = target.startswith("/") and not target.startswith(("/dev/", "/memfd:")) and target != str(self._log)
        return f"{call} {target}" if known else ""

    def _kind(self, pid: int, number: int) -> str:
        """What the socket leads to; "" for one between the process's own threads."""
        if _is_thread(pid, self.pid):
            pidfd, own = self._pidfd, False
        else:
            try:
                pidfd, own = os.pidfd_open(pid), True
            except OSError:
                return "socket"
        found = _libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
        if own:
            os.close(pidfd)
        if found < 0:
            return ""
        with socket.socket(fileno=found) as one:
            if one.family == socket.AF_UNIX:
                names = [one.getsockname()]
                with contextlib.suppress(OSError):
                    names.append(one.getpeername())
                return next((str(name) for name in names if name), "")
            return f"netlink {one.proto}" if one.family == socket.AF_NETLINK else "TCP"


def _is_thread(tid: int, pid: int) -> bool:
    return Path(f"/proc/{pid}/task/{tid}").exists()


def _request(pid: int, call: str, at: int, kind: str) -> str:
    """The netlink message at that address, "" for one that only asks; a batch of nft's counts as it is."""
    if call == "bind":
        return ""
    if call != "sendto":
        return f"batch on {kind}"
    number = int.from_bytes(_bytes(pid, at, 6)[4:6], "little")
    if kind == f"netlink {socket.NETLINK_ROUTE}":
        what = ("NEW", "DEL", "GET", "SET")[number & 3]
        return "" if what == "GET" or number < _FIRST_OF_ROUTE else f"RTM_{what}{_OBJECTS.get(number >> 2, number)}"
    return "" if number & 0xFF in _NFT_READS else f"message {number:#x} on {kind}"


_FIRST_OF_ROUTE: Final = 16  # RTM_BASE
_OBJECTS: Final = {4: "LINK", 5: "ADDR", 6: "ROUTE", 7: "NEIGH", 8: "RULE"}  # linux/rtnetlink.h
_NFT_READS: Final = {1, 4, 7, 10, 13, 16, 19, 21, 23}  # NFT_MSG_GET* (linux/netfilter/nf_tables.h)


def _bytes(pid: int, at: int, count: int) -> bytes:
    """What is at that address of the process."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(at)
        return memory.read(count)


def _text(pid: int, at: int) -> str:
    """The string at that address of the process."""
    try:
        return _bytes(pid, at, 256).split(b"\0")[0].decode(errors="replace")
    except OSError:
        return "?"
