"""The stand-in as a service on a port of the loopback, for a computenetwork.dll in another process.

Each call of the library is one message, and gets one answer. Numbers are little-endian.

    message   u32 size of what follows, u64 handle, GUID (16 bytes), u16 size, function, text in UTF-8
    answer    u32 size of what follows, u32 HRESULT, u64 handle, u32 size (0xFFFFFFFF: none), properties, error record

What a function does not take or give is zero or empty. A handle is good on every connection until it is closed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import socketserver
import struct
import threading
import uuid
from typing import Final, NamedTuple, Self

from fakehns.service import FakeHns, RefusedCall

INVALID_HANDLE: Final = 0x80070006
NOT_IMPLEMENTED: Final = 0x80004001
_NONE: Final = 0xFFFFFFFF
_LONGEST: Final = 16 << 20  # bytes of a message

_MESSAGE: Final = struct.Struct("<Q16sH")
_ANSWER: Final = struct.Struct("<IQI")
_FUNCTION: Final = re.compile(
    r"Hcn(?P<verb>Enumerate|Open|Query|Create|Modify|Delete|Close)(?P<kind>Network|Endpoint|Namespace)(s|Properties)?"
)


class Message(NamedTuple):
    """One call as the library sends it. `identifier` is a GUID in lower case, that of zeros for none."""

    handle: int
    identifier: str
    function: str
    text: str

    @classmethod
    def of(cls, content: bytes) -> Self:
        """struct.error and ValueError for anything else."""
        handle, guid, named = _MESSAGE.unpack_from(content)
        function, text = content[_MESSAGE.size :][:named], content[_MESSAGE.size + named :]
        return cls(handle, str(uuid.UUID(bytes_le=guid)), function.decode(), text.decode())

    def encoded(self) -> bytes:
        """As it is sent."""
        function = self.function.encode()
        head = _MESSAGE.pack(self.handle, uuid.UUID(self.identifier).bytes_le, len(function))
        return _sized(head + function + self.text.encode())


class Answer(NamedTuple):
    """What the library gets."""

    result: int = 0
    handle: int = 0
    properties: str | None = None
    record: str = ""

    @classmethod
    def of(cls, content: bytes) -> Self:
        """struct.error and ValueError for anything else."""
        result, handle, size = _ANSWER.unpack_from(content)
        rest = content[_ANSWER.size :]
        if size == _NONE:
            return cls(result, handle, None, rest.decode())
        return cls(result, handle, rest[:size].decode(), rest[size:].decode())

    def encoded(self) -> bytes:
        """As it is sent."""
        properties = b"" if self.properties is None else self.properties.encode()
        size = _NONE if self.properties is None else len(properties)
        return _sized(_ANSWER.pack(self.result, self.handle, size) + properties + self.record.encode())


class Calls:
    """What the functions do, and the handles that are open."""

    def __init__(self, hns: FakeHns) -> None:
        self._hns = hns
        self._numbers = itertools.count(0x1_0000_0001)  # longer than a C int
        self.handles: dict[int, tuple[str, str]] = {}
        """Kind and ID of what each leads to."""

    def carry_out(self, message: Message) -> Answer:
        """Never fails."""
        try:
            return self._carry_out(message)
        except RefusedCall as refused:
            said = {"Success": False, "Error": refused.words, "ErrorCode": refused.result}
            return Answer(refused.result, record=json.dumps(said))

    def _carry_out(self, message: Message) -> Answer:
        named = _FUNCTION.fullmatch(message.function)
        if named is None:
            raise RefusedCall(NOT_IMPLEMENTED, f"no function {message.function} here")
        kind = named["kind"]
        match named["verb"]:
            case "Enumerate":
                return Answer(properties=self._hns.enumerate(kind, message.text))
            case "Open":
                self._hns.require(kind, message.identifier)
                return Answer(handle=self._hand_out(kind, message.identifier))
            case "Create":
                network = self._opened(message.handle)[1] if kind == "Endpoint" else ""
                made = json.loads(self._hns.create(kind, message.text, network))
                return Answer(handle=self._hand_out(kind, made["ID"]))
            case "Query":
                return Answer(properties=self._hns.query(*self._opened(message.handle), message.text))
            case "Modify":
                self._hns.modify(*self._opened(message.handle), message.text)
            case "Delete":
                self._hns.delete(kind, message.identifier)
            case _:
                self._opened(message.handle)
                del self.handles[message.handle]
        return Answer()

    def _hand_out(self, kind: str, identifier: str) -> int:
        number = next(self._numbers)
        self.handles[number] = kind, identifier
        return number

    def _opened(self, handle: int) -> tuple[str, str]:
        if handle not in self.handles:
            raise RefusedCall(INVALID_HANDLE, "The handle is invalid.")
        return self.handles[handle]


class HnsServer:
    """Serves the stand-in from `start` to `stop`, as often as a test wants, always on the same port."""

    def __init__(self, hns: FakeHns) -> None:
        self.calls = Calls(hns)
        self._listening: _Listening | None = None
        self.port = 0
        """Once it has started."""

    def start(self) -> None:
        """The service runs."""
        self._listening = listening = _Listening(("127.0.0.1", self.port), self.calls)
        self.port = listening.server_address[1]
        threading.Thread(target=listening.serve_forever, args=(0.05,), name="fakehns", daemon=True).start()

    def stop(self) -> None:
        """The service ends: its connections break, and nobody answers new ones."""
        if self._listening is not None:
            self._listening.shutdown()
            self._listening.server_close()
            self._listening.hang_up()
            self._listening = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Listening(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False  # a call may hang
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], calls: Calls) -> None:
        self.calls = calls
        self.connected: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def hang_up(self) -> None:
        """On everybody."""
        for connection in list(self.connected):
            with contextlib.suppress(OSError):  # it has ended by itself
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    server: _Listening
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connected.add(self.connection)

    def handle(self) -> None:
        try:
            while size := self.rfile.read(4):
                (count,) = struct.unpack("<I", size)
                if count > _LONGEST:
                    return
                self.wfile.write(self.server.calls.carry_out(Message.of(self.rfile.read(count))).encoded())
        except (OSError, struct.error, ValueError):  # it has ended, or says what no library says
            return

    def finish(self) -> None:
        self.server.connected.discard(self.connection)
        try:
            super().finish()
        except OSError:
            return


def _sized(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content
