"""All that a controller that leads does for one VNet: round after round of grants, and reading how full the VNet is.

VNets have nothing to do with one another: each has its own quota, its own failures and its own waits, so what goes
wrong in one keeps none of the others up.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from azure_cni.api.identity import short_id
from azure_cni.api.nic import VNetID
from azure_cni.api.quota import VNetQuota
from azure_cni.cluster.books import Findings
from azure_cni.cluster.census import Census
from azure_cni.cluster.grants import Grants
from azure_cni.cluster.quota_keeper import QuotaKeeper
from azure_cni.cluster.reclaim import Reclaim
from azure_cni.cluster.usage import Usage
from azure_cni.cluster.world import ClusterSettings, ClusterWorld
from azure_cni.errors import AzureCniError, KubeConflict
from azure_cni.faults import Faults
from azure_cni.ipam.backoff import delay_s

log = logging.getLogger(__name__)

DEBOUNCE_S: Final = 0.3
"""A burst of requests is one write of the ledger: it costs the API server up to a tenth of a second."""
SHORTEST_REST_S: Final = 0.01
"""What is due may not be due yet by the last bit of a clock: to look again at once would find that again and again."""
RACES: Final = 10
"""Races that are lost in a row to other controllers and to people. More of them are no races: something refuses each
write as out of date, and is asked with growing pauses like all that fails."""
USAGE_LOOK_S: Final = 10.0
"""How often is looked whether Azure is to be asked how full a VNet is."""


class VNetWork:
    """`run` never ends by itself. It works while all pools are `counted`: one that is missing could exist."""

    def __init__(
        self,
        *,
        world: ClusterWorld,
        settings: ClusterSettings,
        census: Census,
        counted: asyncio.Event,
        vnet_id: VNetID,
        answer: int | AzureCniError | None = None,
    ) -> None:
        """`answer`: what Azure has just said of how full the VNet is, None when it was not asked."""
        self._vnet_id = vnet_id
        self._vnet = short_id(vnet_id)
        self._census = census
        self._clock = world.clock
        self._faults = Faults(world.observer.internal_error)
        self._counted = counted
        self._woken = asyncio.Event()
        self._failures = self._races = 0
        self._usages_s = settings.usages_s
        findings = Findings()
        self._keeper = QuotaKeeper(world.quotas, vnet_id=vnet_id, defaults=settings.defaults, observer=world.observer)
        self._usage = Usage(
            vnets=world.vnets,
            clock=world.clock,
            census=census,
            vnet_id=vnet_id,
            findings=findings,
            every_s=settings.usages_s,
        )
        self._findings = findings
        self._asked = answer is not None
        if answer is not None:
            self._usage.take(answer)
        self._grants = Grants(
            world=world,
            keeper=self._keeper,
            vnet_id=vnet_id,
            census=census,
            findings=findings,
            reclaim=Reclaim(world=world, census=census, every_s=settings.reclaim_s),
        )
        self.breathed_s = world.clock.monotonic_s()
        """Monotonic time of the last look at the pools."""

    @property
    def quota(self) -> VNetQuota | None:
        """As it is known now."""
        return self._keeper.quota

    @property
    def delayed(self) -> int:
        """How many nodes wait for a permit."""
        return self._grants.delayed

    @property
    def is_confirmed(self) -> bool:
        """Azure has said in this term how full the VNet is: so there is one."""
        return self._findings.used is not None

    @property
    def unneeded(self) -> VNetQuota | None:
        """Its quota, if no node and no entry needs it, and no person made or edited it."""
        quota = self._keeper.quota
        if quota is None or quota.is_new or not quota.is_untouched or quota.granted:
            return None
        return None if self._census.of(self._vnet_id) else quota

    def wake(self) -> None:
        """Something changed: look soon."""
        self._woken.set()

    def quota_seen(self, quota: VNetQuota) -> None:
        """A quota was listed, added or changed."""
        if self._keeper.seen(quota):
            self.wake()

    def quota_gone(self, name: str) -> None:
        """A quota was deleted."""
        self._keeper.gone(name)
        self.wake()

    async def run(self) -> None:
        """Until cancelled. Azure is asked first how full the VNet is."""
        await self._counted.wait()
        if not self._asked:
            await self._ask_azure()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._grant(), name=f"grants of {self._vnet_id}")
            tasks.create_task(self._read_usage(), name=f"usage of {self._vnet_id}")

    async def _grant(self) -> None:
        """Round after round."""
        while True:
            await self._counted.wait()
            self.breathed_s = self._clock.monotonic_s()
            rest_s = await self._turn()
            self.breathed_s = self._clock.monotonic_s()
            try:
                async with asyncio.timeout(max(rest_s, SHORTEST_REST_S)):
                    await self._woken.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(DEBOUNCE_S)
            self._woken.clear()

    async def _turn(self) -> float:
        """One round; returns the seconds until the next."""
        try:
            with self._faults.guard("grants", about=self._vnet):
                rest_s = await self._grants.round()
        except KubeConflict as error:  # decided on an old version: decide anew
            log.info("lost a race for the ledger", extra={"vnet": self._vnet, "error": str(error)})
            self._races += 1
            if self._races <= RACES:
                return DEBOUNCE_S * random.uniform(0.5, 1.5)  # noqa: S311  # two that race must not race in step
        except AzureCniError as error:
            log.warning(
                "cannot keep the grants", extra={"vnet": self._vnet, "reason": error.reason, "error": str(error)}
            )
        else:
            self._failures = self._races = 0
            return rest_s
        self._failures += 1
        return delay_s(self._failures, retry_after_s=None, jitter=random.random())  # noqa: S311

    async def _read_usage(self) -> None:
        """Again and again look whether Azure is to be asked."""
        while True:
            await asyncio.sleep(min(self._usages_s, USAGE_LOOK_S))
            await self._ask_azure(if_due=True)

    async def _ask_azure(self, *, if_due: bool = False) -> None:
        try:
            with self._faults.guard("usage", about=self._vnet):
                due = not if_due or self._usage.is_due(exhausted=self._grants.exhausted)
                if due and await self._usage.read():
                    self.wake()
        except AzureCniError as error:
            log.warning("cannot read how full a vnet is", extra={"vnet": self._vnet, "error": str(error)})
