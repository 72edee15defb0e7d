"""A list of the API server, item by item while it arrives.

A pod may have 1.5 MB, and whoever starts pods decides what is in it. A hundred of them, read and decoded whole, take
more memory than an agent has. At most one item and one piece of the answer are held at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAX_ITEM_BYTES: Final = 8 * 2**20
"""etcd refuses objects of more than 1.5 MiB unless configured otherwise; JSON is at most a few times what is stored."""
MAX_ENVELOPE_BYTES: Final = 2**16
"""Of what is around the items: kind, version, a token for the next page."""

_MARK = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ITEMS = 2  # the depth in the array of items


class StreamedList:
    """Takes the pieces of a JSON object whose one array of the first level is the items; gives each item whole.

    It looks at brackets and strings only: whether the rest is JSON, the decoder of an item says. ValueError when an
    item or what is around them is too large.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_items = self._in_string = self._escaped = self._complete = False
        self._item = bytearray()
        self._around = bytearray()

    @property
    def envelope(self) -> bytes:
        """What was around the items, with an empty array in their place."""
        return bytes(self._around)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The items that this piece completes."""
        position = start = 0
        while position < len(piece):
            if self._in_string:
                position = self._skip_string(piece, position)
                continue
            mark = _MARK.search(piece, position)
            if mark is None:
                break
            position = mark.end()
            if mark[0] == b'"':
                self._in_string = True
            elif mark[0] in b"{[":
                start = self._descend(piece, mark, start)
            else:
                start = self._ascend(piece, mark, start)
                if self._complete:
                    self._complete = False
                    yield bytes(self._item)
                    self._item.clear()
        if not (self._in_items and self._depth == _ITEMS):
            self._take(piece[start:])

    def _descend(self, piece: bytes, mark: re.Match[bytes], start: int) -> int:
        """Enter an object or array; returns where what is kept begins."""
        if self._in_items and self._depth == _ITEMS:
            start = mark.start()
        self._depth += 1
        if mark[0] == b"[" and self._depth == _ITEMS:
            self._take(piece[start : mark.end()])
            self._in_items = True
        return start

    def _ascend(self, piece: bytes, mark: re.Match[bytes], start: int) -> int:
        """Leave an object or array; returns where what is kept begins: not what lies between items."""
        self._depth -= 1
        if not self._in_items or self._depth > _ITEMS:
            return start
        if self._depth == _ITEMS:
            self._take(piece[start : mark.end()])
            self._complete = True
            return mark.end()
        self._in_items = False
        return mark.start()

    def _skip_string(self, piece: bytes, position: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        found = _STRING.match(piece, position)
        end = len(piece) if found is None else found.end()
        if end == len(piece):
            return end
        if piece[end : end + 1] == b"\\":  # the last byte of the piece
            self._escaped = True
        else:
            self._in_string = False
        return end + 1

    def _take(self, part: bytes) -> None:
        kept, most = (self._item, MAX_ITEM_BYTES) if self._in_items else (self._around, MAX_ENVELOPE_BYTES)
        kept += part
        if len(kept) > most:
            raise ValueError(
                f"{'an item' if self._in_items else 'what is around the items'} has more than {most} bytes"
            )
