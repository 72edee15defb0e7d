"""How many addresses pods had, hour by hour, counted from the audit trail; what was not seen is said."""

from __future__ import annotations

import msgspec

from azure_cni.api.audit_reports import UsageHour
from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.ipam.usage_history import MOST_HOURS, usage_hours, usage_records
from azure_cni.model.text import time_text

FIRST = 490_000
"""An hour."""
T = FIRST * 3600.0
GIVEN, TAKEN, HELD, STARTED = AuditKind.ASSIGNED, AuditKind.RETURNED, AuditKind.HELD, AuditKind.STARTED


def record(
    at_s: float, event: AuditKind, address: int = 0, *, before_s: float | None = None, node: str = "vm1"
) -> AuditRecord:
    since = "" if before_s is None else time_text(T + before_s)
    shown = f"10.0.0.{address}" if address else ""
    return AuditRecord(time=time_text(T + at_s), event=event.value, node=node, address=shown, not_before=since)


def hours(*records: AuditRecord, until_s: float) -> list[UsageHour]:
    return usage_hours(records, node="vm1", now_s=T + until_s)


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


def test_a_clock_that_was_ahead_for_a_while_hides_nothing_that_came_after():
    """A day in the next century, put right a minute later; each hour since has what its records say."""
    century_s = 100 * 365 * 24 * 3600.0
    found = hours(
        record(0, GIVEN, 1), record(century_s, GIVEN, 2), record(century_s + 60, HELD, 1), record(3600, GIVEN, 3),
        record(7200, TAKEN, 2), record(7201, TAKEN, 3), until_s=3 * 3600,
    )  # fmt: skip
    assert [(one.hour - FIRST, one.peak, one.started) for one in found] == [(0, 2, 2), (1, 3, 1), (2, 3, 0), (3, 1, 0)]


def test_a_trail_that_begins_with_a_clock_that_was_ahead_has_who_had_an_address_then():
    century_s = 100 * 365 * 24 * 3600.0
    found = hours(record(century_s, GIVEN, 1), record(0, GIVEN, 2), record(3600, TAKEN, 2), until_s=7200)
    assert [(one.hour - FIRST, one.peak) for one in found] == [(0, 2), (1, 2), (2, 1)]


def test_what_a_clock_that_went_back_puts_into_one_moment_is_no_burst():
    later = [record(at_s, GIVEN, 2 + number) for number, at_s in enumerate(range(0, 3000, 100))]
    (found,) = hours(record(3500, GIVEN, 1), *later, until_s=3550)
    assert (found.started, found.burst) == (31, 1)


def test_what_another_node_wrote_on_a_disk_that_was_copied_is_none_of_this_nodes_past():
    others = [record(-90_000, GIVEN, number, node="vm7") for number in range(1, 60)]
    summed = usage_records(others, node="vm7", now_s=T - 80_000)
    nameless = [msgspec.structs.replace(one, node="") for one in summed]  # as agents of before wrote them
    for copied in (others, summed, [*nameless, *others]):
        found = hours(*copied, record(0, STARTED, before_s=-80_000.0), record(0, GIVEN, 1), until_s=10)
        assert {one.peak for one in found} <= {0, 1}
        assert found[-1] == UsageHour(FIRST, peak=1, started=1, burst=1)


def test_hours_of_before_that_name_no_node_are_those_of_who_wrote_next():
    own = usage_records([record(-7200, GIVEN, 1), record(-3600, GIVEN, 2)], node="vm1", now_s=T - 60)
    nameless = [msgspec.structs.replace(one, node="") for one in own]
    assert own[0].node == "vm1"
    for summed in (own, nameless):
        assert [one.peak for one in hours(*summed, record(0, HELD, 1), until_s=10)] == [1, 2, 1]
    assert [one.peak for one in hours(*nameless, until_s=10)] == [1, 2, 0]


def test_a_trail_without_an_end_is_bounded():
    odd = AuditRecord(time="1970-01-02T00:00:00Z", event=GIVEN.value, address="10.0.0.1")
    nonsense = AuditRecord(time="yesterday", event=GIVEN.value, address="10.0.0.2")
    found = hours(odd, nonsense, record(0, STARTED, before_s=-T), until_s=10)
    assert len(found) <= MOST_HOURS
    assert found[-1].hour == FIRST
    assert usage_hours([nonsense], node="vm1", now_s=T) == []
