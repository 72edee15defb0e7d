"""The writes of a node's NIC in its audit trail: who made them, why, what they changed, and what came of it. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from azure_cni.api.audit_reports import HoleReport, NicWriteReport, WritesReport
from azure_cni.ipam.audit_records import HOLES, AuditKind, AuditRecord
from azure_cni.model.nic import NicView

MOST_WRITES: Final = 2000
"""In one answer, the newest: a node that writes its NIC 60 times a day has as many in a month."""


@dataclass(frozen=True, slots=True)
class NicWrite:
    """A write that was made, or tried. `added` and `removed` count addresses for pods, as they were asked for.

    `attached`: of how many pods it changes what they have attached. `result` is `Succeeded`, or the reason of its
    failure; `etag` that of the NIC afterwards, or before a write that failed. `came` and `went`: the addresses that the
    NIC has since, and no longer; empty where nobody has seen it.
    """

    reason: str
    added: int
    removed: int
    attached: int
    result: str
    etag: str
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()


def difference(before: NicView, after: NicView) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses beside the primary one that only `after` has, and those that only `before` had."""
    had, has = ({address for config in view.secondaries for address in config.addresses} for view in (before, after))
    return tuple(map(str, sorted(has - had))), tuple(map(str, sorted(had - has)))


def write_record(write: NicWrite, *, time: str, node: str, writer: str) -> AuditRecord:
    """As it is written down."""
    return AuditRecord(
        time=time,
        event=AuditKind.NIC_WRITTEN.value,
        node=node,
        reason=write.reason,
        added=write.added,
        removed=write.removed,
        result=write.result,
        etag=write.etag,
        writer=writer,
        attached=write.attached,
        came=write.came,
        went=write.went,
    )


def writes_report(node: str, begins: str, records: Iterable[AuditRecord]) -> WritesReport:
    """The writes of a trail since `begins`, by its records of writes and holes in their order.

    The newest MOST_WRITES, and holes since the first of those.
    """
    holes = list[HoleReport]()
    writes: deque[NicWriteReport] = deque()
    for record in records:
        if record.event in HOLES or record.event == AuditKind.UNREADABLE:
            begin, end = sorted((record.not_before, record.time))
            holes.append(HoleReport(record.event, begin, end, record.lost))
        elif record.event == AuditKind.NIC_WRITTEN:
            writes.append(_report(record))
            if len(writes) > MOST_WRITES:
                writes.popleft()
                begins = writes[0].time
    return WritesReport(node, begins, list(writes), [one for one in holes if one.end >= begins])


def _report(record: AuditRecord) -> NicWriteReport:
    return NicWriteReport(
        time=record.time,
        writer=record.writer,
        reason=record.reason,
        added=record.added,
        removed=record.removed,
        attached=record.attached,
        came=record.came,
        went=record.went,
        result=record.result,
        etag=record.etag,
    )
