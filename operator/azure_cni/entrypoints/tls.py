"""The server's side of TLS on a connection from a stranger, with bounds on what it costs.

TLS lets a caller have us compute for next to nothing: handshakes, tiny records, key updates. asyncio's own TLS does all
of it at once, on the loop that wires pods. Here the bytes of the wire are counted before OpenSSL sees them, and what
OpenSSL computes for all callers of one port has a share of one processor (`TlsShare`). Beyond that it waits.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_TURN_BYTES: Final = 4096
"""Taken in at one time, so that callers with much to say take turns with those that say little."""


class TlsShare:
    """Lets work be done at once while it takes no more than `share` of a processor, else later; in turns.

    `saved_s` is how much processor time can be saved up. One piece of work for each turn of the loop.
    """

    def __init__(self, *, share: float, saved_s: float) -> None:
        self._share, self._saved_s = share, saved_s
        self._left_s = saved_s
        self._counted_s = float("-inf")
        self._waiting: deque[Callable[[], None]] = deque()
        self._next: asyncio.Handle | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Have it done, in its turn."""
        self._waiting.append(work)
        if self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._do_next)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What is done in this block counts, too."""
        began_s = time.thread_time()
        try:
            yield
        finally:
            self._left_s -= time.thread_time() - began_s

    def _do_next(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._left_s = min(self._saved_s, self._left_s + (now_s - self._counted_s) * self._share)
        self._counted_s = now_s
        if self._left_s > 0:
            with self.counted():
                self._waiting.popleft()()
        if not self._waiting:
            self._next = None
        elif self._left_s > 0:
            self._next = loop.call_soon(self._do_next)
        else:
            self._next = loop.call_later(-self._left_s / self._share, self._do_next)


class TlsProtocol(asyncio.Protocol):
    """Speaks TLS with the caller, and plain bytes with `inner`, which sees a connection once the handshake is done.

    The caller may send `most_bytes` in all, and is to have shaken hands by `until_s` of the loop's clock.
    """

    def __init__(
        self,
        inner: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        share: TlsShare,
        most_bytes: int,
        until_s: float,
    ) -> None:
        self._inner = inner
        self._context = context
        self._share = share
        self._left_bytes = most_bytes
        self._until_s = until_s
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        """None before the first bytes: to make one costs as much as to take some in."""
        self._came = bytearray()
        """What OpenSSL has not seen yet; nothing more is read from the kernel before it has."""
        self._raw: asyncio.Transport | None = None
        self._plain: _PlainTransport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = False
        """The caller has sent all that it will."""

    # What comes from the wire.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream's
        self._raw = transport
        self._deadline = asyncio.get_running_loop().call_at(self._until_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        assert self._raw is not None  # noqa: S101  # there is data
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._raw.abort()
            return
        self._raw.pause_reading()
        self._came += data
        self._share.do(self._take_in)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        self._ended = True
        return bool(self._came) or (self._plain is not None and self._plain.paused)  # closed later, or by the answer

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._plain is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._plain is not None:
            self._inner.resume_writing()

    def _take_in(self) -> None:
        """Some of what came, and the answers that TLS itself gives."""
        raw = self._raw
        if raw is None or raw.is_closing():
            return
        self._incoming.write(self._came[:_TURN_BYTES])
        del self._came[:_TURN_BYTES]
        try:
            self._advance(raw)
        except ssl.SSLError:  # no TLS, or an end of it
            self._flush(raw)
            raw.abort()
            return
        self._flush(raw)
        if self._came:
            self._share.do(self._take_in)
        elif self._plain is None or not self._plain.paused:
            if self._ended:
                raw.close()
            else:
                raw.resume_reading()

    def _advance(self, raw: asyncio.Transport) -> None:
        if self._tls is None:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        with suppress(ssl.SSLWantReadError):
            if self._plain is None:
                self._tls.do_handshake()
                self._plain = _PlainTransport(raw, self._tls, self._outgoing, self._share)
                if self._deadline is not None:
                    self._deadline.cancel()
                self._inner.connection_made(self._plain)
            while not self._plain.paused and not raw.is_closing():
                data = self._tls.read(_TURN_BYTES)
                if not data:
                    self._ended = True
                    return
                self._inner.data_received(data)

    def _flush(self, raw: asyncio.Transport) -> None:
        if self._outgoing.pending and not raw.is_closing():
            raw.write(self._outgoing.read())


class _PlainTransport(asyncio.Transport):
    """What `inner` writes to. Once it has paused reading, nothing more is read: a connection has one request."""

    def __init__(self, raw: asyncio.Transport, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO, share: TlsShare) -> None:
        super().__init__({"ssl_object": tls, "sslcontext": tls.context})
        self._raw, self._tls, self._outgoing, self._share = raw, tls, outgoing, share
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return super().get_extra_info(name) or self._raw.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self.paused = True
        self._raw.pause_reading()

    def is_reading(self) -> bool:
        return not self.paused

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with self._share.counted():
            view = memoryview(data)
            while view and not self._raw.is_closing():
                view = view[self._tls.write(view) :]
        if not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def close(self) -> None:
        if self._raw.is_closing():
            return
        with suppress(ssl.SSLError):
            self._tls.unwrap()  # says goodbye; the caller's is not waited for
        self._raw.write(self._outgoing.read())
        self._raw.close()

    def abort(self) -> None:
        self._raw.abort()
