"""The lines of an audit trail's files, read back: all records, or what they say of one address and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from azure_cni.host.files import open_file
from azure_cni.ipam.audit_records import HOLES, AuditKind, AuditRecord
from azure_cni.model.text import NOT_JSON

LONGEST_LINE: Final = 1 << 16
"""Bytes. The longest of ours has some 30,000: the hours of five weeks (`azure_cni.ipam.usage_history`)."""
_HOLES: Final = tuple(f'"event":"{kind.value}"'.encode() for kind in HOLES)
_BEGINNING: Final = b'{"time":"'
"""Of each line: whether the rest can be read as well is only tried where it matters."""
_decode = msgspec.json.Decoder(AuditRecord).decode


class AddressReading:
    """Puts together what a trail says of one address, or of none, from its lines in their order.

    `wanted` is in each line that matters, beside those about holes.
    """

    def __init__(self, wanted: str, address: str = "") -> None:
        self.begins = ""
        self._address = address
        self._wanted = wanted.encode()
        self._found: list[AuditRecord] = []
        self._before = b""
        """The last line that could be read."""
        self._unreadable = 0
        """Lines since then."""

    def read(self, lines: Iterable[bytes]) -> None:
        """The next ones."""
        for line in lines:
            if not line.startswith(_BEGINNING) or not line.endswith(b"}\n"):
                self._unreadable += 1
                continue
            asked = self._wanted in line or any(hole in line for hole in _HOLES)
            if self.begins and not self._unreadable and not asked:
                self._before = line
                continue
            record = _record(line)
            if record is None:
                self._unreadable += 1
                continue
            self.begins = self.begins or record.time
            self._note_hole(record.time)
            self._before = line
            if record.address in {"", self._address} and record.event != AuditKind.USAGE:
                self._found.append(record)

    def finish(self, until: str) -> list[AuditRecord]:
        """All that was found. Nothing is missing after `until`."""
        self._note_hole(until)
        return self._found

    def _note_hole(self, until: str) -> None:
        if not self._unreadable:
            return
        before = _record(self._before)
        since = before.time if before is not None else until
        hole = AuditRecord(time=until, event=AuditKind.UNREADABLE.value, not_before=since, lost=self._unreadable)
        self._found.append(hole)
        self._unreadable = 0


def lines_of(path: Path) -> Iterator[bytes]:
    """With their ends; one without an end was cut off, or is too long and given as its beginning."""
    try:
        with open_file(path, follow=False) as file:
            while line := file.readline(LONGEST_LINE):
                yield line
                while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
    except FileNotFoundError:  # deleted meanwhile, as the oldest
        return


def records_of(path: Path) -> Iterator[AuditRecord]:
    """What is in a file, without the lines that cannot be read."""
    return filter(None, map(_record, lines_of(path)))


def _record(line: bytes) -> AuditRecord | None:
    """None for a line that cannot be read."""
    try:
        return _decode(line)
    except NOT_JSON:
        return None
