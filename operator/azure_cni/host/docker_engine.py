"""Docker's own API on its socket, read-only: the one method GET, within bounds of time and size.

The socket is root's, and whoever answers there may be another engine, a proxy, or a daemon that starts or hangs. So no
answer is waited for longer than `ANSWER_S`, and none is read beyond `MAX_BYTES`.

At Docker's usual socket systemd listens while Docker is stopped (docker.socket), and starts it for whoever connects. So
nobody connects there unless the process of Docker's pidfile lives.
"""

from __future__ import annotations

import asyncio
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
PIDFILE: Final = Path("/run/docker.pid")
_BEGINNING: Final = 200


class DockerEngine:
    """Implements `azure_cni.docker.ports.Engine`. A connection for each request: a daemon that restarts ends them.

    `pidfile`: of the daemon, which is not asked unless it runs; None where it is asked in any case.
    """

    def __init__(self, socket: Path, *, pidfile: Path | None = None) -> None:
        self._socket = socket
        self._pidfile = pidfile

    @classmethod
    def at(cls, socket: Path) -> Self:
        """The engine of this socket, which it is not started for."""
        standard = socket.resolve() == STANDARD_SOCKET.resolve()
        return cls(socket, pidfile=PIDFILE if standard else None)

    async def get(self, path: str) -> bytes:
        """See the port."""
        cannot = f"cannot ask Docker at {self._socket} for {path}"
        if self._pidfile is not None and not _lives(self._pidfile):
            raise AzureCniError(f"{cannot}: Docker is stopped: no process is the one of {self._pidfile}")
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


def _lives(pidfile: Path) -> bool:
    try:
        return Path("/proc", str(int(pidfile.read_text()))).exists()
    except (OSError, ValueError):
        return False


async def _read(response: aiohttp.ClientResponse, cannot: str) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_BYTES:
            raise AzureCniError(f"{cannot}: the answer has more than {MAX_BYTES >> 20} MiB")
    return bytes(body)
