"""Reclaims what vanished nodes were granted, once Azure shows that nothing of it is left on their NICs.

A node that is gone from Kubernetes may live on as a VM with all its addresses. So its entry stays in the ledger until a
check reads, in this order: the ledger; then that there is no pool; then that the NIC is gone, or empty for the second
time. The round of that check removes the entry in its write of the ledger, a compare-and-swap on the version that was
read first, and keeps nothing of it for later. So a node that returns, even on a NIC of the same name, loses nothing:
its new pool has other request numbers (`api.node_ip_pool`), it is not answered before the ledger has one of them, and
once that is written the removal fails. Comparing the entry alone would not suffice: a controller that still acts on the
former pool may have written the same entry again. tests/property/test_grant_walk.py finds that fault, and none with
this order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota, nic_label, nic_resource_id
from azure_cni.cluster.nic_checks import NIC_READ_TIMEOUT_S
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ClusterPorts
from azure_cni.errors import AccessDenied, AzureCniError, CloudUnreachable
from azure_cni.faults import Faults
from azure_cni.model.text import addresses
from azure_cni.quota.ledger_changes import FORMER
from azure_cni.quota.quota_status import on_reclaim_denied

log = logging.getLogger(__name__)

SETTLE_S: Final = 30.0
"""Earlier in a term nothing counts as vanished: the watches may not have shown all pools."""
ENTRIES_PER_ROUND: Final = 16
"""Entries checked in one round; nodes wait for its end."""


class Reclaimer:
    """Checks one VNet's entries that have no pool: all of them every `every_s`, in as many rounds as that takes."""

    def __init__(self, *, ports: ClusterPorts, node_index: NodeIndex, every_s: float) -> None:
        self._ports = ports
        self._faults = Faults(ports.observer.internal_error)
        self._node_index = node_index
        self._every_s = every_s
        self._due_s = ports.clock.monotonic_s() + min(SETTLE_S, every_s)
        self._after = ""
        """The last key that was checked, "" before the first."""
        self._looked = False
        self._silent = False
        """A call got no answer, so the remaining entries are not checked now."""
        self._last = ""
        self._empty: dict[str, tuple[LedgerEntry, float]] = {}
        """NICs that exist and were found empty, and when first."""
        self._logged: dict[str, str] = {}
        """The last reason that was logged for an entry: each is logged once."""
        self.denied = ""
        """What Azure denied in the last look, and whose entry stays for it; "" where it denied nothing."""

    @property
    def due_in_s(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._due_s - self._ports.clock.monotonic_s())

    async def find_vanished(self, quota: VNetQuota, *, doubtful: Collection[str] = ()) -> dict[str, LedgerEntry]:
        """The entries that may leave the ledger in a write on this version of it.

        All are checked periodically, those that are `doubtful` at once.
        """
        self._looked = self.due_in_s <= 0
        if not self._looked and not doubtful:
            return {}
        candidates = dict(self._candidates(quota))
        for known in (self._logged, self._empty):
            for key in known.keys() - candidates.keys():
                del known[key]
        scheduled = sorted(key for key in candidates if key > self._after)[:ENTRIES_PER_ROUND] if self._looked else []
        keys = scheduled + sorted(candidates.keys() & set(doubtful) - set(scheduled))
        self._silent, self.denied = False, "" if scheduled or not candidates else self.denied
        gone = await asyncio.gather(*(self._is_gone(quota, key, candidates[key]) for key in keys))
        self._last = scheduled[-1] if len(scheduled) == ENTRIES_PER_ROUND else ""
        return {key: candidates[key] for key, is_gone in zip(keys, gone, strict=True) if is_gone}

    def done(self, removed: Mapping[str, LedgerEntry]) -> None:
        """The ledger was written without them. Until then, the next round checks the same entries again."""
        for key, entry in removed.items():
            log.info("grant of a vanished node reclaimed", extra={"node": key, "count": entry.count, "nic": entry.nic})
            self._ports.observer.reclaimed("reclaimed")
        if self._looked:
            self._after = self._last  # also past an entry without an answer: the next round must reach those behind it
            if not self._last or self._silent:
                self._due_s = self._ports.clock.monotonic_s() + self._every_s

    def _candidates(self, quota: VNetQuota) -> Iterator[tuple[str, LedgerEntry]]:
        vnet = quota.vnet_id.lower()
        for key, entry in quota.entries.items():
            node = self._node_index.get(key)
            if node is None or not node.nic or node.nic != entry.nic or node.vnet_id.lower() != vnet:
                yield key, entry

    async def _is_gone(self, quota: VNetQuota, key: str, entry: LedgerEntry) -> bool:
        try:
            with self._faults.guard("reclaim", about=key):
                return await self._looked_into(quota, key, entry)
        except AzureCniError as error:
            self._keep(key, entry, result=error.reason, why=str(error))
            if isinstance(error, AccessDenied):
                self.denied = on_reclaim_denied(key, entry, error)
            return False

    async def _looked_into(self, quota: VNetQuota, key: str, entry: LedgerEntry) -> bool:
        try:
            async with asyncio.timeout(NIC_READ_TIMEOUT_S):
                if await self._has_pool(key, entry):
                    return False
                ours = await self._ports.vnets.ours_on(nic_resource_id(entry.nic, vnet_id=quota.vnet_id))
        except TimeoutError:
            self._silent = True
            self._keep(key, entry, result=CloudUnreachable.reason, why=f"no answer within {NIC_READ_TIMEOUT_S:g} s")
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
        now_s = self._ports.clock.monotonic_s()
        known, since_s = self._empty.get(key, (None, now_s))
        if known != entry:
            self._empty[key] = (entry, now_s)
            return False
        return now_s >= since_s + self._every_s

    async def _has_pool(self, key: str, entry: LedgerEntry) -> bool:
        """Whether the node exists, on the NIC that the entry is for. The watch may lag, so the pool is read."""
        if FORMER in key:
            return False
        pool = await self._ports.pools.read(key)
        if pool is None:
            return False
        nic = nic_label(pool.nic_id)
        return nic in {"", entry.nic}  # if it names no NIC yet, its agent is about to write it

    def _keep(self, key: str, entry: LedgerEntry, *, result: str, why: str) -> None:
        self._ports.observer.reclaimed(result)
        if self._logged.get(key) != result:
            self._logged[key] = result
            log.warning(
                "grant of a vanished node kept", extra={"node": key, "count": entry.count, "result": result, "why": why}
            )
