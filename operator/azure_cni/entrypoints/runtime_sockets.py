"""The sockets at which runtimes ask, as files: opened for root alone, and opened again when somebody took them away.

A process whose socket is gone serves nobody, and nothing else of it fails: its health and its metrics look well. That
happens: `rm -r /run/docker`, the purge of a package, a program that cleans /run. So whoever serves a socket looks for
it every few seconds. Another one in its place is left alone: two processes would take it from one another for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from azure_cni.entrypoints.cni_listener import BoundedRequests
from azure_cni.entrypoints.running import kept_up
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

ACTIVITY = "cni_socket"
"""In the count of our own faults."""
LOOK_S: Final = 2.0
"""Between two looks. Docker tries a call again for half a minute."""
_QUEUE = 128


class ServedSocket:
    """One that is open. `requests` are those of one server, which `runner` has set up."""

    def __init__(
        self, runner: web.AppRunner, path: Path, *, requests: BoundedRequests, faults: Faults, activity: str
    ) -> None:
        self._runner = runner
        self._path = path
        self._open = partial(_Site, runner, requests=requests, faults=faults, name=activity)
        self._site: _Site | None = None

    async def open(self) -> None:
        """Serve until the runner is cleaned up. AzureCniError."""
        self._site = self._open(bound(self._path))
        await self._site.start()

    async def keep_open(self, *, prepare: Callable[[], None] = lambda: None) -> None:
        """Open it again, as often as it is taken away, until cancelled. Connections that are open go on.

        `prepare` makes what it needs, such as its directory. AzureCniError where it cannot be opened.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            if _is_there(self._path):
                continue
            log.warning("the socket was taken away, and is opened again", extra={"socket": str(self._path)})
            prepare()
            before = self._site
            await self.open()
            if before is not None:
                await before.stop()


class _Site(web.BaseSite):
    """What a runner stops first."""

    def __init__(
        self, runner: web.AppRunner, listening: socket.socket, *, requests: BoundedRequests, faults: Faults, name: str
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
    runner: web.AppRunner, path: Path, *, requests: BoundedRequests, faults: Faults, activity: str = ACTIVITY
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


def _is_there(path: Path) -> bool:
    """Whatever it is; what cannot be seen counts as there."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
