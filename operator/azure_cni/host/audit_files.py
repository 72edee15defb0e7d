"""The audit trail in files on the node: JSON lines, the oldest file deleted when there is too much or it is too old.

It is on the node's own disk, so it survives reboots. Nothing is synced: what the kernel has is safe from the agent's
end, and what a node loses with its power (half a minute) is part of the hole that the next agent reports. A line that
was cut off is passed over. The modification time of the newest file says up to when nothing is missing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from azure_cni.errors import AzureCniError
from azure_cni.ipam.audit_records import HOLES, AuditRecord
from azure_cni.model.text import NOT_JSON, seconds_of, time_text

DAY_S: Final = 86_400.0
FILES: Final = 8
"""A trail that is full is in as many files, and loses one of them at a time."""
_NAME: Final = re.compile(r"audit-\d{8}-\d+\.jsonl")
LONGEST_LINE: Final = 1 << 16
_HOLES: Final = tuple(f'"event":"{kind.value}"'.encode() for kind in HOLES)
_decode = msgspec.json.Decoder(AuditRecord).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class AuditLimits:
    """Where the trail is, how large it may be, in bytes, and how old, in seconds."""

    directory: Path
    most_bytes: int
    longest_s: float


class FileAuditStore:
    """Implements the `AuditStore` of `azure_cni.node.audit`. `now_s`: seconds since 1970."""

    def __init__(self, limits: AuditLimits, *, now_s: Callable[[], float] = time.time) -> None:
        self._limits = limits
        self._now_s = now_s
        self._lock = threading.Lock()
        """An agent that ends writes what is left while the write before may still be under way."""

    def append(self, records: Sequence[AuditRecord], *, held: Sequence[AuditRecord], until: str) -> None:
        """See `AuditStore`."""
        with self._lock:
            try:
                newest = self._newest()
                if newest is None or self._is_full(newest):
                    newest, records = self._new_file(), [*held, *records]
                self._write(newest, b"".join(_encode(record) + b"\n" for record in records))
                self._mark(newest, until)
                self._prune(keep=newest)
            except OSError as error:
                raise self._error("write", error) from error

    def mark_alive(self, until: str) -> None:
        """See `AuditStore`."""
        with self._lock:
            try:
                newest = self._newest()
                if newest is not None:
                    self._mark(newest, until)
            except OSError as error:
                raise self._error("write", error) from error

    def seen_until(self) -> str:
        """See `AuditStore`."""
        try:
            newest = self._newest()
            return "" if newest is None else time_text(newest.stat().st_mtime)
        except OSError as error:
            raise self._error("read", error) from error

    def find(self, address: str) -> tuple[str, Sequence[AuditRecord]]:
        """See `AuditStore`. Only lines with the address, or about a hole, are decoded: a full trail takes 0.1 s."""
        wanted = f'"address":"{address}"'.encode()
        begins, found = "", list[AuditRecord]()
        try:
            for path in self._files():
                for line in _lines(path):
                    if begins and wanted not in line and not any(hole in line for hole in _HOLES):
                        continue
                    record = _record(line)
                    if record is not None:
                        begins = begins or record.time
                        if not record.address or record.address == address:
                            found.append(record)
        except OSError as error:
            raise self._error("read", error) from error
        return begins, found

    def walk(self) -> Iterator[AuditRecord]:
        """See `AuditStore`."""
        try:
            for path in self._files():
                yield from filter(None, map(_record, _lines(path)))
        except OSError as error:
            raise self._error("read", error) from error

    def _files(self) -> list[Path]:
        """Oldest first: their names are numbered."""
        if not self._limits.directory.is_dir():
            return []
        return sorted(path for path in self._limits.directory.iterdir() if _NAME.fullmatch(path.name))

    def _newest(self) -> Path | None:
        files = self._files()
        return files[-1] if files else None

    def _is_full(self, path: Path) -> bool:
        """Also when it is old: files are deleted as a whole."""
        state = path.stat()
        begun_s = _begun_s(path)
        return state.st_size >= self._limits.most_bytes // FILES or self._now_s() - begun_s >= DAY_S

    def _new_file(self) -> Path:
        """Its name has the number after the newest one's, and the time."""
        self._limits.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._limits.directory.chmod(0o700)
        newest = self._newest()
        number = 1 + (int(newest.name.split("-")[1]) if newest is not None else 0)
        return self._limits.directory / f"audit-{number:08d}-{int(self._now_s())}.jsonl"

    def _write(self, path: Path, lines: bytes) -> None:
        """All of it or nothing: what a full disk cut off is taken back, with the new modification time that even a
        write that failed leaves, and so is a new file, which would not begin with what was held.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            before = os.fstat(descriptor)
            if before.st_size and os.pread(descriptor, 1, before.st_size - 1) != b"\n":
                lines = b"\n" + lines
            try:
                _write_whole(descriptor, lines)
            except OSError:
                _undo(path, descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _mark(self, path: Path, until: str) -> None:
        until_s = seconds_of(until) or self._now_s()
        os.utime(path, (until_s, until_s))

    def _prune(self, *, keep: Path) -> None:
        """Delete the oldest files while there is too much, and those in which all is too old."""
        files = [(path, path.stat()) for path in self._files() if path != keep]
        size = keep.stat().st_size + sum(state.st_size for _, state in files)
        for path, state in files:
            if size > self._limits.most_bytes or self._now_s() - state.st_mtime > self._limits.longest_s:
                path.unlink(missing_ok=True)
                size -= state.st_size

    def _error(self, what: str, error: OSError) -> AzureCniError:
        return AzureCniError(
            f"cannot {what} the audit trail in {self._limits.directory}: {error.strerror}; is the node's disk full, or "
            "read-only? pods do not notice"
        )


def _write_whole(descriptor: int, lines: bytes) -> None:
    if os.write(descriptor, lines) != len(lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _undo(path: Path, descriptor: int, before: os.stat_result) -> None:
    """Make the file as it was; a disk that refuses that, too, has said why by then."""
    with contextlib.suppress(OSError):
        if not before.st_size:
            path.unlink()
            return
        os.ftruncate(descriptor, before.st_size)
        os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns))


def _begun_s(path: Path) -> float:
    return float(path.stem.split("-")[2])


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                yield line
    except FileNotFoundError:  # deleted meanwhile, as the oldest
        return


def _record(line: bytes) -> AuditRecord | None:
    """None for a line that was cut off."""
    try:
        return _decode(line)
    except NOT_JSON:
        return None
