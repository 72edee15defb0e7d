"""The small servers of the fabric: who answers at the outside hosts, and the DNS at 168.63.129.16.

A server is a file of this package, standard library only, that serves the socket it finds as its standard input. The
socket is made before the server is started, so callers are never too early; both are in the namespace they serve, where
whoever clears that namespace finds them. Its registration is a word in its own environment, which no crash can separate
from it: what runs is what carries the word. Each is ended by its own process handle.
"""

import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from azurebox.fabric.kernel import birth_mark, inside
from azurebox.steps import StepError

MARK = "AZUREBOX_FABRIC_SERVER"
END_WITHIN_S = 5.0
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Server:
    """What runs where: `program` is a file of this package, `kind` the type of the socket that it gets as its input.

    A raw socket is one of ICMPv6.
    """

    name: str
    namespace: str
    program: str
    kind: socket.SocketKind
    address: IPv4Address | IPv6Address
    port: int
    argument: str


def ensure_running(server: Server, *, log: Path) -> None:
    """Start the server unless it runs. One that serves an earlier namespace of this name is ended first."""
    name = f"{server.namespace}/{server.name}@"
    word = f"{name}{birth_mark(server.namespace)}"
    if word in _registered().values():
        return
    stop_all(name)
    inside(server.namespace, lambda: _start(server, word, log))


def running(start: str) -> dict[str, int]:
    """The servers that run and whose name begins with `start`: "azbox-peer/whoami" → process id."""
    return {word.partition("@")[0]: pid for pid, word in _registered().items() if word.startswith(start)}


def stop_all(start: str) -> None:
    """End every server whose name begins with `start`, and wait until it is gone.

    Raises:
        StepError: one survives SIGKILL.

    """
    for pid, word in _registered().items():
        if word.startswith(start):
            _stop(pid, word)


def _stop(pid: int, word: str) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Look again: from here on the handle, unlike the number, cannot come to mean another process.
        if _word_of(pid) == word:
            _end(handle, word)
    finally:
        os.close(handle)
    with suppress(ChildProcessError):  # not our child, when another command started it
        os.waitpid(pid, os.WNOHANG)


def _end(handle: int, name: str) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        if select.select([handle], [], [], END_WITHIN_S)[0]:
            return
    raise StepError(f"cannot end server {name}: it survives SIGKILL")


def _registered() -> dict[int, str]:
    words = {int(path.name): _word_of(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    return {pid: word for pid, word in words.items() if word}


def _word_of(pid: int) -> str | None:
    """The word of registration in a process's environment; None for others, for zombies and for who is gone."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    start = f"{MARK}=".encode()
    return next(
        (word.removeprefix(start).decode() for word in environment.split(b"\0") if word.startswith(start)), None
    )


def _start(server: Server, word: str, log: Path) -> None:
    """Open the socket and start the server, both in the namespace that the calling thread is in."""
    family = socket.AF_INET if server.address.version == 4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMPV6 if server.kind is socket.SOCK_RAW else 0
    with socket.socket(family, server.kind, protocol) as served, log.open("ab") as output:
        served.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        served.bind((str(server.address), server.port))
        if server.kind is socket.SOCK_STREAM:
            served.listen(128)
        streams = (served.fileno(), output.fileno(), output.fileno())
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(HERE / server.program), server.argument],
            {MARK: word},
            file_actions=[(os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)],
            setsid=True,
        )
