"""How many addresses pods had, hour by hour, and how fast pods came: counted from the records of the audit trail. Pure.

What a trail did not see is not made up: each hour says how long it was not watched, and its figures are of the rest.
Each file of a trail begins with the hours before it, so a node on which many pods come and go, whose files are deleted
sooner, has a past as long as others. On a VM whose disk was made from another node's the trail has that one's records,
too: they are none of this node's past.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from azure_cni.api.audit_reports import UsageHour
from azure_cni.ipam.audit_records import HOLES, AuditKind, AuditRecord
from azure_cni.model.text import seconds_of, time_text

HOUR_S: Final = 3600
BURST_S: Final = 60.0
"""About as long as a write of a NIC takes, from the request to its end: what starts meanwhile needs a free address."""
MOST_HOURS: Final = 24 * 35
"""Five weeks: the forecast looks at four."""


class _Counting:
    """Goes through the records once; hours are numbered from 1970. It is `now_s`, and no record is from later."""

    def __init__(self, now_s: float) -> None:
        self._newest_s = now_s
        self.hours: dict[int, UsageHour] = {}
        self._held: set[str] = set()
        self._starts: deque[float] = deque()
        self._now_s: float | None = None

    def read(self, record: AuditRecord, at_s: float) -> None:
        """The next one. One that is of before the last (a clock set back), or of a time that has not come (a clock that
        was ahead), counts as of the last: that it followed that one is all that is known.
        """
        if record.event == AuditKind.USAGE:
            if not self.hours:  # else the records that it sums up were read
                newest = int(min(at_s, self._newest_s)) // HOUR_S
                self.hours = {hour.hour: hour for hour in record.hours if hour.hour <= newest}
            return
        last_s = self._now_s
        if last_s is None and at_s > self._newest_s:  # nothing is known of when: only who has an address then
            self._note(record)
            return
        sure = at_s <= self._newest_s and (last_s is None or last_s <= at_s)
        at_s = at_s if sure or last_s is None else last_s
        self.pass_to(at_s)
        self._note(record)
        if record.event in HOLES:
            self._forget(seconds_of(record.not_before) or at_s, at_s)
        elif record.event in {AuditKind.ASSIGNED, AuditKind.HELD}:
            self._count(at_s, started=record.event == AuditKind.ASSIGNED, sure=sure)
        elif record.event == AuditKind.NIC_WRITTEN:
            self._add(at_s, writes=1)

    def _note(self, record: AuditRecord) -> None:
        """Who has an address after it. After a hole the records behind that say."""
        if record.event in HOLES:
            self._held.clear()
        elif record.event == AuditKind.RETURNED:
            self._held.discard(record.address)
        elif record.event in {AuditKind.ASSIGNED, AuditKind.HELD}:
            self._held.add(record.address)

    def pass_to(self, at_s: float) -> None:
        """Until then nothing changed: whoever has an address has it in each hour between."""
        first = at_s if self._now_s is None else self._now_s
        oldest = int(at_s) // HOUR_S - MOST_HOURS
        for hour in range(max(int(first) // HOUR_S, oldest), int(at_s) // HOUR_S + 1):
            self._add(hour * HOUR_S, peak=len(self._held))
        self._now_s = at_s

    def _count(self, at_s: float, *, started: bool, sure: bool) -> None:
        """`sure`: it was then; else it may have been at any time, with others or alone, and is no burst."""
        if started and sure:
            self._starts.append(at_s)
        while self._starts and self._starts[0] <= at_s - BURST_S:
            self._starts.popleft()
        burst = len(self._starts) if started and sure else 0
        self._add(at_s, peak=len(self._held), started=int(started), burst=burst)

    def _forget(self, begin_s: float, end_s: float) -> None:
        """A hole."""
        oldest = int(end_s) // HOUR_S - MOST_HOURS
        for hour in range(max(int(begin_s) // HOUR_S, oldest), int(end_s) // HOUR_S + 1):
            unseen_s = min(end_s, (hour + 1) * HOUR_S) - max(begin_s, hour * HOUR_S)
            self._add(hour * HOUR_S, unseen_s=max(0, round(unseen_s)))

    def _add(
        self, at_s: float, *, peak: int = 0, started: int = 0, burst: int = 0, writes: int = 0, unseen_s: int = 0
    ) -> None:
        hour = int(at_s) // HOUR_S
        old = self.hours.get(hour, UsageHour(hour))
        self.hours[hour] = UsageHour(
            hour=hour,
            peak=max(old.peak, peak),
            started=old.started + started,
            burst=max(old.burst, burst),
            writes=old.writes + writes,
            unseen_s=min(HOUR_S, old.unseen_s + unseen_s),
        )


def usage_hours(records: Iterable[AuditRecord], *, node: str, now_s: float) -> list[UsageHour]:
    """The newest hours of that node up to now, oldest first; the records are all of its trail, in their order. Empty
    without any.
    """
    counting = _Counting(now_s)
    for record in _own(records, node):
        at_s = seconds_of(record.time)
        if at_s is not None:
            counting.read(record, at_s)
    if not counting.hours:
        return []
    counting.pass_to(now_s)
    return [counting.hours[hour] for hour in sorted(counting.hours)][-MOST_HOURS:]


def usage_records(records: Iterable[AuditRecord], *, node: str, now_s: float) -> list[AuditRecord]:
    """One that sums up the node's hours of all these, to begin a new file with; none where nothing was counted."""
    hours = usage_hours(records, node=node, now_s=now_s)
    return [AuditRecord(time_text(now_s), AuditKind.USAGE.value, node, hours=tuple(hours))] if hours else []


def _own(records: Iterable[AuditRecord], node: str) -> Iterator[AuditRecord]:
    """Without those of another node. Agents of before wrote none beside the hours: these are of whoever wrote next."""
    nameless: list[AuditRecord] = []
    for record in records:
        if not record.node:
            nameless.append(record)
            continue
        if record.node == node:
            yield from nameless
            yield record
        nameless.clear()
    yield from nameless
