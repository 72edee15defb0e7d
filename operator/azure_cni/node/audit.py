"""Keeps the audit trail of one node: what the ledger hands over is noted at once in memory, and written a moment later.

No ADD waits for a disk. What a killed agent had not written yet is lost; the next one begins with a record that says
since when (`ipam.audit_records`). The store is written in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Final, Protocol

from azure_cni.api.audit_reports import AuditReport, UsageReport, WritesReport
from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import Holder, Slot
from azure_cni.ipam.audit_records import (
    HOLES,
    AuditKind,
    AuditRecord,
    Handover,
    holder_record,
    record_of,
    tenures,
)
from azure_cni.ipam.nic_writes import NicWrite, write_record, writes_report
from azure_cni.ipam.usage_history import usage_hours
from azure_cni.model.text import seconds_of, time_text
from azure_cni.node.ports import Clock

log = logging.getLogger(__name__)

BATCH_S: Final = 0.5
"""A burst of pods is one write."""
ALIVE_S: Final = 60.0
"""How often the trail is marked as seen up to now, while nothing happens: holes are no longer than needed."""
AGAIN_S: Final = 10.0
UNSYNCED_S: Final = 60.0
"""Of what was written before a reboot: a node that loses power keeps a file's time for longer than its last half minute
of data, which the kernel writes back by itself (30 s and a turn of 5 s, vm.dirty_expire_centisecs)."""
MOST_WAITING: Final = 5000
"""Records that wait for a disk that takes none: an hour of ten pods a minute, and three megabytes."""


class AuditStore(Protocol):
    """Where the trail is kept. AzureCniError from each method; each may take as long as a disk does."""

    def append(self, records: Sequence[AuditRecord], *, held: Sequence[AuditRecord], until: str) -> None:
        """Write all of them behind what is there. `held`: what a new file begins with, as it was before them. `until`:
        up to then (RFC 3339) nothing is missing; what was noted later may still wait.
        """

    def mark_alive(self, until: str) -> None:
        """Up to then nothing is missing."""

    def seen_until(self) -> str:
        """Up to when nothing is missing, RFC 3339; "" where nothing was ever written."""

    def find(self, address: str) -> tuple[str, Sequence[AuditRecord]]:
        """Since when there are records, and those of an address with all holes, in their order."""

    def find_writes(self) -> tuple[str, Sequence[AuditRecord]]:
        """Since when there are records, and those of writes of the NIC with all holes, in their order."""

    def walk(self) -> Iterable[AuditRecord]:
        """All records, in their order."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is written at once: records, what was held before them, and when they were taken."""

    records: list[AuditRecord]
    before: dict[IPv4Address, tuple[Holder, str]]
    until: str


