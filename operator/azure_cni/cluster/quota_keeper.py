"""Keeping one VNet's VNetQuota: there is one, its newest version is known, and it is changed by compare-and-swap.

Versions come from the watch and from the answers to our own writes, in no certain order; the newest counts. After a
lost race nothing that was decided before is written: the object is read again, and whoever decides does so anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from azure_cni.api.nic import VNetID
from azure_cni.api.quota import Draft, Limits, VNetQuota, quota_name
from azure_cni.api.versions import is_newer
from azure_cni.cluster.ports import Observer, Quotas
from azure_cni.errors import KubeConflict, KubeError, KubeInvalid, KubeNotFound

log = logging.getLogger(__name__)


class QuotaKeeper:
    """The newest known version of one VNet's quota, None until `ensure`. `defaults` make a new one."""

    def __init__(self, quotas: Quotas, *, vnet_id: VNetID, defaults: Limits, observer: Observer) -> None:
        self._quotas = quotas
        self._vnet_id = vnet_id
        self._defaults = defaults
        self._observer = observer
        self.quota: VNetQuota | None = None

    def seen(self, quota: VNetQuota) -> bool:
        """The watch shows a version of a quota; True when it is this one's, and news."""
        known = self.quota
        if known is None or quota.name != known.name:
            return False
        if not is_newer(quota.version, than=known.version):
            return False
        self.quota = quota
        return True

    def gone(self, name: str) -> None:
        """Somebody deleted it: it is made again, of what the pools say."""
        if self.quota is not None and self.quota.name == name:
            self.quota = None

    async def ensure(self) -> VNetQuota:
        """The newest known version; read, or made, when none is known."""
        if self.quota is None:
            all_quotas = await self._quotas.list()
            self.quota = self._choose(all_quotas) or await self._create(all_quotas)
        return self.quota

    async def write(self, seen: VNetQuota, draft: Draft) -> VNetQuota:
        """A compare-and-swap on `seen`. When it fails, what is known is read anew before the error is told."""
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
