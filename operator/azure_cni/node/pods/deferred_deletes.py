"""DELs that the binary recorded because no agent was there, executed as soon as one is back.

Records are looked at every few seconds, and what is wrong with one stays wrong: each failure is logged when it appears
or changes. None of them is raised: neither the agent's start nor another record depends on one that cannot be read.

podman starts a stopped container under the ID that it had, so a record may be of its former life. podman waits for its
DEL, so such a record is there before the ADD; `finish_former_life` carries it out first. Whoever is about to carry out
a record looks whether it is still there: the ADD may have been faster, and its address is not to go. (Of two who see it
at once, both wait for the sandbox's lock before the ADD does.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from azure_cni.errors import AzureCniError, NoAddress
from azure_cni.ipam.address_state import Holder
from azure_cni.node.pods.assignment import named
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.recorded_deletes import Record, ReleasedRecords

log = logging.getLogger(__name__)

PORTION: Final = 64
"""Records that are read without a pause: some milliseconds."""
LOGGED: Final = 20
"""Failures that are logged one by one."""


class DeferredDeletes:
    """Carries out recorded DELs, each acknowledged once it is done."""

    def __init__(self, *, records: ReleasedRecords, sandboxes: Sandboxes) -> None:
        self._records = records
        self._sandboxes = sandboxes
        self._failures: frozenset[str] = frozenset()
        """What the last look found wrong, in words."""

    async def carry_out_some(self) -> None:
        """One portion, for a start that must not last: an agent that was away for a minute has fewer."""
        await self._sweep(PORTION)

    async def carry_out_all(self) -> None:
        """All records that are there now, in portions between which other work goes on. One that fails stays."""
        await self._sweep()

    async def finish_former_life(self, holder: Holder) -> None:
        """Before an ADD of this sandbox. NoAddress (11) while a DEL that was recorded before cannot be carried out.

        Records of other sandboxes are not touched, and hold up nothing.
        """
        name = self._records.name_of(holder.sandbox)
        if not self._records.has(name):
            return
        failures = await self._portion((name,))
        if self._records.has(name):
            why = "; ".join(sorted(failures)) or "it was recorded again"
            raise NoAddress(
                f"cannot attach {named(holder)}: the DEL of its former life, recorded in {name}, cannot be carried out "
                f"yet: {why}; start it again once that is mended",
                cause="Deleted",
            )

    async def _sweep(self, most: int | None = None) -> None:
        failures: set[str] = set()
        try:
            names = self._records.names()[:most]
            for start in range(0, len(names), PORTION):
                failures.update(await self._portion(names[start : start + PORTION]))
                await asyncio.sleep(0)
        except AzureCniError as error:
            failures.add(str(error))
        for words in sorted(failures - self._failures)[:LOGGED]:
            log.error("recorded DEL not carried out", extra={"why": words})
        if len(failures - self._failures) > LOGGED:
            log.error("more recorded DELs not carried out", extra={"number": len(failures - self._failures) - LOGGED})
        self._failures = frozenset(failures)

    async def _portion(self, names: Sequence[str]) -> set[str]:
        """What went wrong with them, in words."""
        found = self._records.read(names)
        failures = set(found.bad)
        for record in found.pending:
            failures.update(await self._carry_out(record))
        return failures

    async def _carry_out(self, record: Record) -> tuple[str, ...]:
        """Nothing when it is done, or why not."""
        if not self._records.has(record.name):  # done by an ADD since it was read: what the sandbox has now is new
            return ()
        try:
            await self._sandboxes.delete(record.sandbox)
            self._records.acknowledge(record)
        except AzureCniError as error:
            return (f"{record.name}: {error}",)
        log.info("recorded DEL carried out", extra={"container": record.sandbox.container_id})
        return ()
