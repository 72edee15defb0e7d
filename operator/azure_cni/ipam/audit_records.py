"""The audit trail: which pod had which address from when to when, as records in the order in which they happened.

A trail may have holes: the agent was killed before its last second was written, the disk was full, the node was off. A
hole is a record of its own (`started`, `gap`), and right after it come records of all that is held (`held`), with the
times that the ledger knows. So whoever had an address before a hole and is not named after it gave it back within the
hole, nobody knows when; that is what is said then, and nothing is made up. A new file begins with `held` records as
well, so that each file can be read without those that were deleted before it.

The node's clock may be set back. Then what ends before it begins is turned round, and all in between is uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final

import msgspec

from azure_cni.api.audit_reports import HoleReport, TenureReport, UsageHour
from azure_cni.ipam.address_state import Holder
from azure_cni.ipam.ledger import Change, Ledger


class AuditKind(StrEnum):
    """What a record says."""

    ASSIGNED = "assigned"
    RETURNED = "returned"
    HELD = "held"
    """A pod has it, since `since`: after a hole, at the top of each file, and once a container's name is known."""
    STARTED = "started"
    """An agent began; what happened since `not_before` was not seen."""
    GAP = "gap"
    """`lost` records could not be written since `not_before`."""
    NIC_WRITTEN = "nicWritten"
    USAGE = "usage"
    """How many addresses pods had in each hour before: at the top of each file, so that it outlives the others."""
    UNREADABLE = "unreadable"
    """`lost` lines since `not_before` cannot be read. In no file: whoever reads the files finds it."""


HOLES: Final = frozenset({AuditKind.STARTED, AuditKind.GAP})
OF_HOLDERS: Final = frozenset({AuditKind.ASSIGNED, AuditKind.RETURNED, AuditKind.HELD})


class AuditRecord(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One line. Times are RFC 3339, UTC, whole seconds, by the node's clock."""

    time: str
    event: str
    node: str = ""
    address: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    container: str = ""
    network: str = ""
    since: str = ""
    not_before: str = ""
    lost: int = 0
    reason: str = ""
    added: int = 0
    removed: int = 0
    result: str = ""
    etag: str = ""
    hours: tuple[UsageHour, ...] = ()
    writer: str = ""
    attached: int = 0
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()
    """The last four of a write: `agent` or `controller`; of how many pods it changes what they have attached; and which
    addresses the NIC has since, and no longer."""


@dataclass(frozen=True, slots=True)
class Handover:
    """An address that a change gives to a holder, or takes from one."""

    address: IPv4Address
    holder: Holder
    assigned: bool


def handovers(ledger: Ledger, change: Change) -> tuple[Handover, ...]:
    """Who gets and who loses an address by a change that the ledger has not made yet; what was taken comes first."""
    after = {slot.address: slot.holder for slot in change.put} | dict.fromkeys(change.drop)
    taken, given = list[Handover](), list[Handover]()
    for address, holder in after.items():
        slot = ledger.find(address)
        before = slot.holder if slot is not None else None
        if _same(before, holder):
            continue
        if before is not None:
            taken.append(Handover(address, before, assigned=False))
        if holder is not None:
            given.append(Handover(address, holder, assigned=True))
    return (*taken, *given)


def record_of(handover: Handover, *, time: str, node: str) -> AuditRecord:
    """As it is written."""
    return holder_record(
        AuditKind.ASSIGNED if handover.assigned else AuditKind.RETURNED,
        handover.address,
        handover.holder,
        time=time,
        node=node,
    )


def holder_record(
    kind: AuditKind, address: IPv4Address, holder: Holder, *, time: str, node: str, since: str = ""
) -> AuditRecord:
    """One that names a holder."""
    return AuditRecord(
        time=time,
        event=kind.value,
        node=node,
        address=str(address),
        namespace=holder.pod_namespace,
        pod=holder.pod_name,
        uid=holder.pod_uid,
        container=holder.sandbox.container_id,
        network=holder.sandbox.network,
        since=since,
    )


class _Reading:
    """Puts the records of one address together."""

    def __init__(self) -> None:
        self.tenures: list[TenureReport] = []
        self.holes: list[HoleReport] = []
        self._running: AuditRecord | None = None
        self._hole: HoleReport | None = None
        """The one right before the next record."""
        self._doubtful_since = ""
        """A line that says that the running one ended may be among those that cannot be read; "" when none is."""

    def read(self, record: AuditRecord) -> None:
        """The next one."""
        if record.event == AuditKind.UNREADABLE:
            self._doubt(record)
            return
        if record.event in HOLES:
            if self._hole is not None:  # nobody was named after the one before
                self.finish()
            begin, end = sorted((record.not_before, record.time))
            self._hole = HoleReport(record.event, begin, end, record.lost)
            self.holes.append(self._hole)
            return
        if record.event not in OF_HOLDERS:
            return
        if self._running is not None and record.event == AuditKind.HELD and _continues(self._running, record):
            self._running = msgspec.structs.replace(self._running, pod=record.pod or self._running.pod)
            self._hole, self._doubtful_since = None, ""
            return
        if record.event == AuditKind.RETURNED and _continues(self._running, record) and self._hole is None:
            self._end(record.time)
            return
        self.finish(record.since or record.time)
        if record.event != AuditKind.RETURNED:
            self._running = record

    def finish(self, at: str = "") -> None:
        """Nobody says when the one that is running ended, if it did; by `at` another one had the address."""
        if self._hole is not None:
            self._end(self._hole.end, self._hole.begin)
        elif self._running is not None and at:
            self._end(at, self._running.since or self._running.time)
        elif self._running is not None:
            self._end("", self._doubtful_since)
        self._hole = None

    def _doubt(self, record: AuditRecord) -> None:
        """No record of who has what follows such lines, as one does after a hole: so who had it may have it still."""
        begin, end = sorted((record.not_before, record.time))
        self.holes.append(HoleReport(record.event, begin, end, record.lost))
        if self._hole is not None:
            begin, self._hole = self._hole.begin, None
        self._doubtful_since = self._doubtful_since or begin

    def _end(self, at: str, not_before: str = "") -> None:
        """`at` "" for one that lasts; `not_before`: it ended between the two."""
        record, self._running, self._doubtful_since = self._running, None, ""
        if record is None:
            return
        begin = record.since or record.time
        if at and at < begin:
            begin, at, not_before = at, begin, at
        if not_before:
            not_before = max(begin, not_before)
        report = TenureReport(
            node=record.node,
            namespace=record.namespace,
            pod=record.pod,
            uid=record.uid,
            container=record.container,
            begin=begin,
            end=at,
            end_not_before=not_before,
            network=record.network,
        )
        self.tenures.append(report)


def tenures(records: Iterable[AuditRecord]) -> tuple[list[TenureReport], list[HoleReport]]:
    """Who had the one address that the records are about, oldest first; and the holes among them.

    The records are in their order: those of the address, and all holes.
    """
    reading = _Reading()
    for record in records:
        reading.read(record)
    reading.finish()
    return reading.tenures, reading.holes


def _continues(running: AuditRecord | None, record: AuditRecord) -> bool:
    return running is not None and running.container == record.container


def _same(one: Holder | None, other: Holder | None) -> bool:
    """Whether the same pod has it: a repeated ADD may name another path of its namespace, or another network."""
    if one is None or other is None:
        return one is other
    return one.sandbox.interface == other.sandbox.interface
