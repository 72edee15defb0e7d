"""What the audit trail says of the writes of a NIC."""

from __future__ import annotations

from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.ipam.nic_writes import MOST_WRITES, NicWrite, difference, write_record, writes_report
from azure_cni.model.text import time_text
from unit.ipam.views import address, view


def record(at_s: float, write: NicWrite | None = None, **more: str) -> AuditRecord:
    if write is not None:
        return write_record(write, time=time_text(at_s), node="vm1", writer="agent")
    return AuditRecord(time=time_text(at_s), **more)  # type: ignore[arg-type]


def test_who_why_what_etag_and_result_are_what_was_written_down():
    grown = NicWrite("2 pods wait", 16, 0, 1, "Succeeded", 'W/"2"', came=("10.0.0.9",))
    report = writes_report("vm1", time_text(1), [record(5, grown)])
    (write,) = report.writes
    assert (report.node, report.begins) == ("vm1", time_text(1))
    assert (write.time, write.writer, write.reason, write.result, write.etag) == (
        time_text(5), "agent", "2 pods wait", "Succeeded", 'W/"2"',
    )  # fmt: skip
    assert (write.added, write.removed, write.attached, write.came, write.went) == (16, 0, 1, ("10.0.0.9",), ())


def test_what_changed_is_what_the_nic_has():
    before, after = view([1, 2]), view([2, 3])
    came, went = difference(before, after)
    assert (came, went) == ((str(address(3)),), (str(address(1)),))
    assert difference(before, before) == ((), ())


def test_holes_are_told_and_only_the_newest_writes():
    write = NicWrite("keep addresses ready", 1, 0, 0, "Throttled", 'W/"1"')
    old, new = (record(at, event=AuditKind.STARTED, not_before=time_text(at - 5)) for at in (10, 10_000))
    many = (record(20 + number, write) for number in range(MOST_WRITES + 3))
    report = writes_report("vm1", time_text(10), [old, *many, new])
    assert len(report.writes) == MOST_WRITES
    assert report.begins == report.writes[0].time == time_text(23)
    assert [(one.begin, one.end) for one in report.holes] == [(time_text(9995), time_text(10_000))]
    assert writes_report("vm1", "", []).begins == ""


def test_lines_that_cannot_be_read_are_a_hole():
    write = NicWrite("2 pods wait", 16, 0, 0, "Succeeded", 'W/"2"')
    lost = AuditRecord(time_text(9), AuditKind.UNREADABLE.value, not_before=time_text(5), lost=2)
    report = writes_report("vm1", time_text(1), [record(5, write), lost, record(9, write)])
    assert [(one.begin, one.end, one.lost) for one in report.holes] == [(time_text(5), time_text(9), 2)]
    assert len(report.writes) == 2
