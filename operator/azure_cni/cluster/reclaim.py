"""Reclaiming what vanished nodes were granted: only when Azure says that nothing of it is left on their NICs.

A node that is gone from Kubernetes may live on as a VM with all its addresses, so its entry stays in the ledger until
a look has found, in this order: the ledger as it is; then no pool; then the NIC gone, or for the second time empty. The
round that looked removes the entry in its write of the ledger, a compare-and-swap on that very version, and keeps
nothing of it for later. So a node that comes back, on a NIC of the same name too, loses nothing: the numbers of its new
pool are others than those before (`api.pool.last_request`), so it is not answered before the ledger has one of them,
and with that written the removal fails. To find the entry as it was read would not do: a controller that still acts on
the former pool may have written the same once more. tests/property/test_grant_walk.py finds that way, and none with
this order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from azure_cni.api.plurals import addresses
from azure_cni.api.quota import LedgerEntry, VNetQuota, nic_label, nic_resource_id
from azure_cni.api.reading import status_of, text
from azure_cni.cluster.books import FORMER
from azure_cni.cluster.census import Census
from azure_cni.cluster.world import ClusterWorld
from azure_cni.errors import AzureCniError, CloudUnreachable
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

SETTLE_S: Final = 30.0
"""Nothing is taken for vanished so early in a term."""
AT_ONCE: Final = 16
"""Entries of one round: nodes wait for its end."""
PATIENCE_S: Final = 5.0
"""No longer for an answer about them."""


class Reclaim:
    """Looks into one VNet's entries that have no pool: every `every_s` into all, in as many rounds as that takes."""

    def __init__(self, *, world: ClusterWorld, census: Census, every_s: float) -> None:
        self._world = world
        self._faults = Faults(world.observer.internal_error)
        self._census = census
        self._every_s = every_s
        self._due_s = world.clock.monotonic_s() + min(SETTLE_S, every_s)
        self._after = ""
        """The last key that was looked into, "" before the first."""
        self._looked = False
        self._silent = False
        """Somebody gave no answer: the others are not waited for now."""
        self._last = ""
        self._empty: dict[str, tuple[LedgerEntry, float]] = {}
        """NICs that exist and were found empty, and when first."""
        self._told: dict[str, str] = {}
        """What was said of an entry: once for each reason."""

    @property
    def due_in_s(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._due_s - self._world.clock.monotonic_s())

    async def look(self, quota: VNetQuota, *, doubtful: Collection[str] = ()) -> dict[str, LedgerEntry]:
        """The entries that may leave the ledger in a write on this version of it.

        All are looked into when that is due, those that are `doubtful` at once.
        """
        self._looked = self.due_in_s <= 0
        if not self._looked and not doubtful:
            return {}
        candidates = dict(self._candidates(quota))
        for known in (self._told, self._empty):
            for key in known.keys() - candidates.keys():
                del known[key]
        scheduled = sorted(key for key in candidates if key > self._after)[:AT_ONCE] if self._looked else []
        keys = scheduled + sorted(candidates.keys() & set(doubtful) - set(scheduled))
        self._silent = False
        gone = await asyncio.gather(*(self._is_gone(quota, key, candidates[key]) for key in keys))
        self._last = scheduled[-1] if len(scheduled) == AT_ONCE else ""
        return {key: candidates[key] for key, is_gone in zip(keys, gone, strict=True) if is_gone}

    def done(self, removed: Mapping[str, LedgerEntry]) -> None:
        """They have left the ledger, and what was found of the others holds; else the same are looked into again."""
        for key, entry in removed.items():
            log.info("grant of a vanished node reclaimed", extra={"node": key, "count": entry.count, "nic": entry.nic})
            self._world.observer.reclaimed("reclaimed")
        if self._looked:
            self._after = self._last  # also past who was silent: those behind must get their look, in the next time
            if not self._last or self._silent:
                self._due_s = self._world.clock.monotonic_s() + self._every_s

    def _candidates(self, quota: VNetQuota) -> Iterator[tuple[str, LedgerEntry]]:
        vnet = quota.vnet_id.lower()
        for key, entry in quota.entries.items():
            member = self._census.get(key)
            if member is None or not member.nic or member.nic != entry.nic or member.vnet_id.lower() != vnet:
                yield key, entry

    async def _is_gone(self, quota: VNetQuota, key: str, entry: LedgerEntry) -> bool:
        try:
            with self._faults.guard("reclaim", about=key):
                return await self._looked_into(quota, key, entry)
        except AzureCniError as error:
            self._keep(key, entry, result=error.reason, why=str(error))
            return False

    async def _looked_into(self, quota: VNetQuota, key: str, entry: LedgerEntry) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_S):
                if await self._has_pool(key, entry):
                    return False
                ours = await self._world.vnets.ours_on(nic_resource_id(entry.nic, vnet_id=quota.vnet_id))
        except TimeoutError:
            self._silent = True
            self._keep(key, entry, result=CloudUnreachable.reason, why=f"no answer within {PATIENCE_S:g} s")
            return False
        if ours:
            self._empty.pop(key, None)
            self._keep(key, entry, result="kept", why=f"the NIC {entry.nic} still holds {addresses(ours)} of azure-cni")
            return False
        if ours == 0 and not self._was_empty(key, entry):
            self._keep(
                key,
                entry,
                result="kept",
                why=f"the NIC {entry.nic} has no address of azure-cni; it is checked once more",
            )
            return False
        return True

    def _was_empty(self, key: str, entry: LedgerEntry) -> bool:
        """Whether it was in an earlier look too: a write that was under way has landed since."""
        now_s = self._world.clock.monotonic_s()
        known, since_s = self._empty.get(key, (None, now_s))
        if known != entry:
            self._empty[key] = (entry, now_s)
            return False
        return now_s >= since_s + self._every_s

    async def _has_pool(self, key: str, entry: LedgerEntry) -> bool:
        """Whether the node is there, on the NIC that the entry is for. What the watch shows may be late."""
        if FORMER in key:
            return False
        pool = await self._world.pools.read(key)
        if pool is None:
            return False
        nic = nic_label(text(status_of(pool).get("nicID")))
        return nic in {"", entry.nic}  # one that says nothing of its NIC has an agent that is about to

    def _keep(self, key: str, entry: LedgerEntry, *, result: str, why: str) -> None:
        self._world.observer.reclaimed(result)
        if self._told.get(key) != result:
            self._told[key] = result
            log.warning(
                "grant of a vanished node kept", extra={"node": key, "count": entry.count, "result": result, "why": why}
            )
