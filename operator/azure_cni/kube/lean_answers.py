"""Reads answers of the API server in bounded memory, keeping only what is used.

Others decide what its objects hold: whoever starts pods, and each agent in its own pool. So lists and watches of pods
and of all nodes' pools are taken apart while they arrive, and only the fields that are used are kept of each object:
whole, a few that change a few times a second take more memory and time than there is. Any other answer, and any other
event of a watch, is read up to a limit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container
from typing import Any, Final, cast

import aiohttp
import msgspec
from aiohttp.connector import Connection

from azure_cni.api.reading import mapping
from azure_cni.kube.lean_objects import NAMESPACES, PODS, POOLS, lean_namespace, lean_pod, lean_pool, own_pool
from azure_cni.kube.streamed_list import MAX_ITEM_BYTES, StreamedList
from azure_cni.model.text import NOT_JSON

PIECE_BYTES: Final = 2**16
MAX_BYTES: Final = 32 * 2**20
"""Of an answer that is read whole: an object, a list of quotas. etcd refuses objects of more than 1.5 MiB."""
MAX_REFUSAL_BYTES: Final = 2**20
OF_OBJECTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})

Lean = Callable[[bytes], dict[str, Any] | None]


def lean_of(method: str, path: str, parameters: Container[str]) -> Lean | None:
    """How the objects of the answer to this request, a list or a watch, are taken apart; None where they stay whole.

    An agent asks for its own pool alone, by a selector.
    """
    if method != "GET":
        return None
    if path == PODS:
        return lean_pod
    if path == NAMESPACES:
        return lean_namespace
    if path == POOLS:
        return own_pool if "fieldSelector" in parameters else lean_pool
    return None


async def lean_list(content: aiohttp.StreamReader, lean: Lean) -> dict[str, Any]:
    """A list whose items are lean; what cannot be read is left out. ValueError for what is no list."""
    streamed = StreamedList()
    found = [lean(item) async for piece in content.iter_chunked(PIECE_BYTES) for item in streamed.feed(piece)]
    try:
        answer = msgspec.json.decode(streamed.envelope)
    except NOT_JSON as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if "items" not in mapping(answer):  # no list: an empty one would say that there is nothing
        raise ValueError("it is no list")
    return {**mapping(answer), "items": [one for one in found if one is not None]}


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_event_of = msgspec.json.Decoder(_Event).decode


def lean_event(line: bytes, lean: Lean) -> bytes | None:
    """An event of a watch with a lean object; None where the object cannot be read, as in a list.

    Bookmarks and errors are passed on as they are, and so is what is no event: whoever watches says what is wrong.
    """
    try:
        event = _event_of(line)
        if event.type not in OF_OBJECTS:
            return line
        found = lean(bytes(event.object))
    except RecursionError:
        return None
    except NOT_JSON:
        return line
    return None if found is None else msgspec.json.encode({"type": event.type, "object": found})


class WatchEvents:
    """The stream of a watch as kopf reads it, by `iter_chunked`; all else is the stream's own."""

    def __init__(self, stream: aiohttp.StreamReader, lean: Lean | None) -> None:
        self._stream = stream
        self._lean = lean

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """Whole lines. ClientPayloadError when one does not end, which is an end of the watch like others."""
        line = bytearray()
        async for piece in self._stream.iter_chunked(PIECE_BYTES):
            *ends, rest = piece.split(b"\n")
            for end in ends:
                line += end
                event = lean_event(bytes(line), self._lean) if self._lean and line else bytes(line)
                line.clear()
                if event:
                    yield event + b"\n"
            line += rest
            if len(line) > MAX_ITEM_BYTES:
                raise aiohttp.ClientPayloadError(f"an event of a watch has more than {MAX_ITEM_BYTES >> 20} MiB")


class LeanResponse(aiohttp.ClientResponse):
    """An answer for clients that read answers whole, and watches line by line, as kopf and `KubeClient` do."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """See aiohttp."""
        started = await super().start(connection)
        if self.ok and "watch" in self.url.query:
            lean = lean_of(self.method, self.url.path, self.url.query)
            self.content = cast("aiohttp.StreamReader", WatchEvents(self.content, lean))
        return started

    async def read(self) -> bytes:
        """See aiohttp. ClientPayloadError for one that is too large, or no list where there should be one."""
        if self._body is None:
            try:
                self._body = await self._read()
            except ValueError as error:
                self.close()
                raise aiohttp.ClientPayloadError(str(error)) from error
            except BaseException:
                self.close()
                raise
        return await super().read()

    async def _read(self) -> bytes:
        lean = lean_of(self.method, self.url.path, self.url.query) if self.ok else None
        if lean is not None:
            return msgspec.json.encode(await lean_list(self.content, lean))
        most = MAX_BYTES if self.ok else MAX_REFUSAL_BYTES
        content = bytearray()
        async for piece in self.content.iter_chunked(PIECE_BYTES):
            content += piece
            if len(content) > most:
                raise ValueError(f"it has more than {most >> 20} MiB; does a proxy answer in the API server's place?")
        return bytes(content)


async def uncompressed(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Ask for what is taken apart as it is: one compressed piece could unfold to more memory than there is."""
    if lean_of(request.method, request.url.path, request.url.query) is not None:
        request.headers["Accept-Encoding"] = "identity"
    return await send(request)
