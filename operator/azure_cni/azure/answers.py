"""Answers of Azure's services: read up to a limit, what can be read out of them, and how they are measured.

A host that answers in a service's place must not be able to fill the memory of the process that wires pods. The
metadata service's and token services' documents are small (`SmallResponse`); the resource manager's have their own
limits. Its answers may hold anything: a proxy's page, half a document, JSON of another shape. Nothing in `ArmAnswer`
raises for that. What is absent is None, and the caller's error says what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import aiohttp
import msgspec

from azure_cni.model.text import legible

Document = dict[str, Any]
S = TypeVar("S", bound=msgspec.Struct)

LARGEST_DOCUMENT: Final = 32 * 1024 * 1024
"""Bytes of a document, and of all pages of a list. A VNet with 65,536 addresses names each, with some 250 bytes."""
LARGEST_REFUSAL: Final = 1024 * 1024
"""Bytes of an error's body that are read; no error of Azure's comes near."""
FIRST_WORDS: Final = 160
OF_AZURE: Final = ("x-ms-request-id", "x-ms-correlation-request-id", "x-ms-failure-cause")
"""Headers of which the resource manager sends at least one with every answer."""

_HIDDEN = re.compile(r"<(script|style)\b", re.IGNORECASE)
_ENDS = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style")}


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    """Status, headers (their names whatever the case) and the body, decompressed."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as plain values; None where it is not JSON (or is `null`)."""
        return read_json(self.content)

    def document(self) -> Document | None:
        """The body, where it is a JSON object."""
        body = self.json()
        return body if isinstance(body, dict) else None

    def shaped(self, kind: type[S]) -> S | None:
        """The body as a value of this type; None where it has another shape."""
        try:
            return msgspec.json.decode(_bare(self.content), type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
            return None

    @property
    def is_azures(self) -> bool:
        """A header says that the resource manager answered, whatever the body is."""
        return any(name in self.headers for name in OF_AZURE)

    @property
    def sender(self) -> str:
        """Who answered, as far as the headers say: "" or `server: squid/5.7, via: 1.1 proxy`."""
        shown = [(name, short(self.headers.get(name, ""), most=80)) for name in ("server", "via")]
        return ", ".join(f"{name}: {text}" for name, text in shown if text)

    @property
    def first_words(self) -> str:
        """What a person would read of the body first: no markup, one line."""
        return short(_without_markup(self.content[:65536].decode(errors="replace")), most=FIRST_WORDS)


def _without_markup(text: str) -> str:
    """The text between tags, scripts and styles.

    Any server may answer in Azure's place while pods wait for the same loop, so each character is looked at once or
    twice, whatever they are: one pattern for all of it would begin again at each "<".
    """
    parts, at = [], 0
    while (begin := text.find("<", at)) >= 0:
        hidden = _HIDDEN.match(text, begin)
        end = _ENDS[hidden[1].lower()].search(text, begin) if hidden else None
        closed = text.find(">", end.end() if end else begin)
        if closed < 0 and not hidden:
            break  # no tag, but a character
        parts.append(text[at:begin])
        if closed < 0 or (hidden and not end):
            return " ".join(parts)
        at = closed + 1
    return " ".join((*parts, text[at:]))


def short(text: str, *, most: int) -> str:
    """The beginning of a text on one line, its gaps closed."""
    return legible(" ".join(text[: 4 * most].split()), most)


def read_json(content: bytes | str) -> Any:
    """JSON as plain values; None where it is not JSON."""
    try:
        return msgspec.json.decode(_bare(content))
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        return None


def _bare(content: bytes | str) -> bytes | str:
    """Without the byte order mark that some of Azure's providers begin with."""
    return content.removeprefix(b"\xef\xbb\xbf") if isinstance(content, bytes) else content.removeprefix("\ufeff")


MAX_BYTES: Final = 2**20
"""A token has some 2 KiB, the instance metadata of a VM with 256 addresses some 20 KiB."""
_PIECE_BYTES: Final = 2**16


class SmallResponse(aiohttp.ClientResponse):
    """An answer of at most `MAX_BYTES` for clients that read answers whole; streams are not concerned."""

    async def read(self) -> bytes:
        """See aiohttp. ClientPayloadError for one that is larger."""
        if self._body is None:
            try:
                self._body = await self._read()
            except BaseException:
                self.close()
                raise
        return await super().read()

    async def _read(self) -> bytes:
        content = bytearray()
        async for piece in self.content.iter_chunked(_PIECE_BYTES):
            content += piece
            if len(content) > MAX_BYTES:
                text = f"the answer has more than {MAX_BYTES >> 20} MiB; does something else answer there?"
                raise aiohttp.ClientPayloadError(text)
        return bytes(content)


class CallMetrics(Protocol):
    """Hooks for measurements; must not block or raise. `azure_cni.node.ports.Observer` is one."""

    def azure(self, operation: str, code: str, seconds: float) -> None:
        """A call ended: its operation (`nic.put`), `200` or an error code (Azure's or ours), and its duration."""

    def throttled(self, seconds: float) -> None:
        """Azure asked to wait while an operation was polled; all other throttling is raised as Throttled."""
