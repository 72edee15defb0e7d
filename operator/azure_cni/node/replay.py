"""What the binary could not tell because no agent was there: its DELs, carried out as soon as one is back.

Records are looked at every few seconds, and what is wrong with one stays wrong: each failure is logged when it appears
or changes. None of them is raised: neither the agent's start nor another record depends on one that cannot be read.
"""

from __future__ import annotations

import logging

from azure_cni.errors import AzureCniError
from azure_cni.node.ports import Record, ReleasedRecords
from azure_cni.node.sandboxes import Sandboxes

log = logging.getLogger(__name__)


class Replay:
    """Carries out recorded DELs, each acknowledged once it is done."""

    def __init__(self, *, records: ReleasedRecords, sandboxes: Sandboxes) -> None:
        self._records = records
        self._sandboxes = sandboxes
        self._failures: frozenset[str] = frozenset()
        """What the last look found wrong, in words."""

    async def once(self) -> None:
        """All records that are there now. One that fails stays for the next time."""
        failures: set[str] = set()
        try:
            found = self._records.read()
        except AzureCniError as error:
            failures.add(str(error))
        else:
            failures.update(found.bad)
            for record in found.pending:
                failures.update(await self._carry_out(record))
        for words in sorted(failures - self._failures):
            log.error("recorded DEL not carried out", extra={"why": words})
        self._failures = frozenset(failures)

    async def _carry_out(self, record: Record) -> tuple[str, ...]:
        """Nothing when it is done, or why not."""
        try:
            await self._sandboxes.delete(record.sandbox)
            self._records.acknowledge(record)
        except AzureCniError as error:
            return (f"{record.name}: {error}",)
        log.info("recorded DEL carried out", extra={"container": record.sandbox.container_id})
        return ()
