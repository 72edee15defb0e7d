"""`introspect`: asks the agent of this node, over its socket or on Windows its pipe. It runs in the agent's container,
as root or SYSTEM, by exec.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import click

from azure_cni.api.introspection import NODE_PATH
from azure_cni.cni.systems import LINUX, WINDOWS

TIMEOUT_S = 20.0
PIPES: Final = "\\\\.\\pipe\\"
BUSY: Final = 231
"""ERROR_PIPE_BUSY of winerror.h: all instances of the pipe are busy."""
_BUSY_RETRY_S: Final = 0.05

OpenPipe = Callable[[str], io.RawIOBase]
"""Opens a pipe by its name, to read and write. OSError."""


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("agent", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """To the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _PipeConnection(http.client.HTTPConnection):
    """HTTP over a named pipe."""

    def __init__(self, name: str, open_pipe: OpenPipe) -> None:
        super().__init__("agent", timeout=TIMEOUT_S)
        self._name, self._open_pipe = name, open_pipe

    def connect(self) -> None:
        """To an instance that is free."""
        until_s = time.monotonic() + TIMEOUT_S
        opened: Any = None
        while opened is None:
            try:
                opened = _Pipe(self._open_pipe(self._name))
            except OSError as error:
                if getattr(error, "winerror", 0) != BUSY or time.monotonic() >= until_s:
                    raise
                time.sleep(_BUSY_RETRY_S)
        self.sock = opened


class _Pipe:
    """What `http.client` wants of a socket. The file of the answer is that of the request, and closes the pipe."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file

    def sendall(self, content: bytes) -> None:
        """A pipe may take a part at a time."""
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) or 0 :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """For the answer."""
        assert mode == "rb"  # noqa: S101  # nothing else is asked for
        return io.BufferedReader(self._file)

    def close(self) -> None:
        """Whoever reads the answer does that."""


@click.command(hidden=True)
@click.argument("path", default=NODE_PATH)
@click.option("--socket", "socket_path", metavar="FILE", help="The agent's socket, or on Windows its pipe.")
def introspect(path: str, socket_path: str | None) -> None:
    """Print what the agent of this node answers to GET PATH, as JSON. For the other commands, by exec."""
    where = socket_path or default_door(sys.platform)
    try:
        status, body = ask(where, path)
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"azure-cni: cannot ask the agent at {where}: {error}; does it run on this node?", err=True)
        sys.exit(3)
    if status != HTTPStatus.OK:
        click.echo(f"azure-cni: cannot get {path} of the agent: {body.decode(errors='replace')}", err=True)
        sys.exit(3)
    sys.stdout.buffer.write(body + b"\n")


def default_door(platform: str) -> str:
    """Where the agent of a node listens; `platform` as `sys.platform` has it."""
    if platform == "win32":
        return WINDOWS.default_socket
    return f"{os.environ.get('AZURE_CNI_RUN_DIR', LINUX.run_dir)}/cni.sock"


def ask(where: str, path: str, *, open_pipe: OpenPipe | None = None) -> tuple[int, bytes]:
    """The answer's status and body. OSError, http.client.HTTPException."""
    is_pipe = where.startswith(PIPES)
    connection = _PipeConnection(where, open_pipe or _open_pipe) if is_pipe else _SocketConnection(where)
    limit = threading.Timer(TIMEOUT_S, _give_up, (where,))
    limit.daemon = True
    if is_pipe:  # which has no limit of its own, and nobody can break off what waits for it
        limit.start()
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        limit.cancel()
        connection.close()


def _open_pipe(name: str) -> io.RawIOBase:
    return io.FileIO(name, "r+")  # the answer's reader closes it


def _give_up(where: str) -> None:
    click.echo(f"azure-cni: cannot ask the agent at {where}: it has not answered for {TIMEOUT_S:.0f} s", err=True)
    sys.stderr.flush()
    os._exit(3)
