"""The leading controller's work for one VNet: rounds of grants, and reading how full the VNet is.

VNets are independent: each has its own quota, failures and waits, so a failure in one does not delay the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.cluster.granter import Granter
from azure_cni.cluster.nic_checks import NicChecks
from azure_cni.cluster.nic_owners import NicOwners
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ClusterPorts, ClusterSettings
from azure_cni.cluster.quota_cache import QuotaCache
from azure_cni.cluster.quota_events import QuotaEvents
from azure_cni.cluster.reclaimer import Reclaimer
from azure_cni.cluster.silent_nodes import SilentNodes
from azure_cni.cluster.usage_reader import UsageReader
from azure_cni.errors import AzureCniError, KubeConflict
from azure_cni.faults import Faults
from azure_cni.ipam.limits import delay_s
from azure_cni.model.identity import short_id
from azure_cni.model.nic import SubnetUsage, VNetID
from azure_cni.quota.external_usage import UNKNOWN, HeldBounds, UsageReading, held_bounds
from azure_cni.quota.instance_budget import InstanceBudget

log = logging.getLogger(__name__)

DEBOUNCE_S: Final = 0.3
"""Between two rounds, so that a burst is few writes of the ledger: one costs the API server up to a tenth of a second.
A request that comes alone is answered at once, as is the first of a burst; the others share the next round."""
SHORTEST_REST_S: Final = 0.01
"""A wait can end a clock tick too early. Without this pause the next check would spin until the time is reached."""
RACES: Final = 10
"""Races lost in a row to other controllers and to people. More are not races: something refuses each write as out of
date, so the next attempts wait longer and longer, as after any failure."""
USAGE_LOOK_S: Final = 10.0
"""How often to check whether the VNet's usage must be read from Azure again."""


