"""The audit trail in files on the node: JSON lines, the oldest file deleted when there is too much or it is too old.

It is on the node's own disk, so it survives reboots. Nothing is synced: what the kernel has is safe from the agent's
end, and what a node loses with its power (half a minute) is part of the hole that the next agent reports. A line that
cannot be read (cut off, changed, longer than any of ours) is a hole as well. The modification time of the newest file
says up to when nothing is missing. What stands in the directory under such a name and is no file is passed over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from azure_cni.errors import AzureCniError
from azure_cni.host.audit_lines import AddressReading, lines_of, records_of
from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.ipam.usage_history import usage_records
from azure_cni.model.text import seconds_of, time_text

DAY_S: Final = 86_400.0
FILES: Final = 8
"""A trail that is full is in as many files, and loses one of them at a time."""
AGED_PACE_S: Final = 3600.0
"""One file in this time is deleted for its age, by a clock that nobody sets: a wrong date that is put right within the
hour costs one file, not all. Whatever its age, what is too much is deleted at once."""
_LAST_S: Final = 253_402_300_799.0
"""The end of the year 9999. Some file systems keep times that no calendar has, and anybody with root may set one."""
_NAME: Final = re.compile(r"audit-(\d{8,})-(\d+)\.jsonl")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class AuditLimits:
    """Where the trail is, how large it may be, in bytes, and how old, in seconds."""

    directory: Path
    most_bytes: int
    longest_s: float


class FileAuditStore:
    """Implements the `AuditStore` of `azure_cni.node.audit`.

    `now_s`: seconds since 1970; `elapsed_s`: seconds since any time, by a clock that is never set.
    """

    def __init__(
        self,
        limits: AuditLimits,
        *,
        now_s: Callable[[], float] = time.time,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._now_s = now_s
        self._elapsed_s = elapsed_s
        self._aged_again_s = float("-inf")
        """When the next file may be deleted for its age."""
        self._lock = threading.Lock()
        """An agent that ends writes what is left while the write before may still be under way."""

    def append(self, records: Sequence[AuditRecord], *, held: Sequence[AuditRecord], until: str) -> None:
        """See `AuditStore`."""
        with self._lock:
            try:
                newest = self._newest()
                if newest is None or self._is_full(newest):
                    node, past = records[0].node, records_of(newest) if newest else ()
                    before = usage_records(past, node=node, now_s=self._now_s())
                    newest, records = self._new_file(), [*before, *held, *records]
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
            return self._seen_until()
        except OSError as error:
            raise self._error("read", error) from error

    def find(self, address: str) -> tuple[str, Sequence[AuditRecord]]:
        """See `AuditStore`. Only lines with the address, or about a hole, are decoded: a full trail takes 0.1 s."""
        return self._read(AddressReading(f'"address":"{address}"', address))

    def find_writes(self) -> tuple[str, Sequence[AuditRecord]]:
        """See `AuditStore`."""
        return self._read(AddressReading(f'"event":"{AuditKind.NIC_WRITTEN.value}"'))

    def _read(self, reading: AddressReading) -> tuple[str, Sequence[AuditRecord]]:
        try:
            with self._lock:  # a line that is being written is none that was cut off
                for path in self._files():
                    reading.read(lines_of(path))
                return reading.begins, reading.finish(self._seen_until())
        except OSError as error:
            raise self._error("read", error) from error

    def walk(self) -> Iterator[AuditRecord]:
        """See `AuditStore`. Lines that cannot be read are left out."""
        try:
            for path in self._files():
                yield from records_of(path)
        except OSError as error:
            raise self._error("read", error) from error

    def _names(self) -> list[Path]:
        """All that is named like one of ours, by number: the oldest first."""
        if not self._limits.directory.is_dir():
            return []
        return sorted((path for path in self._limits.directory.iterdir() if _NAME.fullmatch(path.name)), key=_number)

    def _files(self) -> list[Path]:
        """Those that are files, the oldest first."""
        return [path for path in self._names() if _is_file(path)]

    def _seen_until(self) -> str:
        newest = self._newest()
        return "" if newest is None else time_text(min(max(newest.stat().st_mtime, 0.0), _LAST_S))

    def _newest(self) -> Path | None:
        files = self._files()
        return files[-1] if files else None

    def _is_full(self, path: Path) -> bool:
        """Also when it is old, or of a time that has not come: files are deleted as a whole."""
        state = path.stat()
        age_s = self._now_s() - float(path.stem.split("-")[2])  # the time in its name
        return state.st_size >= self._limits.most_bytes // FILES or not -DAY_S < age_s < DAY_S

    def _new_file(self) -> Path:
        """Its name has the number after the newest one's, and the time."""
        self._limits.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._limits.directory.chmod(0o700)
        names = self._names()
        number = 1 + (_number(names[-1])[0] if names else 0)
        return self._limits.directory / f"audit-{number:08d}-{int(self._now_s())}.jsonl"

    def _write(self, path: Path, lines: bytes) -> None:
        """All of it or nothing: what a full disk cut off is taken back, with the new modification time that even a
        write that failed leaves, and so is a new file, which would not begin with what was held.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
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
        """Delete the oldest files while there is too much, and at times one in which all is too old."""
        files = [(path, path.stat()) for path in self._files() if path != keep]
        size = keep.stat().st_size + sum(state.st_size for _, state in files)
        for path, state in files:
            if size > self._limits.most_bytes or self._may_age(state):
                path.unlink(missing_ok=True)
                size -= state.st_size

    def _may_age(self, state: os.stat_result) -> bool:
        """Whether all in that file is too old, and no other was deleted for that a moment ago."""
        elapsed_s = self._elapsed_s()
        if self._now_s() - state.st_mtime <= self._limits.longest_s or elapsed_s < self._aged_again_s:
            return False
        self._aged_again_s = elapsed_s + AGED_PACE_S
        return True

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


def _number(path: Path) -> tuple[int, str]:
    return int(path.name.split("-")[1]), path.name


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:  # deleted meanwhile
        return False
