"""The sockets at which runtimes ask, as files: opened for root alone, and opened again when somebody took them away.

A process whose socket is gone serves nobody, and nothing else of it fails: its health and its metrics look well. That
happens: `rm -r /run/docker`, the purge of a package, a program that cleans /run. So whoever serves a socket looks for
it every few seconds. A socket of another process in its place is left alone: two would take it from one another for
ever. One at which nobody listens (its process was killed) is replaced. Anything else in its place is reported.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from aiohttp import web

from azure_cni.entrypoints.running import kept_up
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

ACTIVITY = "cni_socket"
"""In the count of our own faults."""
LOOK_S: Final = 2.0
"""Between two looks. Docker tries a call again for half a minute."""
_QUEUE = 128

_FileID: TypeAlias = tuple[int, int]
"""Of a file: the file system, and its number there."""


class Requests(Protocol):
    """Those of one server."""

    async def serve(self, listening: socket.socket, server: web.Server) -> None:
        """Accept and serve until cancelled."""


class ServedSocket:
    """One that is open. `requests` are those of one server, which `runner` has set up."""

    def __init__(self, runner: web.AppRunner, path: Path, *, requests: Requests, faults: Faults, activity: str) -> None:
        self._runner = runner
        self._path = path
        self._open = partial(_Site, runner, requests=requests, faults=faults, name=activity)
        self._site: _Site | None = None
        self._ours: _FileID | None = None
        """The socket's file."""
        self._said = False
        """That something else is in its place."""

    async def open(self) -> None:
        """Serve until the runner is cleaned up. AzureCniError."""
        listening = bound(self._path)
        self._ours, self._said = _file_id(self._path), False
        self._site = self._open(listening)
        await self._site.start()

    async def keep_open(self, *, prepare: Callable[[], None] = lambda: None) -> None:
        """Open it again, as often as it is taken away, until cancelled. Connections that are open go on.

        `prepare` makes what it needs, such as its directory. AzureCniError where it cannot be opened.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._is_taken_away():
                continue
            log.warning("the socket was taken away, and is opened again", extra={"socket": str(self._path)})
            prepare()
            before = self._site
            await self.open()
            if before is not None:
                await before.stop()

    def _is_taken_away(self) -> bool:
        """Whether nothing is there, or a socket at which nobody listens. What cannot be seen counts as there."""
        try:
            found = _file_id(self._path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        if found == self._ours:
            self._said = False
            return False
        if _is_deaf(self._path):
            return True
        if not self._said:
            log.error(
                "something else is in the place of the socket: nobody is served", extra={"socket": str(self._path)}
            )
        self._said = True
        return False


class _Site(web.BaseSite):
    """What a runner stops first."""

    def __init__(
        self, runner: web.AppRunner, listening: socket.socket, *, requests: Requests, faults: Faults, name: str
    ) -> None:
        super().__init__(runner)
        self._listening = listening
        self._requests = requests
        self._faults = faults
        self._activity = name
        self._serving: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"http://unix:{self._listening.getsockname()}:"

    async def start(self) -> None:
        """Serve until stopped."""
        server = self._runner.server
        assert server is not None  # noqa: S101  # the runner is set up
        await super().start()
        work = kept_up(partial(self._requests.serve, self._listening, server), self._activity, self._faults)
        self._serving = asyncio.create_task(work, name=self._activity)

    async def stop(self) -> None:
        """Accept nothing more. What is being answered goes on."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        self._listening.close()
        await super().stop()


async def serve_socket(
    runner: web.AppRunner, path: Path, *, requests: Requests, faults: Faults, activity: str = ACTIVITY
) -> ServedSocket:
    """Open the socket for root alone, and serve until the runner is cleaned up. AzureCniError."""
    served = ServedSocket(runner, path, requests=requests, faults=faults, activity=activity)
    await served.open()
    return served


def bound(path: Path) -> socket.socket:
    """A listening socket for root alone, in place of one that a dead agent left. AzureCniError.

    What is no socket was put there by somebody else, and stays.
    """
    if _is_no_socket(path):
        raise AzureCniError(
            f"cannot open the socket {path}: what is there is no socket, and so somebody else's; move it away, or name "
            "another path"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_QUEUE)
    except OSError as error:
        listener.close()
        raise AzureCniError(
            f"cannot open the socket {path}: {error.strerror}; is {path.parent} the node's, and writable?"
        ) from error
    return listener


def _is_no_socket(path: Path) -> bool:
    """Something is there that is none, a link included."""
    try:
        return not stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:  # nothing is there, or what the caller will meet too
        return False


def _file_id(path: Path) -> _FileID:
    status = path.lstat()
    return status.st_dev, status.st_ino


def _is_deaf(path: Path) -> bool:
    """It is a socket, and its process has gone."""
    if _is_no_socket(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asking:
        return asking.connect_ex(str(path)) == errno.ECONNREFUSED
