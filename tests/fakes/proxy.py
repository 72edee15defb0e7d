"""An HTTP proxy: CONNECT only, with or without TLS to itself, with or without a password."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator


class ConnectProxy:
    """Connects through to wherever it is asked; `asked` are the hosts and ports, in order, refused ones too."""

    def __init__(self, *, user: str = "", password: str = "") -> None:
        self.asked: list[str] = []
        self.url = ""
        self._secret = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[ConnectProxy]:
        """On loopback while the context is open; `url` is where."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        self.asked.append(target)
        if self._secret and f"basic {self._secret}".lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        else:
            host, _, port = target.rpartition(":")
            there = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for source, sink in ((reader, there[1]), (there[0], writer)):
                task = asyncio.create_task(_copy(source, sink))
                self._tasks.add(task)
            return
        await writer.drain()
        writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await source.read(65536):
            sink.write(part)
            await sink.drain()
        sink.close()
