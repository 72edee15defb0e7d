"""What the binary could not tell because no agent was there: its DELs, carried out as soon as one is back."""

from __future__ import annotations

import logging

from azure_cni.errors import AzureCniError
from azure_cni.node.ports import ReleasedRecords
from azure_cni.node.sandboxes import Sandboxes

log = logging.getLogger(__name__)


class Replay:
    """Carries out recorded DELs, each acknowledged once it is done."""

    def __init__(self, *, records: ReleasedRecords, sandboxes: Sandboxes) -> None:
        self._records = records
        self._sandboxes = sandboxes

    async def once(self) -> None:
        """All records that are there now. An error leaves the record for the next time."""
        found = self._records.read()
        for words in found.bad:
            log.error("recorded DEL put aside", extra={"why": words})
        for record in found.pending:
            try:
                await self._sandboxes.delete(record.sandbox)
                self._records.acknowledge(record)
            except AzureCniError as error:  # the record stays; those behind it must not wait for this one
                log.warning("recorded DEL failed", extra={"container": record.sandbox.container_id, "why": str(error)})
            else:
                log.info("recorded DEL carried out", extra={"container": record.sandbox.container_id})
