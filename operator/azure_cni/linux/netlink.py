"""A netlink socket, and no more than that: send requests, read the answers, turn refusals into words.

Own code and not a library, for three reasons, each tried beside pyroute2 0.9.7, which walks its tables of attributes in
Python:

- The ADD of a pod waits for it: wiring a sandbox takes 0.7 ms this way and 4 ms by pyroute2.
- Lists that grow with pods are read every few seconds, and with each change that others make. For 250 pods (501
  interfaces, 500 routes, 250 neighbours) that takes 16 ms of CPU this way; by pyroute2 245 ms, in which Python's lock
  keeps the event loop from the pods that wait, and 26 MiB more memory.
- The kernel marks a list of interfaces or addresses that changed while it was read. Here it is read again; pyroute2
  does not look at that mark. (Policy rules have none: where there are more than fit one answer, and others change some
  meanwhile, a list may lack one of them until it is read the next time.)

What others change is heard by pyroute2 (`route_changes`): that is rare, and nothing waits for it. What the kernel
speaks here is a stable interface (rtnetlink(7), netlink(7)) and small: see `rtnetlink`.

A socket belongs to the network namespace that its thread was in when it was made, and to one thread at a time.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from azure_cni.errors import DatapathError

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10  # an error's answer need not repeat the request
_NETLINK_EXT_ACK = 11  # ... and says in words what was wrong with it
_NETLINK_GET_STRICT_CHK = 12  # dumps are filtered by the kernel; since Linux 4.20

_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP_INTR = 0x10
_NLM_F_ACK_TLVS = 0x200
_NLM_F_DUMP = 0x300
_NLMSGERR_ATTR_MSG = 1
_SIOCGIFINDEX = 0x8933

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_IFREQ = struct.Struct("=16si20x")
_TYPE_MASK = 0x3FFF  # the two high bits of an attribute's type are flags

_ANSWER_TIMEOUT_S = 10.0  # the kernel answers within the call; this only bounds the impossible
_DUMP_ATTEMPTS = 5  # a dump is inconsistent when something changed meanwhile, and then read again
_BUFFER = 65536


Keep: TypeAlias = Callable[[bytes], bool]


class Refused(DatapathError):
    """The kernel answered a request with an error; `errno` is its number."""

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.errno = number


@dataclass(frozen=True, slots=True)
class NetlinkRequest:
    """One change asked of the kernel. `what` completes "cannot ..."; an errno in `forgiven` counts as success."""

    what: str
    kind: int
    flags: int
    body: bytes
    forgiven: tuple[int, ...] = ()


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute: length, type, value, padded to four octets."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in `data` by type; the last of a type that occurs twice."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)
    return found


def values_of(kind: int, data: bytes) -> list[bytes]:
    """Of each attribute of this type in `data`, which may be many."""
    found: list[bytes] = []
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, given = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        if given & _TYPE_MASK == kind:
            found.append(data[offset + _ATTRIBUTE.size : offset + length])
        offset += length + (-length % 4)
    return found


class Netlink:
    """A netlink socket, route's unless another `protocol` is named, in the network namespace of the calling thread."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._sequence = 0
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        except OSError as error:
            raise DatapathError(f"cannot open a netlink socket: {error.strerror}") from error
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; closing twice is no error."""
        self._socket.close()

    @property
    def port(self) -> int:
        """By which the kernel names this socket as the author of a change."""
        return int(self._socket.getsockname()[0]) & 0xFFFFFFFF

    def index(self, name: str) -> int | None:
        """The index of an interface of this socket's namespace, None where there is no such interface.

        One ioctl instead of a message to decode: it takes a microsecond, however many interfaces there are.
        """
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, _IFREQ.pack(name.encode(), 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise DatapathError(f"cannot look up interface {name}: {os.strerror(error.errno or 0)}") from error
        return int(_IFREQ.unpack(answer)[1])

    def change(self, *requests: NetlinkRequest) -> None:
        """Send all requests at once and wait for every answer. Raises Refused for the first that failed.

        The kernel carries out the others even then: the caller undoes what must not stay.
        """
        if not requests:
            return
        frames = [self._frame(request.kind, request.flags | _NLM_F_ACK, request.body) for request in requests]
        first = self._sequence - len(requests) + 1
        waiting = {first + position: request for position, request in enumerate(requests)}
        refusals: dict[int, Refused] = {}
        self._send(frames)
        while waiting:
            for kind, flags, sequence, payload in self._answers():
                request = waiting.pop(sequence, None) if kind == _NLMSG_ERROR else None
                refused = request and _refusal(request.what, flags, payload)
                if request and refused and refused.errno not in request.forgiven:
                    refusals[sequence] = refused
        if refusals:
            raise refusals[min(refusals)]

    def make(self, request: NetlinkRequest) -> bool:
        """Send a request that makes something. False where that, or something of its name, is there already."""
        try:
            self.change(request)
        except Refused as refused:
            if refused.errno != errno.EEXIST:
                raise
            return False
        return True

    def get(self, what: str, *, kind: int, body: bytes) -> bytes | None:
        """One object, None where the kernel knows of none (ENODEV)."""
        self._send([self._frame(kind, 0, body)])
        while True:  # what is read first may be the answer to a question that was given up
            for answer, flags, sequence, payload in self._answers():
                if sequence != self._sequence:
                    continue
                if answer != _NLMSG_ERROR:
                    return payload
                refused = _refusal(what, flags, payload)
                if refused and refused.errno != errno.ENODEV:
                    raise refused
                return None

    def dump(self, what: str, *, kind: int, body: bytes, keep: Keep = lambda _: True) -> list[bytes]:
        """All objects that match; nothing where the table does not exist yet or the interface has just gone.

        `keep` says which of them to return, for a table of which the kernel lists more than is wanted.
        """
        for _ in range(_DUMP_ATTEMPTS):
            self._send([self._frame(kind, _NLM_F_DUMP, body)])
            found, whole = self._collect(what, keep)
            if whole:
                return found
        raise DatapathError(f"cannot {what}: it changed during each of {_DUMP_ATTEMPTS} reads")

    def _collect(self, what: str, keep: Keep) -> tuple[list[bytes], bool]:
        """What a dump yields, and whether it is consistent."""
        found: list[bytes] = []
        whole = True
        while True:
            for kind, flags, sequence, payload in self._answers():
                if sequence != self._sequence:
                    continue
                whole = whole and not flags & _NLM_F_DUMP_INTR
                if kind not in {_NLMSG_ERROR, _NLMSG_DONE}:
                    if keep(payload):
                        found.append(payload)
                    continue
                refused = _refusal(what, flags, payload)
                if refused and refused.errno not in {errno.ENOENT, errno.ENODEV}:
                    raise refused
                return found, whole

    def _frame(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        length = _HEADER.size + len(body)
        return _HEADER.pack(length, kind, flags | _NLM_F_REQUEST, self._sequence, 0) + body

    def _send(self, frames: list[bytes]) -> None:
        try:
            self._socket.send(b"".join(frames))
        except OSError as error:
            raise DatapathError(f"cannot ask the kernel over netlink: {error.strerror}") from error

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Type, flags, sequence number and payload of each message of one datagram."""
        try:
            data = self._socket.recv(_BUFFER)
        except OSError as error:
            raise DatapathError(f"cannot read the kernel's answer over netlink: {error.strerror or error}") from error
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
            offset += length + (-length % 4)


def _refusal(what: str, flags: int, payload: bytes) -> Refused | None:
    """The error in an acknowledgement or at a dump's end, None for success."""
    number = -_ERRNO.unpack_from(payload)[0] if payload else 0
    if not number:
        return None
    # With CAP_ACK an error carries the request's header but not its body; the end of a dump carries neither.
    detail = attributes(payload[_ERRNO.size + _HEADER.size :]) if flags & _NLM_F_ACK_TLVS else {}
    words = detail.get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    reason = f"{os.strerror(number)} ({words})" if words else os.strerror(number)
    return Refused(f"cannot {what}: {reason}", number=number)
