"""What the controller that leads does, for one term: it counts all pools, and then keeps the grants of every VNet.

A term begins with nothing known and ends by being cancelled at whatever it is doing: nothing needs to be handed over,
because every decision is made of what the API server and Azure say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from azure_cni.api import quota as quota_api
from azure_cni.api.nic import VNetID
from azure_cni.cluster.census import Census
from azure_cni.cluster.grants import LONGEST_REST_S, Grants
from azure_cni.cluster.quota_keeper import QuotaKeeper
from azure_cni.cluster.world import ClusterSettings, ClusterWorld
from azure_cni.errors import AzureCniError, KubeConflict
from azure_cni.ipam.backoff import delay_s

log = logging.getLogger(__name__)

DEBOUNCE_S: Final = 0.3
"""A burst of requests is one write of the ledger: it costs the API server up to a tenth of a second."""


class Leader:
    """One term. `run` never ends by itself; what the watches see may be told from before its start."""

    def __init__(self, *, world: ClusterWorld, settings: ClusterSettings) -> None:
        self._world = world
        self._settings = settings
        self.census = Census()
        self._grants: dict[str, Grants] = {}
        self._keepers: dict[str, QuotaKeeper] = {}
        self._woken = asyncio.Event()
        self._failures = 0

    # What the watches see.

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """A pool was listed, added or changed."""
        if self.census.see(body, now_s=self._world.clock.monotonic_s()):
            self._woken.set()

    def pool_gone(self, name: str, uid: str) -> None:
        """A pool was deleted."""
        self.census.forget(name, uid=uid)
        self._woken.set()

    def quota_seen(self, body: Mapping[str, Any]) -> None:
        """A quota was listed, added or changed."""
        quota = quota_api.read(body)
        if any(keeper.seen(quota) for keeper in self._keepers.values()):  # no two keep the same one
            self._woken.set()

    def quota_gone(self, name: str) -> None:
        """A quota was deleted."""
        for keeper in self._keepers.values():
            keeper.gone(name)
        self._woken.set()

    # The work.

    async def run(self) -> None:
        """Count, then round after round, until cancelled."""
        while True:
            rest_s = await self._turn()
            try:
                async with asyncio.timeout(rest_s):
                    await self._woken.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(DEBOUNCE_S)
            self._woken.clear()

    async def _turn(self) -> float:
        """One round for each VNet; returns the seconds until the next look."""
        try:
            if not self.census.complete:
                await self._count()
            rest_s = LONGEST_REST_S
            for vnet in self.census.vnets().values():
                rest_s = min(rest_s, await self._of(vnet).round())
        except KubeConflict as error:  # decided on an old version: decide anew
            log.debug("lost a race", extra={"error": str(error)})
            return DEBOUNCE_S
        except AzureCniError as error:
            self._failures += 1
            log.warning("cannot keep the grants", extra={"reason": error.reason, "error": str(error)})
            return delay_s(self._failures, retry_after_s=None, jitter=0.5)
        self._failures = 0
        return rest_s

    async def _count(self) -> None:
        """All pools, by ourselves: the watches may begin late, and a pool that is missing could be taken for gone."""
        before = {member.name for member in self.census}
        listed = set()
        async for body in self._world.pools.walk():
            self.census.see(body, now_s=self._world.clock.monotonic_s())
            listed.add(str(body["metadata"]["name"]))
        self.census.drop(before - listed)
        self.census.complete = True
        log.info("pools counted", extra={"pools": len(self.census), "vnets": len(self.census.vnets())})

    def _of(self, vnet: VNetID) -> Grants:
        key = vnet.lower()
        if key not in self._grants:
            keeper = QuotaKeeper(
                self._world.quotas, vnet_id=vnet, defaults=self._settings.defaults, observer=self._world.observer
            )
            self._keepers[key] = keeper
            self._grants[key] = Grants(
                keeper=keeper,
                vnet_id=vnet,
                census=self.census,
                pools=self._world.pools,
                clock=self._world.clock,
                observer=self._world.observer,
            )
        return self._grants[key]
