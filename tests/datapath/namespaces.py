"""Network namespaces for tests: named uniquely and after their owner, and deleted whatever happens.

One is entered for a moment to make a socket in it. What the kernel holds is read with iproute2, which shares no code
with what is tested.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import socket
import struct
import subprocess
import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from azure_cni.linux import netns
from azure_cni.model.identity import ModeName
from datapath.left_behind import own_prefix
from datapath.needs_root import NEEDS_ROOT

Socket = socket.socket
"""In a class that has a method of the name."""
PATIENCE_S = 30.0
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # netdevice(7)
IFREQ = struct.Struct("16sh14x")
SILENCE_S = 0.5
"""How long it is listened for what must not come."""
OUR_RULE = "90 lookup main suppress_prefixlength 31 suppress_ifgroup default protocol kernel"
"""As an earlier agent left it (datapath.policy), in the words of iproute2."""
IN_EACH_MODE = [*NEEDS_ROOT, pytest.mark.parametrize("mode", list(ModeName), indirect=True)]
"""Once for each way to hang pods on a node."""


@dataclass(frozen=True)
class Namespace:
    """One network namespace with a name."""

    name: str

    @property
    def path(self) -> str:
        return f"/run/netns/{self.name}"

    def run(self, *command: str, stdin: str | None = None) -> str:
        """What a command inside printed; its complaint is part of the error."""
        done = subprocess.run(
            ["nsenter", f"--net={self.path}", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
            input=stdin,
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} in {self.name}: {done.stderr.strip()}")
        return done.stdout

    def ip(self, *arguments: str) -> None:
        self.run("ip", *arguments)

    def batch(self, *lines: str) -> None:
        """Several commands of iproute2 at once."""
        self.run("ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    def show(self, *arguments: str) -> list[dict[str, Any]]:
        """Objects as iproute2 lists them, with details."""
        found = json.loads(self.run("ip", "-json", "-details", *arguments) or "[]")
        return [entry for entry in found if entry]

    def links(self) -> set[str]:
        return {link["ifname"] for link in self.show("link")}

    def sysctl(self, name: str, value: str | None = None) -> str:
        path = f"/proc/sys/{name}"
        if value is not None:
            self.run("sh", "-c", f"echo {value} > {path}")
        return self.run("cat", path).strip()

    def socket(
        self, kind: int = socket.SOCK_STREAM, *, family: int = socket.AF_INET, protocol: int = 0
    ) -> socket.socket:
        """A socket that lives in this namespace, whoever uses it."""
        made: list[socket.socket] = []

        def make() -> None:
            with netns.opened(self.path) as there:
                netns.enter(there)
            made.append(socket.socket(family, kind, protocol))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(PATIENCE_S)
        return made[0]

    def listen(self, address: str, port: int) -> Socket:
        listener = self.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        return listener

    def delete(self) -> None:
        if Path(self.path).exists():
            subprocess.run(["ip", "netns", "delete", self.name], check=True, timeout=30)


class Namespaces(contextlib.AbstractContextManager["Namespaces"]):
    """Makes namespaces and, at the end, deletes those that are left."""

    def __init__(self) -> None:
        self._prefix = f"{own_prefix()}-{uuid.uuid4().hex[:8]}"
        self._numbers = itertools.count()
        self._made: list[Namespace] = []

    def __enter__(self) -> Self:
        return self

    def new(self, label: str = "pod") -> Namespace:
        return self.new_many(1, label)[0]

    def new_many(self, count: int, label: str = "pod") -> list[Namespace]:
        """As many at once, by one process and not two for each: hundreds are needed where a node fills up."""
        made = [Namespace(f"{self._prefix}-{label}{next(self._numbers)}") for _ in range(count)]
        self._made += made
        _batch(f"netns add {namespace.name}" for namespace in made)
        with ThreadPoolExecutor(1) as alone:  # a thread that nobody else uses: it ends in the last of them
            alone.submit(_bring_loopbacks_up, made).result()
        return made

    def __exit__(self, *_: object) -> None:
        _batch(f"netns delete {namespace.name}" for namespace in self._made if Path(namespace.path).exists())


def _batch(lines: Iterable[str]) -> None:
    """Commands of iproute2, by one process. AssertionError with its complaint at the first that fails."""
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(["ip", "-batch", "-"], check=False, capture_output=True, text=True, timeout=120, input=text)
    if done.returncode:
        raise AssertionError(f"ip -batch: {done.stderr.strip()}")


def _bring_loopbacks_up(namespaces: Iterable[Namespace]) -> None:
    """In this thread, which is in the last of them afterwards."""
    for namespace in namespaces:
        with netns.opened(namespace.path) as there:
            netns.enter(there)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
            fcntl.ioctl(asks, SIOCSIFFLAGS, IFREQ.pack(b"lo", IFF_UP))


def caller_of(listener: socket.socket, client: socket.socket, target: tuple[str, int]) -> str:
    """Connect and say which address the server sees; both ends are closed, and a word has gone each way."""
    with client:
        client.connect(target)
        server, (address, *_) = listener.accept()
        with server:
            client.sendall(b"ping")
            assert server.recv(4) == b"ping"
            server.sendall(b"pong")
            assert client.recv(4) == b"pong"
    return str(address)


def routes_of(namespace: Namespace) -> list[tuple[Any, ...]]:
    """Destination, gateway, device and preferred source of each route."""
    return sorted((r["dst"], r.get("gateway"), r["dev"], r.get("prefsrc")) for r in namespace.show("route"))


def neighbours_of(namespace: Namespace) -> list[tuple[Any, ...]]:
    """Address, MAC and state of each IPv4 neighbour."""
    return sorted((n["dst"], n["lladdr"], tuple(n["state"])) for n in namespace.show("-4", "neigh"))


def is_bare(namespace: Namespace) -> bool:
    """Nothing but its loopback, and the bridge of its mode."""
    return namespace.links() <= {"lo", "azure0"} and not routes_of(namespace) and not neighbours_of(namespace)
