"""A web application on loopback, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator

from aiohttp import web


@contextlib.asynccontextmanager
async def serve(app: web.Application, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve it on a port of 127.0.0.1; yields the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def answering_without_end(begin: bytes, piece: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """A server whose answers begin so and never end; yields its URL, and how many bytes of each were taken."""
    taken: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        taken.append(len(begin))
        await response.write(begin)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(piece)
                taken[-1] += len(piece)
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with serve(app) as port:
        yield f"http://127.0.0.1:{port}", taken


@contextlib.asynccontextmanager
async def answering(body: bytes, *, status: int = 200) -> AsyncIterator[str]:
    """A server that answers every GET alike; yields its URL."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with serve(app) as port:
        yield f"http://127.0.0.1:{port}"