class AuditTrail:
    """The trail of one node. `handed_over` and `nic_written` are called on the agent's loop and never wait."""

    def __init__(self, store: AuditStore, *, clock: Clock, node: str, nic_writer: str = "agent") -> None:
        self._store = store
        self._clock = clock
        self._node = node
        self._nic_writer = nic_writer
        self._held: dict[IPv4Address, tuple[Holder, str]] = {}
        """Who has what now, as far as it was noted, and since when."""
        self._waiting: list[AuditRecord] = []
        self._written: dict[IPv4Address, tuple[Holder, str]] = {}
        """As `_held`, before the first of those that wait."""
        self._lost = 0
        self._lost_since = ""
        self._something = asyncio.Event()
        self._failing = False
        self._begun = False
        self._turn = asyncio.Lock()
        """One write after another."""

    def loaded(self, slots: Iterable[Slot]) -> None:
        """What the ledger held when this agent began."""
        now_s = self._clock.boottime_s()
        for slot in slots:
            if slot.holder is not None:
                since = self._clock.utc(ahead_s=slot.since_s - now_s)
                self._held[slot.address] = (slot.holder, since)
        self._written = dict(self._held)

    def handed_over(self, changes: Sequence[Handover]) -> None:
        """The ledger has made these."""
        if not changes:
            return
        now = self._clock.utc()
        for change in changes:
            if change.assigned:
                self._held[change.address] = (change.holder, now)
            else:
                self._held.pop(change.address, None)
        self._note([record_of(change, time=now, node=self._node) for change in changes])

    def named(self, names: Mapping[str, str]) -> None:
        """An engine has said what its containers are called, by the container ID of their holders. No pod is one."""
        now = self._clock.utc()
        for address, (holder, since) in list(self._held.items()):
            name = names.get(holder.sandbox.container_id, "")
            if name and name != holder.pod_name and not holder.pod_namespace:
                known = replace(holder, pod_name=name)
                self._held[address] = (known, since)
                self._note([holder_record(AuditKind.HELD, address, known, time=now, node=self._node, since=since)])

    def nic_written(self, write: NicWrite) -> None:
        """The agent has written its NIC or had it written, or tried to."""
        self._note([write_record(write, time=self._clock.utc(), node=self._node, writer=self._nic_writer)])

    async def run(self) -> None:
        """Write what is noted, until cancelled; then what is left."""
        await self._begin()
        try:
            while True:
                await self._rest()
                await self._write()
        finally:
            self._store_all(self._take())

    async def find(self, address: IPv4Address) -> AuditReport:
        """Who had it here. What was noted a moment ago is written first."""
        await self._write()
        try:
            begins, records = await asyncio.to_thread(self._store.find, str(address))
        except AzureCniError as error:
            return AuditReport(self._node, str(address), error=str(error))
        found, holes = tenures(records)
        return AuditReport(self._node, str(address), begins, found, holes)

    async def usage(self) -> UsageReport:
        """How many addresses pods had, hour by hour. What was noted a moment ago is written first."""
        await self._write()
        now, node = self._clock.utc(), self._node
        now_s = seconds_of(now) or 0.0
        try:
            hours = await asyncio.to_thread(lambda: usage_hours(self._store.walk(), node=node, now_s=now_s))
        except AzureCniError as error:
            return UsageReport(self._node, now, error=str(error))
        return UsageReport(self._node, now, hours)

    async def writes(self) -> WritesReport:
        """The writes of the NIC. What was noted a moment ago is written first."""
        await self._write()
        try:
            begins, records = await asyncio.to_thread(self._store.find_writes)
        except AzureCniError as error:
            return WritesReport(self._node, error=str(error))
        # A disk that was made from another node's has the writes of that one's NIC.
        return writes_report(self._node, begins, (one for one in records if one.node in {"", self._node}))

    async def _begin(self) -> None:
        """The hole before this agent, and what is held after it."""
        until = ""
        try:
            until = await asyncio.to_thread(self._store.seen_until)
        except AzureCniError as error:
            self._complain(error)
        until = self._surely_written(until)
        now = self._clock.utc()
        started = AuditRecord(time=now, event=AuditKind.STARTED.value, node=self._node, not_before=until or now)
        self._waiting[:0] = [started, *_snapshot(self._written, time=now, node=self._node)]
        self._begun = True
        self._something.set()

    def _surely_written(self, until: str) -> str:
        """Nobody knows how the node went down, so what was written last before a boot may be missing."""
        until_s = seconds_of(until)
        if until_s is None or until >= self._clock.utc(ahead_s=-self._clock.boottime_s()):
            return until
        return time_text(until_s - UNSYNCED_S)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(AGAIN_S if self._failing else ALIVE_S):
                await self._something.wait()
        except TimeoutError:
            return
        await asyncio.sleep(AGAIN_S if self._failing else BATCH_S)

    async def _write(self) -> None:
        async with self._turn:
            if not self._begun:
                return
            taken = self._take()
            writing = asyncio.ensure_future(asyncio.to_thread(self._store_all, taken))
            try:
                await asyncio.shield(writing)
            finally:  # an agent that stops meanwhile knows how the write ended before it makes its last one
                if not await writing:
                    self._waiting[:0] = taken.records
                    self._written = taken.before
                    self._bound()

    def _take(self) -> _Batch:
        """All that waits, with what was held before it."""
        taken, before, now = self._waiting, self._written, self._clock.utc()
        self._waiting, self._written = [], dict(self._held)
        self._something.clear()
        if not self._lost:
            return _Batch(taken, before, now)
        gap = AuditRecord(
            time=now, event=AuditKind.GAP.value, node=self._node, not_before=self._lost_since, lost=self._lost
        )
        self._lost = 0
        return _Batch([gap, *_snapshot(self._held, time=now, node=self._node)], dict(self._held), now)

    def _store_all(self, batch: _Batch) -> bool:
        """Whether it is on the disk. Runs in a thread."""
        records = batch.records
        try:
            if records:
                again = records[0].event not in HOLES  # after a hole it is among the records
                held = _snapshot(batch.before, time=records[0].time, node=self._node) if again else []
                self._store.append(records, held=held, until=batch.until)
            else:
                self._store.mark_alive(batch.until)
        except AzureCniError as error:
            self._complain(error)
            return False
        if self._failing:
            log.info("audit trail written again")
        self._failing = False
        return True

    def _complain(self, error: AzureCniError) -> None:
        """Once for each outage."""
        if not self._failing:
            log.warning("audit trail not written", extra={"error": str(error), "again_s": AGAIN_S})
        self._failing = True

    def _note(self, records: Sequence[AuditRecord]) -> None:
        self._waiting += records
        self._bound()
        self._something.set()

    def _bound(self) -> None:
        """Too many wait: they are counted, and what is held is written when there is room again."""
        if self._lost or len(self._waiting) > MOST_WAITING:
            if not self._lost:
                self._lost_since = self._waiting[0].not_before or self._waiting[0].time
            self._lost += sum(map(_news, self._waiting))
            self._waiting.clear()


def _news(record: AuditRecord) -> int:
    """How many events it records: none that is only repeated."""
    return 0 if record.event in {AuditKind.HELD, AuditKind.STARTED} else record.lost or 1


def _snapshot(held: dict[IPv4Address, tuple[Holder, str]], *, time: str, node: str) -> list[AuditRecord]:
    return [
        holder_record(AuditKind.HELD, address, holder, time=time, node=node, since=since)
        for address, (holder, since) in held.items()
    ]
