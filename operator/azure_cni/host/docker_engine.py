"""Docker's own API on its socket, read-only: the one method GET, within bounds of time and size.

The socket is root's, and whoever answers there may be another engine, a proxy, or a daemon that starts or hangs. So no
answer is waited for longer than `ANSWER_S`, and none is read beyond `MAX_BYTES`.

At Docker's usual socket systemd listens while Docker is stopped (docker.socket), and starts it for whoever connects. So
nobody connects there unless a process of Docker's daemon runs.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

import aiohttp

from azure_cni.errors import AzureCniError
from azure_cni.model.text import legible

ANSWER_S: Final = 10.0
"""Of one request, all in all. Docker lists a thousand containers in some tenths of a second."""
MAX_BYTES: Final = 32 << 20
"""A container takes some 2 KiB of the list, and has labels of any size."""
STANDARD_SOCKET: Final = Path("/run/docker.sock")
PROCESSES: Final = Path("/proc")
DAEMON: Final = "dockerd"
_BEGINNING: Final = 200


class DockerEngine:
    """Implements `azure_cni.docker.ports.Engine`. A connection for each request: a daemon that restarts ends them.

    `processes`: a mount of the host's procfs; the engine is not asked unless its daemon is seen there. None where it is
    asked in any case.
    """

    def __init__(self, socket: Path, *, processes: Path | None = None) -> None:
        self._socket = socket
        self._processes = processes
        self._daemon = ""
        """The process that was the daemon when it was last looked for."""

    @classmethod
    def at(cls, socket: Path) -> Self:
        """The engine of this socket, which it is not started for."""
        standard = socket.resolve() == STANDARD_SOCKET.resolve()
        return cls(socket, processes=PROCESSES if standard else None)

    async def get(self, path: str) -> bytes:
        """See the port."""
        cannot = f"cannot ask Docker at {self._socket} for {path}"
        if self._processes is not None and not await asyncio.to_thread(self._runs, self._processes):
            raise AzureCniError(f"{cannot}: Docker is stopped: no process {DAEMON} is seen in {self._processes}")
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket))) as session,
                session.get(f"http://docker{path}", allow_redirects=False) as response,
            ):
                body = await _read(response, cannot)
        except TimeoutError as error:
            raise AzureCniError(f"{cannot}: no answer within {ANSWER_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AzureCniError(f"{cannot}: {str(error) or type(error).__name__}") from error
        if response.status != HTTPStatus.OK:
            said = legible(body[:_BEGINNING].decode(errors="replace"))
            raise AzureCniError(f"{cannot}: it answers {response.status}: {said}")
        return body

    def _runs(self, processes: Path) -> bool:
        """A look at one process as a rule; at all of them when it is not the daemon any more."""
        if not (self._daemon and is_daemon(processes / self._daemon)):
            found = (name for name in _listed(processes) if name.isdecimal())
            self._daemon = next((name for name in found if is_daemon(processes / name)), "")
        return bool(self._daemon)


def _listed(processes: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(processes)  # noqa: PTH208  # half the time
    return []


def is_daemon(process: Path) -> bool:
    """Whether this process of a procfs is Docker's daemon, of the host itself: one in a container (Docker in Docker)
    has a second number, in the container's namespace.
    """
    with suppress(OSError, ValueError):
        if (process / "comm").read_text().strip() == DAEMON:
            lines = (process / "status").read_text().splitlines()
            numbers = next((line for line in lines if line.startswith("NSpid:")), "").split()[1:]
            return len(numbers) == 1
    return False


async def _read(response: aiohttp.ClientResponse, cannot: str) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_BYTES:
            raise AzureCniError(f"{cannot}: the answer has more than {MAX_BYTES >> 20} MiB")
    return bytes(body)
