"""The audit trail's files: bounded in size and age, private, readable after a crash, each by itself."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from azure_cni.errors import AzureCniError
from azure_cni.host.audit_files import DAY_S, FILES, AuditLimits, FileAuditStore
from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.model.text import time_text

A, B = "10.240.0.36", "10.240.0.37"
NOW = "2026-11-28T06:19:26Z"
KIB = 1024


class Now:
    def __init__(self) -> None:
        self.s = 1_795_846_766.0

    def __call__(self) -> float:
        return self.s


def record(address: str = A, event: AuditKind = AuditKind.ASSIGNED, time: str = "2026-11-28T06:00:00Z") -> AuditRecord:
    return AuditRecord(time=time, event=event.value, node="vm1", address=address, namespace="default", pod="web")


def a_store(directory: Path, now: Now | None = None, *, most_bytes: int = 1 << 20, days: float = 30) -> FileAuditStore:
    limits = AuditLimits(directory / "audit", most_bytes=most_bytes, longest_s=days * DAY_S)
    return FileAuditStore(limits, now_s=now or Now())


def files(directory: Path) -> list[Path]:
    return sorted((directory / "audit").iterdir())


def test_records_are_found_by_address_with_all_holes(tmp_path: Path):
    store = a_store(tmp_path)
    started = AuditRecord(time="2026-11-28T05:00:00Z", event=AuditKind.STARTED.value)
    store.append([started, record(B), record()], held=[], until=NOW)
    store.append([record(A, AuditKind.RETURNED)], held=[], until=NOW)
    begins, found = a_store(tmp_path).find(A)
    assert begins == "2026-11-28T05:00:00Z"
    assert found == [started, record(), record(A, AuditKind.RETURNED)]
    assert a_store(tmp_path / "nothing").find(A) == ("", [])


def test_it_is_for_root_alone(tmp_path: Path):
    a_store(tmp_path).append([record()], held=[], until=NOW)
    (file,) = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_oldest_go_first_and_every_file_can_be_read_by_itself(tmp_path: Path):
    now = Now()
    store = a_store(tmp_path, now, most_bytes=64 * KIB)
    store.append([record(B)], held=[], until=NOW)
    for _ in range(600):
        store.append([record()], held=[record(B, AuditKind.HELD)], until=NOW)
        now.s += 1
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 64 * KIB * (FILES + 1) // FILES
    assert "00000001" not in files(tmp_path)[0].name
    _, found = store.find(B)
    assert {one.event for one in found} == {"held"}
    for file in files(tmp_path)[1:]:
        assert b'"event":"held"' in file.read_bytes().splitlines()[0]


def test_files_end_after_a_day_and_are_deleted_after_their_days(tmp_path: Path):
    now = Now()
    store = a_store(tmp_path, now, days=3)
    for _ in range(10):
        store.append([record()], held=[], until=time_text(now.s))
        now.s += DAY_S
    assert len(files(tmp_path)) == 4


def test_a_line_that_was_cut_off_is_passed_over_and_harms_no_other(tmp_path: Path):
    store = a_store(tmp_path)
    store.append([record()], held=[], until=NOW)
    (file,) = files(tmp_path)
    with file.open("ab") as stream:
        stream.write(b'{"time":"2026-11-28T06:00:00Z","event":"ret')
    store.append([record(A, AuditKind.RETURNED)], held=[], until=NOW)
    with file.open("ab") as stream:
        stream.write(b"\xff\xfe garbage with 10.240.0.36\n" + b"[" * 200_000 + b"\n")
    _, found = store.find(A)
    assert [one.event for one in found] == ["assigned", "returned"]


def test_the_newest_file_says_up_to_when_nothing_is_missing(tmp_path: Path):
    now = Now()
    store = a_store(tmp_path, now)
    assert store.seen_until() == ""
    store.mark_alive(NOW)
    store.append([record()], held=[], until="2026-11-28T06:19:20Z")
    assert store.seen_until() == "2026-11-28T06:19:20Z"
    store.mark_alive("2026-11-28T07:19:26Z")
    assert store.seen_until() == "2026-11-28T07:19:26Z"


def test_a_directory_that_cannot_be_written_is_an_error_in_words(tmp_path: Path):
    (tmp_path / "audit").write_text("a file")
    with pytest.raises(AzureCniError, match=r"^cannot write the audit trail in .*/audit: .*pods do not notice$"):
        a_store(tmp_path).append([record()], held=[], until=NOW)


def test_files_of_others_are_left_alone(tmp_path: Path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "audit-notes.jsonl").write_text("mine")
    store = a_store(tmp_path)
    store.append([record()], held=[], until=NOW)
    assert store.find(A)[1] == [record()]
    assert (tmp_path / "audit" / "audit-notes.jsonl").read_text() == "mine"


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """A write ends where the file has that many bytes, as on a disk that has no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_failed_does_not_move_the_time_up_to_which_nothing_is_missing(tmp_path: Path):
    """The agent may be killed before the disk has room: then that time is where the hole begins."""
    store = a_store(tmp_path)
    store.append([record()], held=[], until=NOW)
    (file,) = files(tmp_path)
    size = file.stat().st_size
    with full_disk(size + 10), pytest.raises(AzureCniError, match="disk full"):
        store.append([record(A, AuditKind.RETURNED)], held=[], until="2026-11-28T07:00:00Z")
    assert store.seen_until() == NOW
    assert file.stat().st_size == size


def test_a_new_file_that_could_not_be_written_is_not_begun(tmp_path: Path):
    """It would lack what was held, with which each file begins."""
    now = Now()
    store = a_store(tmp_path, now)
    store.append([record(B)], held=[], until=NOW)
    now.s += DAY_S
    with full_disk(10), pytest.raises(AzureCniError, match="disk full"):
        store.append([record()], held=[record(B, AuditKind.HELD)], until="2026-11-29T06:30:00Z")
    assert store.seen_until() == NOW
    store.append([record()], held=[record(B, AuditKind.HELD)], until="2026-11-29T06:31:00Z")
    _, newest = files(tmp_path)
    assert b'"event":"held"' in newest.read_bytes().splitlines()[0]


def test_all_records_are_walked_in_their_order_over_files_and_broken_lines(tmp_path: Path):
    store = a_store(tmp_path, most_bytes=8 * KIB)
    made = [record(A, time=f"2026-11-28T06:00:{second:02}Z") for second in range(20)]
    for one in made:
        store.append([one], held=[], until=NOW)
    assert len(files(tmp_path)) > 1
    with files(tmp_path)[-1].open("a") as newest:
        newest.write('{"time": "2026')
    assert list(store.walk()) == made
    assert list(a_store(tmp_path / "none").walk()) == []
