"""What the controller that leads does, for one term: it counts all pools, and has each VNet worked for.

A term begins with nothing known and ends by being cancelled at whatever it is doing: nothing needs to be handed over,
because every decision is made of what the API server and Azure say. The work itself is in `vnet_work`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from azure_cni.api import pool as pool_api
from azure_cni.api import quota as quota_api
from azure_cni.api.nic import VNetID
from azure_cni.api.quota import VNetQuota
from azure_cni.api.versions import version
from azure_cni.cluster.census import Census
from azure_cni.cluster.grants import LONGEST_REST_S
from azure_cni.cluster.ports import Orders
from azure_cni.cluster.vnet_checks import VNetChecks
from azure_cni.cluster.vnet_work import DEBOUNCE_S, VNetWork
from azure_cni.cluster.words import Remark, is_news
from azure_cni.cluster.world import ClusterSettings, ClusterWorld
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.ipam.backoff import delay_s

log = logging.getLogger(__name__)

UNNEEDED_S: Final = 600.0
"""How long a quota is kept without nodes and entries: longer than nodes are away that are made again."""
VNETS_AGAIN_S: Final = 10.0
"""How often is looked whether VNets that Azure did not confirm are to be asked about again."""
ORDERS_AGAIN_S: Final = 2.0
"""When orders are served again after a fault: nodes wait, and whatever was under way is carried out again."""


class Leader:
    """One term. `run` never ends by itself; what the watches see may be told from before its start."""

    def __init__(self, *, world: ClusterWorld, settings: ClusterSettings, orders: Orders | None = None) -> None:
        self._world = world
        self._faults = Faults(world.observer.internal_error)
        self._orders = orders
        self._settings = settings
        self.census = Census()
        self._works: dict[str, VNetWork] = {}
        """By the VNet's ID in lower case, as all that follow."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._quotas: dict[str, VNetID] = {}
        """The VNets that have a quota, by its name: also those that have no node any more."""
        self._checks = VNetChecks(vnets=world.vnets, clock=world.clock, census=self.census, faults=self._faults)
        self._new_vnet = asyncio.Event()
        self._counted = asyncio.Event()
        """All pools have been seen: before that, one that is missing may exist."""
        self._relists = 0
        self._gone: set[str] = set()
        """UIDs of pools, and names of quotas, that went while they were counted: a list may still show them."""
        self._woken = asyncio.Event()
        self._failures = 0
        self._breathed_s = world.clock.monotonic_s()

    # What the watches see.

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """A pool was listed, added or changed."""
        name = pool_api.pool_name(body)
        try:
            with self._faults.guard("pool", about=name):
                if self._orders is not None:  # also of what is no news to the census: that reads pools by itself
                    self._orders.see(body)
                if self.census.see(body, now_s=self._world.clock.monotonic_s()):
                    self._wake(name)
        except AzureCniError as error:  # all others go on
            log.info("cannot read a pool: skipped", extra={"pool": name, "error": str(error)})

    def pool_gone(self, name: str, uid: str) -> None:
        """A pool was deleted."""
        self._note_gone(uid)
        self._wake(name)
        self.census.forget(name, uid=uid)
        if self._orders is not None:
            self._orders.forget(name, uid)

    def quota_seen(self, body: Mapping[str, Any]) -> None:
        """A quota was listed, added or changed."""
        quota = quota_api.read(body)
        if self._quotas.get(quota.name) != quota.vnet_id:
            self._quotas[quota.name] = quota.vnet_id
            self._woken.set()
        for work in self._works.values():
            work.quota_seen(quota)

    def quota_gone(self, name: str) -> None:
        """A quota was deleted. Nobody makes it again where there is no node."""
        self._note_gone(name)
        self._quotas.pop(name, None)
        self._end_idle()
        for work in self._works.values():
            work.quota_gone(name)

    def relisted(self) -> None:
        """A watch began anew: what was deleted meanwhile it does not tell. All pools are counted again."""
        self._relists += 1
        self._counted.clear()
        self._woken.set()

    def _note_gone(self, what: str) -> None:
        if not self._counted.is_set():
            self._gone.add(what)

    def _wake(self, name: str) -> None:
        """A pool changed: its VNet is worked for, or is to be."""
        member = self.census.get(name)
        work = self._works.get(member.vnet_id.lower()) if member is not None else None
        if work is not None:
            work.wake()
            return
        self._woken.set()
        self._new_vnet.set()

    # What is known.

    @property
    def quotas(self) -> list[VNetQuota]:
        """As they are known now."""
        return [work.quota for work in self._works.values() if work.quota is not None]

    @property
    def delayed(self) -> int:
        """How many nodes wait for a permit."""
        return sum(work.delayed for work in self._works.values())

    @property
    def breathed_s(self) -> float:
        """Monotonic time of the last look at the pools, in that VNet where it was longest ago."""
        works = self._works.values() if self._counted.is_set() else ()  # else they wait for us
        return min([self._breathed_s, *(work.breathed_s for work in works)])

    # The work.

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._orders is not None:
                tasks.create_task(self._serve_orders(self._orders), name="orders")
            tasks.create_task(self._check_vnets(), name="vnets")
            tasks.create_task(self._tidy(), name="tidy")
            while True:
                rest_s = await self._turn(tasks)
                self._breathed_s = self._world.clock.monotonic_s()
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest_s):
                        await self._woken.wait()
                self._woken.clear()

    async def _serve_orders(self, orders: Orders) -> None:
        """Not before all pools were seen: whose machine is whose, they show."""
        await self._counted.wait()
        while True:
            try:
                with self._faults.guard("orders"):
                    await orders.run()
            except AzureCniError as error:
                log.warning("orders are served again in a moment", extra={"error": str(error)})
            await asyncio.sleep(ORDERS_AGAIN_S)

    async def _turn(self, tasks: asyncio.TaskGroup) -> float:
        """Count if need be, begin and end work; returns the seconds until the next look."""
        try:
            with self._faults.guard("count"):
                while not self._counted.is_set():
                    await self._count()
                self._end_idle()
                self._begin(tasks)
        except AzureCniError as error:
            log.warning("cannot count the pools", extra={"reason": error.reason, "error": str(error)})
        else:
            self._failures = 0
            return LONGEST_REST_S
        self._failures += 1
        return delay_s(self._failures, retry_after_s=None, jitter=random.random())  # noqa: S311

    def _begin(self, tasks: asyncio.TaskGroup) -> None:
        for key, vnet in self._vnets().items():
            if key not in self._works:
                answer = self._checks.answer(key)
                self._works[key] = work = VNetWork(
                    world=self._world,
                    settings=self._settings,
                    census=self.census,
                    counted=self._counted,
                    vnet_id=vnet,
                    answer=None if answer is None else answer.outcome,
                )
                self._tasks[key] = tasks.create_task(work.run(), name=f"work for {vnet}")

    def _vnets(self) -> dict[str, VNetID]:
        """Those that have a quota, if only for entries that are still to be reclaimed, and those that get one."""
        confirmed = {key: vnet for key, vnet in self.census.vnets().items() if self._is_confirmed(key)}
        return {vnet.lower(): vnet for vnet in self._quotas.values() if vnet} | confirmed

    def _is_confirmed(self, key: str) -> bool:
        work = self._works.get(key)
        return (work is not None and work.is_confirmed) or self._checks.admits(key)

    async def _check_vnets(self) -> None:
        """Whatever VNet a node names: whether Azure has it."""
        while True:
            await self._counted.wait()
            known = self._vnets()
            unconfirmed = {key: vnet for key, vnet in self.census.vnets().items() if key not in known}
            if unconfirmed and await self._checks.look(unconfirmed):
                self._woken.set()
                for key, vnet in unconfirmed.items():
                    await self._tell_unconfirmed(vnet, self._checks.remark(key, vnet))
            self._new_vnet.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(VNETS_AGAIN_S):
                    await self._new_vnet.wait()
            await asyncio.sleep(DEBOUNCE_S)

    async def _tidy(self) -> None:
        """Remove quotas that nobody has needed for a while. Nodes that come back have a new one in a moment."""
        since_s: dict[str, float] = {}
        while True:
            await asyncio.sleep(VNETS_AGAIN_S)
            await self._counted.wait()
            now_s = self._world.clock.monotonic_s()
            unneeded = [quota for work in self._works.values() if (quota := work.unneeded) is not None]
            since_s = {quota.name: since_s.get(quota.name, now_s) for quota in unneeded}
            for quota in unneeded:
                if now_s < since_s[quota.name] + UNNEEDED_S:
                    continue
                try:
                    with self._faults.guard("tidy", about=quota.name):
                        await self._world.quotas.delete(quota)
                except AzureCniError as error:  # it changed, or is tried again
                    log.info("cannot remove a quota", extra={"quota": quota.name, "error": str(error)})
                else:
                    log.info("quota removed that no node needs", extra={"quota": quota.name})

    async def _tell_unconfirmed(self, vnet_id: VNetID, remark: Remark) -> None:
        """Its nodes learn why they are granted nothing: once."""
        for member in self.census.of(vnet_id) if remark.reason else ():
            if not is_news(member, remark):
                continue
            try:
                await self._world.pools.write(member.name, version=member.version.number, status=remark.status())
            except AzureCniError as error:  # it changed, or the next look reports it
                log.info("cannot tell a node about its vnet", extra={"pool": member.name, "error": str(error)})

    def _end_idle(self) -> None:
        """A VNet without nodes and without a quota is nobody's."""
        for key in self._works.keys() - self._vnets().keys():
            del self._works[key]
            self._tasks.pop(key).cancel()

    async def _count(self) -> None:
        """All pools, by ourselves: the watches may begin late, and a pool that is missing could be taken for gone.

        What a list shows is of its beginning: what goes or is relisted before its end is not taken from it.
        """
        relists = self._relists
        self._gone.clear()
        unseen = {member.name: member.version.uid for member in self.census}
        async for body in self._world.pools.walk():
            unseen.pop(pool_api.pool_name(body), None)
            if version(body).uid not in self._gone:
                self.pool_seen(body)
        for name, uid in unseen.items():
            self.pool_gone(name, uid)
        listed = await self._world.quotas.list()
        self._quotas = {quota.name: quota.vnet_id for quota in listed if quota.name not in self._gone}
        if relists == self._relists:
            self._gone.clear()
            self._counted.set()
            log.info("pools counted", extra={"pools": len(self.census), "vnets": len(self.census.vnets())})