class VNetWorker:
    """`run` never returns. It works only while all pools are `counted`: before, a missing one may exist."""

    def __init__(
        self,
        *,
        ports: ClusterPorts,
        settings: ClusterSettings,
        node_index: NodeIndex,
        counted: asyncio.Event,
        vnet_id: VNetID,
        instance_budget: InstanceBudget,
        answer: tuple[SubnetUsage, ...] | AzureCniError | None = None,
    ) -> None:
        """`answer`: the VNet's usage as Azure has just shown it, None if it was not asked. All workers of a term share
        the `instance_budget`.
        """
        self._vnet_id = vnet_id
        self._vnet = short_id(vnet_id)
        self._node_index = node_index
        self._clock = ports.clock
        self._faults = Faults(ports.observer.internal_error)
        self._counted = counted
        self._woken = asyncio.Event()
        self._failures = self._races = 0
        self._usages_s = settings.usages_s
        reading = UsageReading()
        self._cache = QuotaCache(ports.quotas, vnet_id=vnet_id, defaults=settings.defaults, observer=ports.observer)
        self._usage_reader = UsageReader(
            vnets=ports.vnets,
            clock=ports.clock,
            node_index=node_index,
            vnet_id=vnet_id,
            reading=reading,
            every_s=settings.usages_s,
            held=self._held,
        )
        self._reading = reading
        self._nic_owners = NicOwners(ports=ports, node_index=node_index, vnet_id=vnet_id, found=self.wake)
        self._nic_checks = NicChecks(vnets=ports.vnets, clock=ports.clock, faults=self._faults, found=self.wake)
        self._silent_nodes = SilentNodes(ports=ports, starving=lambda: self._granter.starving, found=self.wake)
        self._events = QuotaEvents(ports.events, self._faults)
        self._asked = answer is not None
        if answer is not None:
            self._usage_reader.take(answer)
        self._granter = Granter(
            ports=ports,
            cache=self._cache,
            vnet_id=vnet_id,
            node_index=node_index,
            reading=reading,
            reclaimer=Reclaimer(ports=ports, node_index=node_index, every_s=settings.reclaim_s),
            nic_owners=self._nic_owners,
            nic_checks=self._nic_checks,
            silent_nodes=self._silent_nodes,
            events=self._events,
            instance_budget=instance_budget,
        )
        self.last_progress_s = ports.clock.monotonic_s()
        """Monotonic time of the last look at the pools."""

    @property
    def quota(self) -> VNetQuota | None:
        """As it is known now."""
        return self._cache.quota

    @property
    def delayed(self) -> int:
        """How many nodes wait for their grant."""
        return self._granter.delayed

    @property
    def is_confirmed(self) -> bool:
        """Azure has shown the VNet's usage in this term, so the VNet exists."""
        return self._reading.used is not None

    @property
    def unneeded(self) -> VNetQuota | None:
        """Its quota, if no node or entry needs it and no person made or edited it."""
        quota = self._cache.quota
        if quota is None or quota.is_new or not quota.is_untouched or quota.granted:
            return None
        return None if self._node_index.of(self._vnet_id) else quota

    def wake(self) -> None:
        """Something changed: run a round soon."""
        self._woken.set()

    def quota_seen(self, quota: VNetQuota) -> None:
        """A quota was listed, added or changed."""
        if self._cache.observe(quota):
            self.wake()

    def quota_gone(self, name: str) -> None:
        """A quota was deleted."""
        self._cache.forget(name)
        self.wake()

    async def run(self) -> None:
        """Until cancelled. The VNet's usage is read from Azure first."""
        await self._counted.wait()
        if not self._asked:
            await self._ask_azure()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._grant(), name=f"grants of {self._vnet_id}")
            tasks.create_task(self._read_usage(), name=f"usage of {self._vnet_id}")
            tasks.create_task(self._nic_owners.run(), name=f"owners of nics in {self._vnet_id}")
            tasks.create_task(self._nic_checks.run(), name=f"changes of nics in {self._vnet_id}")
            tasks.create_task(self._silent_nodes.run(), name=f"silent nodes of {self._vnet_id}")
            tasks.create_task(self._events.run(), name=f"events of the quota of {self._vnet_id}")

    async def _grant(self) -> None:
        """Run rounds, one after the other."""
        while True:
            await self._counted.wait()
            self.last_progress_s = self._clock.monotonic_s()
            rest_s = await self._run_round()
            self.last_progress_s = ended_s = self._clock.monotonic_s()
            try:
                async with asyncio.timeout(max(rest_s, SHORTEST_REST_S)):
                    await self._woken.wait()
            except TimeoutError:
                pass
            else:
                await asyncio.sleep(max(ended_s + DEBOUNCE_S - self._clock.monotonic_s(), 0.0))
            self._woken.clear()

    async def _run_round(self) -> float:
        """One round; returns the seconds until the next."""
        try:
            with self._faults.guard("grants", about=self._vnet):
                rest_s = await self._granter.run_round()
        except KubeConflict as error:  # decided from an old version: decide again
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

    def _held(self) -> HeldBounds:
        """What this cluster holds, as its pools and the ledger say now; nothing is known without a ledger."""
        quota = self._cache.quota
        if quota is None or quota.is_new:
            return UNKNOWN
        return held_bounds(self._node_index.of(self._vnet_id), quota.entries)

    async def _read_usage(self) -> None:
        """Read the usage whenever it is due."""
        while True:
            await asyncio.sleep(min(self._usages_s, USAGE_LOOK_S))
            await self._ask_azure(if_due=True)

    async def _ask_azure(self, *, if_due: bool = False) -> None:
        try:
            with self._faults.guard("usage", about=self._vnet):
                quota = self._cache.quota
                others = quota is not None and quota.azure is not None and quota.azure.outside > 0
                due = not if_due or self._usage_reader.is_due(exhausted=self._granter.exhausted, others=others)
                if due and await self._usage_reader.read():
                    self.wake()
        except AzureCniError as error:
            log.warning("cannot read how full a vnet is", extra={"vnet": self._vnet, "error": str(error)})
