"""An audit store in memory, whose disk can be full."""

from __future__ import annotations

from collections.abc import Sequence

from azure_cni.errors import AzureCniError
from azure_cni.ipam.audit_records import HOLES, AuditKind, AuditRecord


class FakeAuditStore:
    """`full`: it refuses to write. `heads` are what new files would have begun with."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.heads: list[list[AuditRecord]] = []
        self.full = False
        self.alive = 0
        self.until = ""

    def append(self, records: Sequence[AuditRecord], *, held: Sequence[AuditRecord], until: str) -> None:
        """See `AuditStore`."""
        self._admit()
        self.records += records
        self.until = until
        self.heads.append(list(held))

    def mark_alive(self, until: str) -> None:
        """See `AuditStore`."""
        self._admit()
        self.alive += 1
        self.until = until

    def seen_until(self) -> str:
        """See `AuditStore`."""
        return self.until

    def find(self, address: str) -> tuple[str, Sequence[AuditRecord]]:
        """See `AuditStore`."""
        found = [one for one in self.records if one.address == address or one.event in HOLES]
        return self.records[0].time if self.records else "", found

    def find_writes(self) -> tuple[str, Sequence[AuditRecord]]:
        """See `AuditStore`."""
        found = [one for one in self.records if one.event in {AuditKind.NIC_WRITTEN, *HOLES}]
        return self.records[0].time if self.records else "", found

    def walk(self) -> Sequence[AuditRecord]:
        """See `AuditStore`."""
        return list(self.records)

    def _admit(self) -> None:
        if self.full:
            raise AzureCniError("cannot write the audit trail: no space left on device")
