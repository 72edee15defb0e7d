"""The sockets that runtimes use, bounded: a runtime that leaks connections must not take the agent from the others.

Docker is such a runtime, at its plugin's socket. The sockets are for root alone, so this is against mistakes rather
than attacks. A connection waits in the kernel's queue until there is a place for it; the binary tries again while that
queue is full, and Docker waits. It has `request_s` to send its one request, of which few arrive at once: what has not
arrived yet costs memory. So a body has a limit, and of large ones one is read at a time. Then the connection has
`answer_s` to get its answer. ADDs that wait for an address keep a place of the many, and none of those few: the DEL
that ends one can always arrive.

`listener` bounds the port for metrics, for strangers: no request there has a body, and each is slowed down.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from azure_cni.entrypoints.accepting import Acceptor, Handler
from azure_cni.errors import DecodeFailed

MAX_BODY_BYTES: Final = 64 << 10
"""Of a request about one sandbox: some 2 KiB, with the result of its ADD."""
MAX_LARGE_BYTES: Final = 4 << 20
"""Of a request about many: the GC of a node's 250 attachments has some 30 KiB, and a container of Docker that exposes
every port some 2 MiB."""


@dataclass(frozen=True, slots=True)
class RequestBounds:
    """What callers can have at once, and for how many seconds. A node has at most 250 pods."""

    connections: int = 512
    arriving: int = 128
    request_s: float = 10.0
    answer_s: float = 120.0
    """Longer than the binary waits for any verb."""


class Place:
    """The place of one connection among all, and at first among those whose request has not arrived."""

    def __init__(self, connections: asyncio.Semaphore, arriving: asyncio.Semaphore) -> None:
        self._held = [connections, arriving]

    def arrived(self) -> None:
        """Make room for the next request."""
        if len(self._held) > 1:
            self._held.pop().release()

    def end(self) -> None:
        """Make room for the next connection. As often as one likes."""
        while self._held:
            self._held.pop().release()


class BoundedRequests:
    """The connections of all sockets of one server."""

    def __init__(self, bounds: RequestBounds | None = None) -> None:
        self._bounds = bounds or RequestBounds()
        self._connections = asyncio.Semaphore(self._bounds.connections)
        self._arriving = asyncio.Semaphore(self._bounds.arriving)
        self._open: dict[asyncio.BaseProtocol, _Connection] = {}
        self._large = asyncio.Lock()

    async def serve(self, listening: socket.socket, server: web.Server) -> None:
        """Accept and serve until cancelled."""
        acceptor = Acceptor(listening)
        async with asyncio.TaskGroup() as connecting:
            while True:
                connection, place = await self.accept(acceptor)
                connecting.create_task(self._connect(connection, place, server))

    async def accept(self, acceptor: Acceptor) -> tuple[socket.socket, Place]:
        """The next connection, when there is a place for it."""
        place = await self.place()
        try:
            return await acceptor.accept(), place
        except BaseException:
            place.end()
            raise

    async def place(self) -> Place:
        """One for the next connection, when there is one."""
        await self._arriving.acquire()
        try:
            await self._connections.acquire()
        except BaseException:
            self._arriving.release()
            raise
        return Place(self._connections, self._arriving)

    def protocol(self, inner: web.RequestHandler, place: Place) -> asyncio.Protocol:
        """The server's side of a connection in its place, which it gives back at its end."""
        outer = _Connection(inner, place, self._bounds, ended=partial(self._open.pop, inner, None))
        self._open[inner] = outer
        return outer

    @web.middleware
    async def without_body(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A request without a body has arrived as a whole."""
        if not request.can_read_body:
            self._arrived(request)
        return await handler(request)

    async def body(self, request: web.Request, what: str, *, large: bool = False) -> bytes:
        """All of it. `large` says that it may have more than usual; DecodeFailed where it has more than that."""
        if large:
            async with self._large:
                body = await _read(request, what, most=MAX_LARGE_BYTES)
        else:
            body = await _read(request, what, most=MAX_BODY_BYTES)
        self._arrived(request)
        return body

    def _arrived(self, request: web.Request) -> None:
        connection = self._open.get(request.protocol)
        if connection is not None:
            connection.arrived()

    async def _connect(self, connection: socket.socket, place: Place, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: self.protocol(server(), place), connection)
        except BaseException as error:
            connection.close()
            place.end()
            if not isinstance(error, OSError):  # it has gone again
                raise


class _Connection(asyncio.Protocol):
    """Passes one connection on to the HTTP server's own protocol, and cuts it when its time is over."""

    def __init__(
        self, inner: web.RequestHandler, place: Place, bounds: RequestBounds, *, ended: Callable[[], object]
    ) -> None:
        self._inner = inner
        self._place = place
        self._bounds = bounds
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def arrived(self) -> None:
        """The request is there."""
        self._place.arrived()
        self._allow(self._bounds.answer_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        self._transport = transport
        self._allow(self._bounds.request_s)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> None:
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.end()
        self._ended()
        if self._deadline is not None:
            self._deadline.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _allow(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._transport.abort)


async def _read(request: web.Request, what: str, *, most: int) -> bytes:
    body = bytearray()
    try:
        while len(body) <= most and (chunk := await request.content.readany()):
            body += chunk
    except (ConnectionError, RuntimeError) as error:  # the caller has gone, also before this read; or its time was over
        raise DecodeFailed(f"cannot read the {what} request: it ended after {len(body)} bytes") from error
    except web.RequestPayloadError as error:
        raise DecodeFailed(f"cannot read the {what} request: its body is not encoded as its head says") from error
    if len(body) > most:
        raise DecodeFailed(
            f"cannot read the {what} request: it has more than {most >> 10} KiB; is the configuration that the runtime "
            "passes that large?"
        )
    return bytes(body)
