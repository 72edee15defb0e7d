"""How many addresses pods had, hour by hour, counted from the audit trail; what was not seen is said."""

from __future__ import annotations

from azure_cni.api.audit_reports import UsageHour
from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.ipam.usage_history import MOST_HOURS, usage_hours
from azure_cni.model.text import time_text

FIRST = 490_000
"""An hour."""
T = FIRST * 3600.0
GIVEN, TAKEN, HELD, STARTED = AuditKind.ASSIGNED, AuditKind.RETURNED, AuditKind.HELD, AuditKind.STARTED


def record(at_s: float, event: AuditKind, address: int = 0, *, before_s: float | None = None) -> AuditRecord:
    since = "" if before_s is None else time_text(T + before_s)
    shown = f"10.0.0.{address}" if address else ""
    return AuditRecord(time=time_text(T + at_s), event=event.value, address=shown, not_before=since)


def hours(*records: AuditRecord, until_s: float) -> list[UsageHour]:
    return usage_hours(records, now_s=T + until_s)


def test_peaks_starts_and_bursts_are_those_of_the_hour():
    found = hours(
        record(10, GIVEN, 1), record(20, GIVEN, 2), record(30, TAKEN, 1), record(75, GIVEN, 3), record(76, GIVEN, 4),
        record(3700, TAKEN, 2), until_s=3 * 3600 + 5,
    )  # fmt: skip
    assert found == [
        UsageHour(FIRST, peak=3, started=4, burst=3),
        UsageHour(FIRST + 1, peak=3),
        UsageHour(FIRST + 2, peak=2),
        UsageHour(FIRST + 3, peak=2),
    ]


def test_what_is_repeated_at_the_top_of_a_file_counts_once():
    found = hours(record(0, GIVEN, 1), record(9, HELD, 1), record(9, GIVEN, 2), until_s=20)
    assert found == [UsageHour(FIRST, peak=2, started=2, burst=2)]


def test_after_a_hole_only_what_is_held_then_counts_and_the_hole_is_told():
    found = hours(
        record(0, GIVEN, 1), record(0, GIVEN, 2), record(2 * 3600 + 600, STARTED, before_s=1800),
        record(2 * 3600 + 600, HELD, 2), until_s=3 * 3600,
    )  # fmt: skip
    assert [(one.peak, one.unseen_s) for one in found] == [(2, 1800), (2, 3600), (2, 600), (1, 0)]


def test_nic_writes_are_counted_and_no_address():
    found = hours(record(5, AuditKind.NIC_WRITTEN), record(6, AuditKind.NIC_WRITTEN), until_s=10)
    assert found == [UsageHour(FIRST, writes=2)]


def test_a_clock_that_is_set_back_does_not_rewrite_the_past():
    found = hours(record(7200, GIVEN, 1), record(0, GIVEN, 2), until_s=7300)
    assert [(one.hour, one.peak) for one in found] == [(FIRST + 2, 2)]


def test_a_trail_without_an_end_is_bounded():
    odd = AuditRecord(time="1970-01-02T00:00:00Z", event=GIVEN.value, address="10.0.0.1")
    nonsense = AuditRecord(time="yesterday", event=GIVEN.value, address="10.0.0.2")
    found = hours(odd, nonsense, record(0, STARTED, before_s=-T), until_s=10)
    assert len(found) <= MOST_HOURS
    assert found[-1].hour == FIRST
    assert usage_hours([nonsense], now_s=T) == []
