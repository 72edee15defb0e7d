"""Keeps one VNet's VNetQuota: makes it if there is none, knows its newest version, and changes it by compare-and-swap.

Versions come from the watch and from the answers to our own writes, in no particular order; the newest counts. After a
lost race nothing that was decided before is written: the object is read, and everything is decided again.

`KnownReservations` is what the ledgers hold for one node's newest request; its NIC operations are checked against it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from azure_cni.api.reading import is_newer
from azure_cni.api.vnet_quota import Draft, LedgerEntry, Limits, VNetQuota, quota_name
from azure_cni.cluster.ports import ControllerObserver, Quotas
from azure_cni.errors import KubeConflict, KubeError, KubeInvalid, KubeNotFound
from azure_cni.model.nic import VNetID

log = logging.getLogger(__name__)


class QuotaCache:
    """The newest known version of one VNet's quota, None until `ensure`. `defaults` make a new one."""

    def __init__(self, quotas: Quotas, *, vnet_id: VNetID, defaults: Limits, observer: ControllerObserver) -> None:
        self._quotas = quotas
        self._vnet_id = vnet_id
        self._defaults = defaults
        self._observer = observer
        self.quota: VNetQuota | None = None

    def observe(self, quota: VNetQuota) -> bool:
        """The watch shows a version of a quota; True when it is this one's, and news."""
        known = self.quota
        if known is None or quota.name != known.name:
            return False
        if not is_newer(quota.version, than=known.version):
            return False
        self.quota = quota
        return True

    def forget(self, name: str) -> None:
        """Somebody deleted it: it is recreated from what the pools say."""
        if self.quota is not None and self.quota.name == name:
            self.quota = None

    async def ensure(self) -> VNetQuota:
        """The newest known version; read, or made, when none is known."""
        if self.quota is None:
            all_quotas = await self._quotas.list()
            self.quota = self._choose(all_quotas) or await self._create(all_quotas)
        return self.quota

    async def write(self, seen: VNetQuota, draft: Draft) -> VNetQuota:
        """A compare-and-swap on `seen`. When it fails, the object is read again before the error is raised."""
        try:
            written = await self._quotas.write(seen, draft)
        except KubeError as error:
            self._observer.ledger_written(error.reason)
            if isinstance(error, KubeConflict | KubeInvalid | KubeNotFound):
                self.quota = await self._quotas.read(seen.name)
            raise
        self._observer.ledger_written("written")
        self.quota = written
        return written

    def _choose(self, quotas: Iterable[VNetQuota]) -> VNetQuota | None:
        """The one that holds the ledger; people may have made one of another name, before or beside ours."""
        ours = [quota for quota in quotas if quota.vnet_id.lower() == self._vnet_id.lower()]
        if len(ours) > 1:
            log.warning(
                "one vnet has several quotas; delete all but one",
                extra={"vnet": self._vnet_id, "quotas": sorted(quota.name for quota in ours)},
            )
        return min(ours, key=lambda quota: (quota.is_new, quota.name), default=None)

    async def _create(self, others: Iterable[VNetQuota]) -> VNetQuota:
        name = quota_name(self._vnet_id, taken={quota.name for quota in others})
        made = await self._quotas.create(name, vnet_id=self._vnet_id, limits=self._defaults)
        log.info("quota made", extra={"quota": name, "vnet": self._vnet_id, "limit": made.limits.limit})
        return made


NOTHING: Final = LedgerEntry()


class KnownReservations:
    """Implements `azure_cni.cluster.ports.Reservations`. `known` gives the newest version that is known of a VNet's."""

    def __init__(self, quotas: Quotas, *, known: Callable[[VNetID], VNetQuota | None]) -> None:
        self._quotas = quotas
        self._known = known

    async def of(self, node: str, vnet_id: VNetID, *, request_id: int) -> LedgerEntry:
        """The node's entry; read from the API server where what is known is not about that request.

        Another controller may have reserved it: one that leads now, or one that led a moment ago.
        """
        known = self._known(vnet_id)
        entry = known.entries.get(node, NOTHING) if known is not None else NOTHING
        if entry.request_id == request_id:
            return entry
        newest = await self._newest(vnet_id, known)
        return newest.entries.get(node, NOTHING) if newest is not None else NOTHING

    async def _newest(self, vnet_id: VNetID, known: VNetQuota | None) -> VNetQuota | None:
        if known is not None:
            return await self._quotas.read(known.name)
        listed = await self._quotas.list()
        return next((quota for quota in listed if quota.vnet_id.lower() == vnet_id.lower()), None)
