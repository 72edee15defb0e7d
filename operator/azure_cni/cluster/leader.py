"""What the controller that leads does, for one term: it counts all pools, and then keeps the grants of every VNet.

A term begins with nothing known and ends by being cancelled at whatever it is doing: nothing needs to be handed over,
because every decision is made of what the API server and Azure say. The rounds are the only writer of the quotas; what
is found out beside them (vanished nodes, the use of others) is laid before them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api import quota as quota_api
from azure_cni.api.nic import VNetID
from azure_cni.api.quota import VNetQuota
from azure_cni.cluster.books import Findings
from azure_cni.cluster.census import Census
from azure_cni.cluster.grants import LONGEST_REST_S, Grants
from azure_cni.cluster.ports import Orders
from azure_cni.cluster.quota_keeper import QuotaKeeper
from azure_cni.cluster.reclaim import Reclaim
from azure_cni.cluster.usage import Usage
from azure_cni.cluster.world import ClusterSettings, ClusterWorld
from azure_cni.errors import AzureCniError, KubeConflict
from azure_cni.ipam.backoff import delay_s

log = logging.getLogger(__name__)

DEBOUNCE_S: Final = 0.3
"""A burst of requests is one write of the ledger: it costs the API server up to a tenth of a second."""
USAGE_LOOK_S: Final = 10.0
"""How often is looked whether Azure is to be asked how full a VNet is."""
SETTLE_S: Final = 30.0
"""Nothing is taken for vanished so early in a term."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What is done for one VNet."""

    keeper: QuotaKeeper
    findings: Findings
    grants: Grants
    reclaim: Reclaim
    usage: Usage


class Leader:
    """One term. `run` never ends by itself; what the watches see may be told from before its start."""

    def __init__(self, *, world: ClusterWorld, settings: ClusterSettings, orders: Orders | None = None) -> None:
        self._world = world
        self._orders = orders
        self._settings = settings
        self.census = Census()
        self._works: dict[str, _Work] = {}
        self._quotas: dict[str, VNetID] = {}
        """The VNets that have a quota, by its name: also those that have no node any more."""
        self._woken = asyncio.Event()
        self._counted = asyncio.Event()
        self._failures = 0
        self.breathed_s = world.clock.monotonic_s()
        """Monotonic time of the last look at the pools."""

    # What the watches see.

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """A pool was listed, added or changed."""
        if self._orders is not None:  # also of what is no news to the census: that reads pools by itself
            self._orders.see(body)
        if self.census.see(body, now_s=self._world.clock.monotonic_s()):
            self._woken.set()

    def pool_gone(self, name: str, uid: str) -> None:
        """A pool was deleted."""
        self.census.forget(name, uid=uid)
        self._woken.set()
        if self._orders is not None:
            self._orders.forget(name, uid)

    def quota_seen(self, body: Mapping[str, Any]) -> None:
        """A quota was listed, added or changed."""
        quota = quota_api.read(body)
        self._quotas[quota.name] = quota.vnet_id
        if any(work.keeper.seen(quota) for work in self._works.values()):  # no two keep the same one
            self._woken.set()

    def quota_gone(self, name: str) -> None:
        """A quota was deleted."""
        self._quotas.pop(name, None)
        for work in self._works.values():
            work.keeper.gone(name)
        self._woken.set()

    def relisted(self) -> None:
        """A watch began anew: what was deleted meanwhile it does not tell. All pools are counted again."""
        self.census.complete = False
        self._woken.set()

    @property
    def quotas(self) -> list[VNetQuota]:
        """As they are known now."""
        return [work.keeper.quota for work in self._works.values() if work.keeper.quota is not None]

    @property
    def delayed(self) -> int:
        """How many nodes wait for a permit."""
        return sum(work.grants.delayed for work in self._works.values())

    # The work.

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._grant(), name="grants")
            tasks.create_task(self._reclaim(), name="reclaim")
            tasks.create_task(self._read_usages(), name="usages")
            if self._orders is not None:
                tasks.create_task(self._serve_orders(self._orders), name="orders")

    async def _serve_orders(self, orders: Orders) -> None:
        """Not before all pools were seen: whose machine is whose, they show."""
        await self._counted.wait()
        await orders.run()

    async def _grant(self) -> None:
        """Round after round."""
        while True:
            rest_s = await self._turn()
            self.breathed_s = self._world.clock.monotonic_s()
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
            rests_s = [await (await self._of(vnet)).grants.round() for vnet in self._vnets()]
        except KubeConflict as error:  # decided on an old version: decide anew
            log.info("lost a race for the ledger", extra={"error": str(error)})
            return DEBOUNCE_S * random.uniform(0.5, 1.5)  # noqa: S311  # two that race must not race in step
        except AzureCniError as error:
            self._failures += 1
            log.warning("cannot keep the grants", extra={"reason": error.reason, "error": str(error)})
            return delay_s(self._failures, retry_after_s=None, jitter=random.random())  # noqa: S311
        self._failures = 0
        return min(rests_s, default=LONGEST_REST_S)

    def _vnets(self) -> list[VNetID]:
        """Those that nodes are in, and those that nodes were in: their entries are still to be reclaimed."""
        known = {vnet.lower(): vnet for vnet in self._quotas.values() if vnet}
        return list({**known, **self.census.vnets()}.values())

    async def _count(self) -> None:
        """All pools, by ourselves: the watches may begin late, and a pool that is missing could be taken for gone."""
        before = {member.name for member in self.census}
        listed = set()
        async for body in self._world.pools.walk():
            self.pool_seen(body)
            listed.add(str(body["metadata"]["name"]))
        self.census.drop(before - listed)
        if self._orders is not None:
            for name in before - listed:
                self._orders.forget(name)
        self._quotas = {quota.name: quota.vnet_id for quota in await self._world.quotas.list()}
        self.census.complete = True
        self._counted.set()
        log.info("pools counted", extra={"pools": len(self.census), "vnets": len(self.census.vnets())})

    async def _of(self, vnet: VNetID) -> _Work:
        """The work for one VNet; for one that was not met before, Azure is asked first how full it is."""
        key = vnet.lower()
        if key not in self._works:
            world, findings = self._world, Findings()
            keeper = QuotaKeeper(world.quotas, vnet_id=vnet, defaults=self._settings.defaults, observer=world.observer)
            usage = Usage(
                vnets=world.vnets,
                clock=world.clock,
                census=self.census,
                vnet_id=vnet,
                findings=findings,
                every_s=self._settings.usages_s,
            )
            await usage.read()
            self._works[key] = _Work(
                keeper=keeper,
                findings=findings,
                grants=Grants(world=world, keeper=keeper, vnet_id=vnet, census=self.census, findings=findings),
                reclaim=Reclaim(census=self.census, pools=world.pools, vnets=world.vnets, observer=world.observer),
                usage=usage,
            )
        return self._works[key]

    async def _read_usages(self) -> None:
        """Again and again look whether Azure is to be asked."""
        while True:
            await asyncio.sleep(min(self._settings.usages_s, USAGE_LOOK_S))
            for work in list(self._works.values()):
                if work.usage.is_due(exhausted=work.grants.exhausted) and await work.usage.read():
                    self._woken.set()

    async def _reclaim(self) -> None:
        """Again and again look into entries that have no pool."""
        await asyncio.sleep(min(SETTLE_S, self._settings.reclaim_s))
        while True:
            for work in list(self._works.values()):
                quota = work.keeper.quota
                if quota is not None and self.census.complete:
                    work.findings.vanished = await work.reclaim.look(quota)
                    self._woken.set()
            await asyncio.sleep(self._settings.reclaim_s)
