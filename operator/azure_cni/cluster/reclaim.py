"""Reclaiming what vanished nodes were granted: only when Azure says that nothing of it is left on their NICs.

A node that is gone from Kubernetes may live on as a VM with all its addresses, so its entry stays in the ledger. The
order makes it safe: the entry is read first, then the pool is found missing, then the NIC is found gone or empty, and
the entry leaves the ledger only if it is still as it was read: a node that came back asks under a new number, and no
answer is given before the ledger has that. An empty NIC that still exists must be seen so twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from azure_cni.api.quota import LedgerEntry, VNetQuota, nic_label, nic_resource_id
from azure_cni.cluster.books import FORMER
from azure_cni.cluster.census import Census
from azure_cni.cluster.ports import Observer, Pools, VNets
from azure_cni.errors import AzureCniError

log = logging.getLogger(__name__)


class Reclaim:
    """Looks into one VNet's entries that have no pool."""

    def __init__(self, *, census: Census, pools: Pools, vnets: VNets, observer: Observer) -> None:
        self._census = census
        self._pools = pools
        self._vnets = vnets
        self._observer = observer
        self._empty: dict[str, LedgerEntry] = {}
        """NICs that exist and were found empty at the last look."""
        self._told: dict[str, str] = {}
        """What was said of an entry: once for each reason."""

    async def look(self, quota: VNetQuota) -> dict[str, LedgerEntry]:
        """The entries that may leave the ledger, as they were read; every other stays."""
        candidates = dict(self._candidates(quota))
        for forgotten in self._told.keys() - candidates.keys():
            del self._told[forgotten]
        seen_empty, self._empty = self._empty, {}
        return {
            key: entry
            for key, entry in candidates.items()
            if await self._is_gone(quota, key, entry, seen_empty=seen_empty.get(key) == entry)
        }

    def _candidates(self, quota: VNetQuota) -> Iterator[tuple[str, LedgerEntry]]:
        vnet = quota.vnet_id.lower()
        for key, entry in quota.entries.items():
            member = self._census.get(key)
            if member is None or not member.nic or member.nic != entry.nic or member.vnet_id.lower() != vnet:
                yield key, entry

    async def _is_gone(self, quota: VNetQuota, key: str, entry: LedgerEntry, *, seen_empty: bool) -> bool:
        try:
            if await self._has_pool(key, entry):
                return False
            ours = await self._vnets.ours_on(nic_resource_id(entry.nic, vnet_id=quota.vnet_id))
        except AzureCniError as error:
            self._keep(key, entry, result=error.reason, why=str(error))
            return False
        if ours:
            self._keep(key, entry, result="kept", why=f"the NIC {entry.nic} still holds {ours} addresses of ours")
            return False
        if ours == 0 and not seen_empty:
            self._empty[key] = entry
            self._keep(key, entry, result="kept", why=f"the NIC {entry.nic} is empty of ours, and is looked at again")
            return False
        why = f"the NIC {entry.nic} is gone" if ours is None else f"the NIC {entry.nic} holds nothing of ours"
        log.info("grant of a vanished node reclaimed", extra={"node": key, "count": entry.count, "why": why})
        self._observer.reclaimed("reclaimed")
        return True

    async def _has_pool(self, key: str, entry: LedgerEntry) -> bool:
        """Whether the node is there, on the NIC that the entry is for. What the watch shows may be late."""
        if FORMER in key:
            return False
        pool = await self._pools.read(key)
        if pool is None:
            return False
        nic = nic_label(str((pool.get("status") or {}).get("nicID") or ""))
        return nic in {"", entry.nic}  # one that says nothing of its NIC has an agent that is about to

    def _keep(self, key: str, entry: LedgerEntry, *, result: str, why: str) -> None:
        self._observer.reclaimed(result)
        if self._told.get(key) != result:
            self._told[key] = result
            log.warning(
                "grant of a vanished node kept", extra={"node": key, "count": entry.count, "result": result, "why": why}
            )
