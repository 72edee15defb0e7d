"""A TCP port that strangers cannot use to exhaust the process behind it.

The agent's metrics port is open to the network, and its event loop also wires pods. So a stranger gets few connections,
for a few seconds, at a bounded pace, with a few kilobytes each:

- A connection waits in the kernel's queue, at no cost to us, until one of `connections` places is free. It is accepted
  no faster than one in `pause_s`, so a flood of whole requests costs a bounded share of the loop as well.
- It has `head_s` for a request's head of at most `head_bytes`, then `answer_s` to take the answer; then it is cut.
- It keeps its place until the caller's kernel has the whole answer, for `sent_s` at most after ours has it. A closed
  socket whose answer nobody reads would otherwise hold the kernel's memory for minutes, at no place's cost.
- It carries one request, and nothing is read after it. Prometheus and the kubelet connect again each time they ask,
  which costs them a millisecond.

With TLS the same holds: a connection takes its place when it is accepted, before the handshake, `head_s` is for
handshake and head together, and `wire_bytes` for all that comes over the wire. What TLS computes for all connections of
the port has a share of one processor, `tls_share` (`tls`).

The kubelet's probes would fail at a port that strangers exhaust. They use a listener of their own, on loopback, which
the network cannot reach: `web` opens both.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from azure_cni.entrypoints.accepting import Acceptor
from azure_cni.entrypoints.port_sockets import outstanding, reset_at_close
from azure_cni.entrypoints.tls import TlsProtocol, TlsShare
from azure_cni.errors import InternalFault
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

_END_OF_HEAD: Final = b"\r\n\r\n"
_LOOK_S, _LONGEST_LOOK_S = 0.01, 0.5
"""How long after the first look whether an answer has arrived the next one is, and the longest such time."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one listener spends on its callers. Times in seconds, sizes in bytes."""

    connections: int = 24
    pause_s: float = 0.02
    head_bytes: int = 8192
    wire_bytes: int = 32_768
    head_s: float = 5.0
    answer_s: float = 10.0
    sent_s: float = 3.0
    tls_share: float = 0.1
    """Of one processor. Half a second's worth is saved up: some dozen handshakes at once."""


class Listener:
    """Serves one listening socket, which it takes over and closes. `protocol` makes the server side of a connection.

    `tls` gives the context of the next handshake, and None while there is no certificate: connections are closed then.
    Without `tls` connections are plain.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        faults: Faults,
        bounds: Bounds | None = None,
        tls: Callable[[], ssl.SSLContext | None] | None = None,
    ) -> None:
        self._listening = listening
        self._acceptor = Acceptor(listening)
        self._protocol = protocol
        self._faults = faults
        self._bounds = bounds or Bounds()
        self._tls = tls
        self._share = TlsShare(share=self._bounds.tls_share, saved_s=self._bounds.tls_share / 2)
        self._places = asyncio.Semaphore(self._bounds.connections)

    async def run(self) -> None:
        """Accept and serve until cancelled."""
        with self._listening:
            async with asyncio.TaskGroup() as serving:
                while True:
                    await self._places.acquire()
                    serving.create_task(self._serve(await self._acceptor.accept()))
                    await asyncio.sleep(self._bounds.pause_s)

    async def _serve(self, connection: socket.socket) -> None:
        """One connection, in its place. A fault of ours ends no other: a stranger may have found it."""
        try:
            with self._faults.guard("connection"):
                await self._exchange(connection)
        except InternalFault as error:
            log.debug("connection ended by a fault", extra={"error": str(error)})
        finally:
            connection.close()
            self._places.release()

    async def _exchange(self, connection: socket.socket) -> None:
        """From the first byte to the last."""
        loop = asyncio.get_running_loop()
        serving = _Connection(self._protocol(), self._bounds, head_until_s=loop.time() + self._bounds.head_s)
        transport: asyncio.BaseTransport | None = None
        try:
            speaking = self._speaking(serving)
            if speaking is None:
                return
            with connection.dup() as kept:  # the transport closes its own
                reset_at_close(kept, reset=True)
                async with asyncio.timeout(self._bounds.head_s + self._bounds.answer_s):  # whatever it may wait for
                    transport, _ = await loop.connect_accepted_socket(lambda: speaking, connection)
                    await serving.ended.wait()
                await _delivered(kept, within_s=self._bounds.sent_s)
        except OSError as error:
            log.debug("connection refused", extra={"error": str(error)})
        finally:
            if isinstance(transport, asyncio.Transport):
                transport.abort()

    def _speaking(self, serving: _Connection) -> asyncio.Protocol | None:
        """What speaks with the caller: TLS, or the connection itself. None while there is no certificate."""
        if self._tls is None:
            return serving
        context = self._tls()
        if context is None:
            return None
        return TlsProtocol(
            serving,
            context,
            share=self._share,
            most_bytes=self._bounds.wire_bytes,
            until_s=serving.head_until_s,
        )


async def _delivered(connection: socket.socket, *, within_s: float) -> None:
    """Wait until the caller's kernel has all that ours was given. In time, its close is a usual one."""
    loop = asyncio.get_running_loop()
    connection.shutdown(socket.SHUT_WR)
    until_s, pause_s = loop.time() + within_s, _LOOK_S
    while outstanding(connection):
        if loop.time() >= until_s:
            return
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_LOOK_S)
    reset_at_close(connection, reset=False)


class _Connection(asyncio.Protocol):
    """Passes one connection on to the HTTP server's own protocol, within the bounds.

    `head_until_s`, of the loop's clock, is when its head must be there: what a handshake took is not given twice.
    """

    def __init__(self, inner: asyncio.Protocol, bounds: Bounds, *, head_until_s: float) -> None:
        self._inner = inner
        self._bounds = bounds
        self.head_until_s = head_until_s
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._head = bytearray()
        self.asked = False
        self.ended = asyncio.Event()

    def cut(self) -> None:
        """End the connection now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        self._transport = transport
        self._allow_until(self.head_until_s)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.asked:
            return  # the one request is being answered; nothing after it is read
        self._head += data
        empty = len(self._head) - len(self._head.lstrip(b"\r\n"))  # lines before a request, which HTTP allows
        end = self._head.find(_END_OF_HEAD, empty)
        if (end if end >= 0 else len(self._head)) > self._bounds.head_bytes:
            self.cut()
            return
        if end >= 0:
            assert self._transport is not None  # noqa: S101  # there is data
            self._transport.pause_reading()  # a flood after the request waits in the kernel, at no cost to us
            self.asked = True
            self._head.clear()
            self._allow_until(asyncio.get_running_loop().time() + self._bounds.answer_s)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None:  # else no handshake was done
            self._inner.connection_lost(exc)
        self.ended.set()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _allow_until(self, when_s: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = asyncio.get_running_loop().call_at(when_s, self.cut)
