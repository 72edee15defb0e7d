"""One term of the leading controller: it counts all pools, and runs a worker for each VNet.

A term starts with no knowledge and ends by being cancelled at any point. Nothing needs to be handed over, because every
decision follows from what the API server and Azure say. The work itself is in `vnet_worker`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from typing import Final

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.cluster.node_allowance import Wakes
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ClusterPorts, ClusterSettings, Operations
from azure_cni.cluster.vnet_checks import VNetChecks
from azure_cni.cluster.vnet_worker import DEBOUNCE_S, VNetWorker
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.ipam.limits import delay_s
from azure_cni.model.nic import VNetID
from azure_cni.quota.instance_budget import InstanceBudget
from azure_cni.quota.messages import Explanation, is_news

log = logging.getLogger(__name__)

LONGEST_REST_S: Final = 30.0
"""How often to look for workers to start or stop, if nothing calls for it before."""
UNNEEDED_S: Final = 600.0
"""How long a quota is kept without nodes and entries: longer than it takes to recreate nodes."""
VNETS_AGAIN_S: Final = 10.0
"""How often to check whether Azure must be asked again about VNets that it did not confirm."""
OPERATIONS_RESTART_DELAY_S: Final = 2.0
"""After a fault, until NIC operations are executed again: nodes wait, and what was under way is repeated."""


class Leader:
    """One term. `run` never returns; events of the watches may be passed in before its start."""

    def __init__(self, *, ports: ClusterPorts, settings: ClusterSettings, operations: Operations | None = None) -> None:
        self._ports = ports
        self._faults = Faults(ports.observer.internal_error)
        self._operations = operations
        self._settings = settings
        self.node_index = NodeIndex()
        self.instance_budget = InstanceBudget(ports.clock.monotonic_s)
        self._wakes = Wakes(ports.clock)
        self._workers: dict[str, VNetWorker] = {}
        """By the VNet's ID in lower case, like the following maps."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._quotas: dict[str, VNetID] = {}
        """The VNets that have a quota, by the quota's name; some may have no node any more."""
        self._checks = VNetChecks(vnets=ports.vnets, clock=ports.clock, node_index=self.node_index, faults=self._faults)
        self._new_vnet = asyncio.Event()
        self._counted = asyncio.Event()
        """All pools have been seen. Before that, a missing one may exist."""
        self._relists = 0
        self._gone: set[str] = set()
        """UIDs of pools, and names of quotas, that were deleted during the count: a list may still show them."""
        self._woken = asyncio.Event()
        self._failures = 0
        self._last_progress_s = ports.clock.monotonic_s()

    # What the watches see.

    def pool_seen(self, pool: NodeIPPool) -> None:
        """A pool was listed, added or changed."""
        try:
            with self._faults.guard("pool", about=pool.name):
                if (
                    self._operations is not None
                ):  # even if it is no news to the index, which may have read the pool earlier
                    self._operations.see(pool)
                if self.node_index.see(pool, now_s=self._ports.clock.monotonic_s()):
                    self._wake(pool.name)
        except AzureCniError as error:  # all others go on
            log.info("cannot read a pool: skipped", extra={"pool": pool.name, "error": str(error)})

    def pool_gone(self, name: str, uid: str) -> None:
        """A pool was deleted."""
        self._note_gone(uid)
        self._wake(name)
        self.node_index.forget(name, uid=uid)
        if self._operations is not None:
            self._operations.forget(name, uid)

    def quota_seen(self, quota: VNetQuota) -> None:
        """A quota was listed, added or changed."""
        if self._quotas.get(quota.name) != quota.vnet_id:
            self._quotas[quota.name] = quota.vnet_id
            self._woken.set()
        for worker in self._workers.values():
            worker.quota_seen(quota)

    def quota_gone(self, name: str) -> None:
        """A quota was deleted. It is not recreated if the VNet has no node."""
        self._note_gone(name)
        self._quotas.pop(name, None)
        self._end_idle()
        for worker in self._workers.values():
            worker.quota_gone(name)

    def relisted(self) -> None:
        """A watch restarted. It does not report what was deleted in between, so all pools are counted again."""
        self._relists += 1
        self._counted.clear()
        self._woken.set()

    def _note_gone(self, what: str) -> None:
        if not self._counted.is_set():
            self._gone.add(what)

    def _wake(self, name: str) -> None:
        """A pool changed: wake its VNet's worker, or look for a new VNet."""
        node = self.node_index.get(name)
        worker = self._workers.get(node.vnet_id.lower()) if node is not None else None
        self._wakes(name, self._look if worker is None else worker.wake)

    def _look(self) -> None:
        """There may be a new VNet."""
        self._woken.set()
        self._new_vnet.set()

    # What is known.

    @property
    def quotas(self) -> list[VNetQuota]:
        """As they are known now."""
        return [worker.quota for worker in self._workers.values() if worker.quota is not None]

    def quota_of(self, vnet_id: VNetID) -> VNetQuota | None:
        """The newest known quota of a VNet; None if the VNet has no worker yet."""
        worker = self._workers.get(vnet_id.lower())
        return None if worker is None else worker.quota

    @property
    def stuck(self) -> int:
        """How many nodes have a NIC operation whose result cannot be written."""
        return self._operations.stuck if self._operations is not None else 0

    @property
    def delayed(self) -> int:
        """How many nodes wait for their grant."""
        return sum(worker.delayed for worker in self._workers.values())

    @property
    def last_progress_s(self) -> float:
        """Monotonic time of the last look at the pools, in that VNet where it was longest ago."""
        workers = self._workers.values() if self._counted.is_set() else ()  # else the workers wait for the count
        return min([self._last_progress_s, *(worker.last_progress_s for worker in workers)])

    # The work.

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._operations is not None:
                tasks.create_task(self._execute_operations(self._operations), name="operations")
            tasks.create_task(self._check_vnets(), name="vnets")
            tasks.create_task(self._tidy(), name="tidy")
            while True:
                rest_s = await self._run_pass(tasks)
                self._last_progress_s = self._ports.clock.monotonic_s()
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest_s):
                        await self._woken.wait()
                self._woken.clear()

    async def _execute_operations(self, operations: Operations) -> None:
        """Not before all pools were seen: they show which node has which VM."""
        await self._counted.wait()
        while True:
            try:
                with self._faults.guard("operations"):
                    await operations.run()
            except AzureCniError as error:
                log.warning("NIC operations failed, and are executed again in a moment", extra={"error": str(error)})
            await asyncio.sleep(OPERATIONS_RESTART_DELAY_S)

    async def _run_pass(self, tasks: asyncio.TaskGroup) -> float:
        """Count if needed, start and stop workers; returns the seconds until the next pass."""
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
            if key not in self._workers:
                answer = self._checks.answer(key)
                self._workers[key] = worker = VNetWorker(
                    ports=self._ports,
                    settings=self._settings,
                    node_index=self.node_index,
                    counted=self._counted,
                    vnet_id=vnet,
                    instance_budget=self.instance_budget,
                    answer=None if answer is None else answer.outcome,
                )
                self._tasks[key] = tasks.create_task(worker.run(), name=f"work for {vnet}")

    def _vnets(self) -> dict[str, VNetID]:
        """The VNets that have a quota (perhaps only with entries to reclaim), and those that get one."""
        confirmed = {key: vnet for key, vnet in self.node_index.vnets().items() if self._is_confirmed(key)}
        return {vnet.lower(): vnet for vnet in self._quotas.values() if vnet} | confirmed

    def _is_confirmed(self, key: str) -> bool:
        worker = self._workers.get(key)
        return (worker is not None and worker.is_confirmed) or self._checks.admits(key)

    async def _check_vnets(self) -> None:
        """Ask Azure about VNets that nodes name and that have no quota."""
        while True:
            await self._counted.wait()
            known = self._vnets()
            unconfirmed = {key: vnet for key, vnet in self.node_index.vnets().items() if key not in known}
            if unconfirmed and await self._checks.look(unconfirmed):
                self._woken.set()
                for key, vnet in unconfirmed.items():
                    await self._explain_unconfirmed(vnet, self._checks.explanation(key, vnet))
            self._new_vnet.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(VNETS_AGAIN_S):
                    await self._new_vnet.wait()
            await asyncio.sleep(DEBOUNCE_S)

    async def _tidy(self) -> None:
        """Remove quotas that nobody has needed for a while. Returning nodes get a new one in a moment."""
        since_s: dict[str, float] = {}
        while True:
            await asyncio.sleep(VNETS_AGAIN_S)
            await self._counted.wait()
            now_s = self._ports.clock.monotonic_s()
            unneeded = [quota for worker in self._workers.values() if (quota := worker.unneeded) is not None]
            since_s = {quota.name: since_s.get(quota.name, now_s) for quota in unneeded}
            for quota in unneeded:
                if now_s < since_s[quota.name] + UNNEEDED_S:
                    continue
                try:
                    with self._faults.guard("tidy", about=quota.name):
                        await self._ports.quotas.delete(quota)
                except AzureCniError as error:  # it changed, or is tried again
                    log.info("cannot remove a quota", extra={"quota": quota.name, "error": str(error)})
                else:
                    log.info("quota removed that no node needs", extra={"quota": quota.name})

    async def _explain_unconfirmed(self, vnet_id: VNetID, explanation: Explanation) -> None:
        """Write once into its nodes' pools why they are granted nothing."""
        for node in self.node_index.of(vnet_id) if explanation.reason else ():
            if not is_news(node, explanation):
                continue
            try:
                await self._ports.pools.write(node.name, version=node.version.number, status=explanation.status())
            except AzureCniError as error:  # it changed, or the next look reports it
                log.info(
                    "cannot write why a vnet is unconfirmed",
                    extra={"pool": node.name, "error": str(error)},
                )

    def _end_idle(self) -> None:
        """Stop the workers of VNets that have neither nodes nor a quota."""
        for key in self._workers.keys() - self._vnets().keys():
            del self._workers[key]
            self._tasks.pop(key).cancel()

    async def _count(self) -> None:
        """List all pools. The watches may start late, and a pool that they have not shown could be mistaken for gone.

        A list shows the state at its beginning, so objects deleted before its end are skipped, and a relist repeats the
        count.
        """
        relists = self._relists
        self._gone.clear()
        unseen = {node.name: node.version.uid for node in self.node_index}
        async for pool in self._ports.pools.walk():
            unseen.pop(pool.name, None)
            if pool.version.uid not in self._gone:
                self.pool_seen(pool)
        for name, uid in unseen.items():
            self.pool_gone(name, uid)
        listed = await self._ports.quotas.list()
        self._quotas = {quota.name: quota.vnet_id for quota in listed if quota.name not in self._gone}
        if relists == self._relists:
            self._gone.clear()
            self._counted.set()
            log.info("pools counted", extra={"pools": len(self.node_index), "vnets": len(self.node_index.vnets())})
