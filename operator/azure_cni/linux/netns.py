"""Sockets inside another network namespace, without a fork.

A thread enters the namespace, opens the socket, and comes back: 25 microseconds, and the socket stays there. The
thread must be the agent's own and do nothing else: for that moment everything it does happens in the pod.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from azure_cni.errors import DatapathError
from azure_cni.linux.netlink import Netlink
from azure_cni.model.text import legible

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
_OWN = "/proc/thread-self/ns/net"

_OF_A_PROCESS = (
    "; the agent does not see the node's processes, whose namespaces cri-dockerd names: the binary azure-cni of this "
    "release passes such a namespace itself, so the one that the runtime ran is older"
)

_libc = ctypes.CDLL(None, use_errno=True)


def own() -> int:
    """A descriptor of the namespace that this thread is in."""
    return _open(_OWN)


def enter(netns: int) -> None:
    """Move this thread into a namespace (Python 3.12 has os.setns; 3.11 has not)."""
    if _libc.setns(netns, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise DatapathError(f"cannot enter a network namespace: {os.strerror(number)} (needs CAP_SYS_ADMIN)")


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of the network namespace at `path`, which must be another one than this thread's own."""
    netns = _open(path)
    try:
        _require_other_netns(netns, path)
        yield netns
    finally:
        os.close(netns)


def socket_in(netns: int, *, home: int) -> Netlink:
    """A netlink socket of another namespace; the thread is back in `home` when this returns."""
    enter(netns)
    try:
        return Netlink()
    finally:
        enter(home)


def _open(path: str) -> int:
    try:
        # Not blocking: the one thread that wires pods would wait for ever for somebody to write to a FIFO.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        hint = _OF_A_PROCESS if path.startswith("/proc/") and not path.startswith("/proc/self/") else ""
        raise DatapathError(f"cannot open network namespace {path}: {error.strerror}{hint}") from error
    except ValueError as error:
        raise DatapathError(f"cannot open network namespace {legible(path)}: {error}") from error


def _require_other_netns(netns: int, path: str) -> None:
    try:
        kind = fcntl.ioctl(netns, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise DatapathError(
            f"cannot use {path}: it is not a network namespace; where the runtime made one there, the agent's mount "
            f"of {Path(path).parent} lacks mountPropagation: HostToContainer"
        )
    if os.path.samestat(os.fstat(netns), Path(_OWN).stat()):
        raise DatapathError(f"cannot use {path}: it is the node's own network namespace")
