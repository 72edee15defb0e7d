"""The audit trail's files: bounded in size and age, private, readable after a crash, each by itself."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from azure_cni.errors import AzureCniError
from azure_cni.host.audit_files import AGED_PACE_S, DAY_S, FILES, AuditLimits, FileAuditStore
from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.ipam.usage_history import usage_hours
from azure_cni.model.text import time_text
from fakes.waiting import PATIENCE_S, no_longer_than

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
    now = now or Now()
    return FileAuditStore(limits, now_s=now, elapsed_s=now)


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
        first, second, *_ = file.read_bytes().splitlines()
        assert b'"event":"usage"' in first
        assert b'"event":"held"' in second


def test_files_end_after_a_day_and_are_deleted_after_their_days(tmp_path: Path):
    now = Now()
    store = a_store(tmp_path, now, days=3)
    for _ in range(10):
        store.append([record()], held=[], until=time_text(now.s))
        now.s += DAY_S
    assert len(files(tmp_path)) == 4


def test_a_clock_that_is_ten_years_wrong_for_a_while_deletes_one_file_and_leaves_no_endless_one(tmp_path: Path):
    now, elapsed = Now(), Now()
    limits = AuditLimits(tmp_path / "audit", most_bytes=1 << 20, longest_s=30 * DAY_S)
    store = FileAuditStore(limits, now_s=now, elapsed_s=elapsed)
    for _ in range(29):
        store.append([record()], held=[], until=time_text(now.s))
        now.s += DAY_S
        elapsed.s += DAY_S
    for _ in range(3):
        now.s += 3650 * DAY_S
        store.append([record(B)], held=[], until=time_text(now.s))
        now.s -= 3650 * DAY_S
        store.append([record(B)], held=[], until=time_text(now.s))
        elapsed.s += 60
    assert len(store.find(A)[1]) == 28
    future = [file for file in files(tmp_path) if int(file.stem.split("-")[2]) > now.s + DAY_S]
    assert len(future) == 3
    assert files(tmp_path)[-1] not in future


def test_what_is_too_old_goes_file_by_file_after_a_long_absence(tmp_path: Path):
    now = Now()
    store = a_store(tmp_path, now, days=3)
    for _ in range(3):
        store.append([record()], held=[], until=time_text(now.s))
        now.s += DAY_S
    now.s += 40 * DAY_S
    for left in (3, 2, 1):
        store.append([record(B)], held=[], until=time_text(now.s))
        assert len(files(tmp_path)) == left
        now.s += AGED_PACE_S


def test_a_line_that_cannot_be_read_is_a_hole_and_harms_no_other(tmp_path: Path):
    store = a_store(tmp_path)
    store.append([record()], held=[], until=NOW)
    (file,) = files(tmp_path)
    with file.open("ab") as stream:
        stream.write(b'{"time":"2026-11-28T06:00:00Z","event":"ret')
    store.append([record(A, AuditKind.RETURNED)], held=[], until=NOW)
    with file.open("ab") as stream:
        stream.write(b"\xff\xfe garbage with 10.240.0.36\n" + b"[" * 200_000 + b"\n")
    store.mark_alive(NOW)
    _, found = store.find(A)
    assert [one.event for one in found] == ["assigned", "unreadable", "returned", "unreadable"]
    assert [one.lost for one in found] == [0, 1, 0, 2]
    assert found[1].not_before == found[1].time == "2026-11-28T06:00:00Z"
    assert (found[3].not_before, found[3].time) == ("2026-11-28T06:00:00Z", NOW)
    assert [one.event for one in store.walk()] == ["assigned", "returned"]


def test_writes_of_the_nic_are_found_with_all_holes_and_lines_that_cannot_be_read(tmp_path: Path):
    store = a_store(tmp_path)
    started = AuditRecord(time="2026-11-28T05:00:00Z", event=AuditKind.STARTED.value)
    write = AuditRecord(time="2026-11-28T06:01:00Z", event=AuditKind.NIC_WRITTEN.value, added=16, result="Succeeded")
    store.append([record(), started, write], held=[], until=NOW)
    (file,) = files(tmp_path)
    with file.open("ab") as stream:
        stream.write(b'{"time":"2026-11-28T06:02:00Z","event":"nicWr')
    store.append([record(B), write], held=[], until=NOW)
    begins, found = store.find_writes()
    assert begins == record().time
    assert [one.event for one in found if one.event != AuditKind.ASSIGNED] == [
        "started", "nicWritten", "unreadable", "nicWritten",
    ]  # fmt: skip
    lost = found[-2]
    assert (lost.lost, lost.not_before) == (1, "2026-11-28T06:01:00Z")
    assert a_store(tmp_path / "nothing").find_writes() == ("", [])


LONG = "x" * 70_000
"""Longer than any line that is written since there are bounds for what a runtime sends."""


@pytest.mark.parametrize("field", ["container", "pod"])
def test_a_holder_whose_line_is_too_long_to_be_read_is_a_hole(tmp_path: Path, field: str):
    store = a_store(tmp_path)
    long = msgspec.structs.replace(record(time="2026-11-28T06:00:10Z"), **{field: LONG})
    last = record(B, time="2026-11-28T06:00:20Z")
    store.append([record(B), long, last], held=[], until=NOW)
    begins, found = store.find(A)
    assert begins == "2026-11-28T06:00:00Z"
    assert [(one.event, one.not_before, one.time, one.lost) for one in found] == [
        ("unreadable", begins, last.time, 1),
    ]


@pytest.mark.parametrize("changed", [b"", b"{}", b"\0" * 300, b'{"address":"10.240.0.36"}', b"no record"])
def test_a_line_that_somebody_changed_is_a_hole(tmp_path: Path, changed: bytes):
    store = a_store(tmp_path)
    store.append([record(B), record(), record(B)], held=[], until=NOW)
    (file,) = files(tmp_path)
    first, _, last = file.read_bytes().splitlines()
    file.write_bytes(first + b"\n" + changed + b"\n" + last + b"\n")
    assert [one.event for one in store.find(A)[1]] == ["unreadable"]


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_a_fifo(path: Path) -> None:
    os.mkfifo(path.with_name("fifo"))
    path.symlink_to(path.with_name("fifo"))


def a_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("thing", [a_fifo, a_link_to_a_fifo, a_directory])
@pytest.mark.parametrize("number", ["00000000", "00000001", "99999999"])
def test_what_is_no_file_is_passed_over(tmp_path: Path, thing: Callable[[Path], None], number: str):
    (tmp_path / "audit").mkdir()
    thing(tmp_path / "audit" / f"audit-{number}-1795846766.jsonl")
    store = a_store(tmp_path)
    with no_longer_than(PATIENCE_S):
        for _ in range(3):
            store.append([record()], held=[], until=NOW)
        assert store.find(A)[1] == [record()] * 3
        assert len([file for file in files(tmp_path) if file.is_file() and not file.is_symlink()]) == 1


def test_a_file_of_the_last_number_is_followed_by_ours_and_leaves_the_bound_of_all(tmp_path: Path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "audit-99999999-1.jsonl").write_text("")
    now = Now()
    store = a_store(tmp_path, now, most_bytes=64 * KIB)
    for _ in range(600):
        store.append([record()], held=[], until=time_text(now.s))
        now.s += 1
    assert len(store.find(A)[1]) > 0
    assert len(files(tmp_path)) <= FILES + 1
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 64 * KIB * (FILES + 1) // FILES


def test_the_newest_file_says_up_to_when_nothing_is_missing(tmp_path: Path):
    now = Now()
    store = a_store(tmp_path, now)
    assert store.seen_until() == ""
    store.mark_alive(NOW)
    store.append([record()], held=[], until="2026-11-28T06:19:20Z")
    assert store.seen_until() == "2026-11-28T06:19:20Z"
    store.mark_alive("2026-11-28T07:19:26Z")
    assert store.seen_until() == "2026-11-28T07:19:26Z"


@pytest.mark.parametrize(("at_s", "until"), [(10**12, "9999-12-31T23:59:59Z"), (-(10**12), "1970-01-01T00:00:00Z")])
def test_a_time_that_no_calendar_has_stops_no_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_s: int, until: str
):
    """Only some file systems keep such times; here it is what `stat` says."""
    store = a_store(tmp_path)
    store.append([record()], held=[], until=NOW)
    stat_of = Path.stat

    def odd(path: Path, **options: bool) -> os.stat_result:
        found = stat_of(path, **options)
        return os.stat_result((*found[:8], at_s, found[9]), {"st_mtime": float(at_s)}) if path.suffix else found

    monkeypatch.setattr(Path, "stat", odd)
    assert store.seen_until() == until
    assert store.find(A)[1] == [record()]


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
    assert b'"event":"held"' in newest.read_bytes().splitlines()[1]


def test_all_records_are_walked_in_their_order_over_files_and_broken_lines(tmp_path: Path):
    store = a_store(tmp_path, most_bytes=8 * KIB)
    made = [record(A, time=f"2026-11-28T06:00:{second:02}Z") for second in range(20)]
    for one in made:
        store.append([one], held=[], until=NOW)
    assert len(files(tmp_path)) > 1
    with files(tmp_path)[-1].open("a") as newest:
        newest.write('{"time": "2026')
    assert [one for one in store.walk() if one.event != AuditKind.USAGE] == made
    assert list(a_store(tmp_path / "none").walk()) == []


def test_the_hours_outlive_the_files_that_they_were_counted_from(tmp_path: Path):
    """A node on which many pods come and go: its files are deleted within days, and the forecast needs weeks."""
    now = Now()
    small, large = (
        FileAuditStore(AuditLimits(tmp_path / name, most_bytes, 60 * DAY_S), now_s=now, elapsed_s=now)
        for name, most_bytes in (("small", 256 * KIB), ("large", 1 << 24))
    )
    for hour in range(20 * 24):
        moment = time_text(now.s)
        given = [record(f"10.0.0.{number}", AuditKind.ASSIGNED, moment) for number in range(3 + hour % 24)]
        taken = [record(one.address, AuditKind.RETURNED, moment) for one in given]
        for store in (small, large):
            store.append([*given, *taken], held=[], until=moment)
        now.s += 3600
    kept, whole = (usage_hours(store.walk(), node="vm1", now_s=now.s) for store in (small, large))
    assert len(list(small.walk())) < len(list(large.walk())) / 2
    assert kept == whole
    assert len(whole) == 20 * 24 + 1
    assert {one.node for one in small.walk()} == {"vm1"}
    assert small.find("10.0.0.1")[1] == [one for one in small.walk() if one.address == "10.0.0.1"]
