"""Answers that a node or a pod sends through the API server, read within bounds of bytes and time.

What is asked for (`limitBytes`, one command) binds nobody who took a node over: a log may have no end, and a WebSocket
may send faster than it is read, or one byte a second.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

from azure_cni.errors import KubeUnreachable

PIECE_BYTES: Final = 2**16
T = TypeVar("T")


class Meter:
    """Counts what was read for `what`, such as "read /api/v1/pods". KubeUnreachable beyond the bounds."""

    def __init__(self, what: str, *, most_bytes: int, limit_s: float) -> None:
        self._what, self._most, self._limit_s = what, most_bytes, limit_s
        self._ends = time.monotonic() + limit_s
        self._count = 0

    def left_s(self) -> float:
        """Seconds until it must have ended."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise KubeUnreachable(f"cannot {self._what}: it did not end within {self._limit_s:.0f} s")
        return left

    def add(self, piece: bytes) -> bytes:
        """The piece, counted."""
        self._count += len(piece)
        if self._count > self._most:
            raise KubeUnreachable(f"cannot {self._what}: the answer has more than {self._most >> 10} KiB")
        self.left_s()
        return piece


class MeteredSocket:
    """A connected socket whose reads are counted; all else is the socket's own."""

    def __init__(self, socket: Any, meter: Meter) -> None:
        self._socket, self._meter = socket, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """See `socket`. It waits for as long as the meter has left."""
        self._socket.settimeout(self._meter.left_s())
        try:
            return self._meter.add(self._socket.recv(min(size, PIECE_BYTES)))
        except TimeoutError:
            self._meter.left_s()
            raise


def channels_of(websocket: Any, meter: Meter) -> Mapping[int, bytes]:
    """What came of each channel of Kubernetes' protocol (`*.channel.k8s.io`) until the other side closed."""
    from websocket import ABNF

    websocket.sock = MeteredSocket(websocket.sock, meter)
    found: dict[int, bytearray] = defaultdict(bytearray)
    while True:
        kind, frame = websocket.recv_data_frame(control_frame=True)
        if kind == ABNF.OPCODE_CLOSE:
            return {channel: bytes(content) for channel, content in found.items()}
        if kind in {ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT} and frame.data:
            found[frame.data[0]] += frame.data[1:]


def pieces(response: Any, meter: Meter | None = None) -> Iterator[bytes]:
    """Of the body of an answer of urllib3, as it arrives. Without a meter, whoever takes them apart has bounds."""
    try:
        while piece := response.read1(PIECE_BYTES, decode_content=False):
            yield meter.add(piece) if meter else piece
    finally:
        response.close()


def finished_within(limit_s: float, work: Callable[[], T], failure: str) -> T:
    """What `work` returns or raises, or KubeUnreachable with `failure`: for a library that takes no time limit.

    Work that does not finish keeps a thread, which ends with the process.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  raised by whoever asks for the result
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([outcome], limit_s).done:
        raise KubeUnreachable(failure)
    return outcome.result()
