"""The named pipe at which a runtime's binary asks on Windows. Not yet tried on Windows.

Its name has a prefix with which only administrators can make a pipe, and a second process cannot make it while one has
it, so nobody takes the agent's place. It goes with the process, and nobody can remove it before.

Each connection is an instance of the pipe, which the event loop takes at once; there is no queue of Windows' own. So a
connection waits here for a place among those that are served (`cni_listener`), and nothing is read from it before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from azure_cni.entrypoints.cni_listener import BoundedRequests
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults


class PipeServer(Protocol):
    """One that listens."""

    def close(self) -> None:
        """Accept nothing more. What is connected stays."""


OpenPipe = Callable[[Callable[[], asyncio.Protocol], str], Awaitable[Sequence[PipeServer]]]
"""Listens at a pipe of this name, with a protocol of this kind for each connection. OSError."""


class NamedPipe:
    """Implements `RuntimeDoor`. `open_pipe`: another than that of the event loop, which has one on Windows alone."""

    def __init__(self, name: str, *, open_pipe: OpenPipe | None = None) -> None:
        self._name = name
        self._open_pipe = open_pipe

    @property
    def name(self) -> str:
        """The pipe's."""
        return self._name

    async def open(
        self, server: CniServer, runner: web.AppRunner, faults: Faults
    ) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """See `RuntimeDoor`."""
        del faults
        await _Site(runner, self._name, server.requests, self._open_pipe).start()
        return {}


class _Site(web.BaseSite):
    """What a runner stops first."""

    def __init__(self, runner: web.AppRunner, pipe: str, requests: BoundedRequests, open_pipe: OpenPipe | None) -> None:
        super().__init__(runner)
        self._pipe = pipe
        self._requests = requests
        self._open_pipe = open_pipe
        self._listening: Sequence[PipeServer] = ()

    @property
    def name(self) -> str:
        """For people."""
        return self._pipe

    async def start(self) -> None:
        """Serve until stopped. AzureCniError."""
        server = self._runner.server
        assert server is not None  # noqa: S101  # the runner is set up
        await super().start()
        loop: Any = asyncio.get_running_loop()
        open_pipe: OpenPipe = self._open_pipe or loop.start_serving_pipe
        try:
            self._listening = await open_pipe(lambda: _Arrival(self._requests, server), self._pipe)
        except OSError as error:
            raise AzureCniError(
                f"cannot open the pipe {self._pipe}: {error.strerror or error}; does another agent serve it, and does "
                "this one run as SYSTEM or as an administrator?"
            ) from error

    async def stop(self) -> None:
        """Accept nothing more. What is being answered goes on."""
        for one in self._listening:
            one.close()
        await super().stop()


class _Arrival(asyncio.Protocol):
    """A connection that waits for its place, and is then passed on to the protocol that serves it."""

    def __init__(self, requests: BoundedRequests, server: web.Server) -> None:
        self._requests = requests
        self._server = server
        self._entering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        transport.pause_reading()
        self._entering = asyncio.get_running_loop().create_task(self._enter(transport), name="cni_pipe")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._entering is not None:
            self._entering.cancel()

    async def _enter(self, transport: asyncio.Transport) -> None:
        place = await self._requests.place()
        if transport.is_closing():
            place.end()
            return
        serving = self._requests.protocol(self._server(), place)
        transport.set_protocol(serving)
        serving.connection_made(transport)
        transport.resume_reading()
