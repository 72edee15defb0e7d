"""A TCP port that cannot be used against the process behind it.

The agent's metrics port is open to the network and shares its event loop with what wires pods. So a stranger gets few
connections, for a few seconds, at a bounded pace, and a few kilobytes each:

- A connection waits in the kernel's queue, at no cost to us, until one of `connections` places is free. It is accepted
  no faster than one in `pause_s`, so a flood of whole requests costs a bounded share of the loop as well.
- It has `head_s` for a request's head of at most `head_bytes`, then `answer_s` to take the answer; then it is cut.
- It carries one request. Prometheus and the kubelet connect again each time they ask, which costs them a millisecond.

A port that is exhausted by strangers is no use to the kubelet's probes. They come by a listener of their own, on
loopback, which the network cannot reach: `web` opens both.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from azure_cni.errors import AzureCniError

log = logging.getLogger(__name__)

BACKLOG: Final = 64
"""Connections that wait in the kernel; more are refused by it."""

_IP_FREEBIND: Final = 15  # linux/in.h; Python 3.11 has no name for it
_END_OF_HEAD: Final = b"\r\n\r\n"
_ACCEPT_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one listener spends on its callers. Times in seconds, sizes in bytes."""

    connections: int = 24
    pause_s: float = 0.02
    head_bytes: int = 8192
    head_s: float = 5.0
    answer_s: float = 10.0


def bound_socket(address: str, port: int) -> socket.socket:
    """A listening socket. AzureCniError when something else has the port, or `address` is no IP address.

    The address need not be on an interface yet: a NIC's can be away for a moment while a network manager restarts.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET:
            listening.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
        listening.bind((address, port))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise AzureCniError(
            f"cannot serve metrics and health on {address} port {port}: {error.strerror or error}; find what has it "
            f"with `ss -ltnp sport = :{port}`, or set another one"
        ) from error
    return listening


class Listener:
    """Serves one listening socket, which it takes over and closes. `protocol` makes the server side of a connection."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        bounds: Bounds | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._bounds = bounds or Bounds()
        self._tls = tls
        self._places = asyncio.Semaphore(self._bounds.connections)
        self._refused = False

    async def run(self) -> None:
        """Accept and serve until cancelled."""
        with self._listening:
            async with asyncio.TaskGroup() as serving:
                while True:
                    await self._places.acquire()
                    serving.create_task(self._serve(await self._accept()))
                    await asyncio.sleep(self._bounds.pause_s)

    async def _accept(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except OSError as error:  # descriptors or memory have run out, or the caller has gone again
                if not self._refused:
                    log.warning("connections cannot be accepted", extra={"error": error.strerror or str(error)})
                self._refused = True
                await asyncio.sleep(_ACCEPT_RETRY_S)
            else:
                self._refused = False
                return connection

    async def _serve(self, connection: socket.socket) -> None:
        """One connection from its first byte to its last."""
        serving = _Connection(self._protocol(), self._bounds)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: serving,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._bounds.head_s if self._tls else None,
            )
            await serving.ended.wait()
        except OSError as error:  # a TLS handshake that failed or took too long is one of these, too
            log.debug("connection refused", extra={"error": str(error)})
        finally:
            serving.cut()
            connection.close()
            self._places.release()


class _Connection(asyncio.Protocol):
    """Passes one connection on to the HTTP server's own protocol, within the bounds."""

    def __init__(self, inner: asyncio.Protocol, bounds: Bounds) -> None:
        self._inner = inner
        self._bounds = bounds
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head = bytearray()
        self._asked = False
        self.ended = asyncio.Event()

    def cut(self) -> None:
        """End the connection now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        self._transport = transport
        self._allow(self._bounds.head_s)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._asked:
            return  # the one request is being answered; nothing after it is read
        self._head += data
        end = self._head.find(_END_OF_HEAD)
        if (end if end >= 0 else len(self._head)) > self._bounds.head_bytes:
            self.cut()
            return
        self._inner.data_received(data)
        if end >= 0:
            self._asked = True
            self._head.clear()
            self._allow(self._bounds.answer_s)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._inner.connection_lost(exc)
        self.ended.set()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _allow(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_later(seconds, self.cut)
