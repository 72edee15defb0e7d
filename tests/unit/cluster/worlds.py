"""A cluster without machines: leading controllers on the API server in memory, nodes that keep the protocol, and an
observer that looks at every change and fails the test at the first instant over a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from azure_cni.api import vnet_quota
from azure_cni.api.node_ip_pool import parse
from azure_cni.api.vnet_quota import Limits, VNetQuota, nic_label
from azure_cni.cluster.leader import Leader
from azure_cni.cluster.node_allowance import OPERATION_PACE
from azure_cni.cluster.operation_executor import OperationExecutor
from azure_cni.cluster.ports import ClusterPorts, ClusterSettings, Machines
from azure_cni.cluster.quota_cache import KnownReservations
from azure_cni.faults import Faults
from azure_cni.model.nic import VNetID
from fakes import waiting
from fakes.clocks import LoopClock
from fakes.cluster import NICS, FakeCluster, FakeMemberNodes, FakeMemberPools, FakeQuotas, FakeVNets
from fakes.delegation import executor_of
from fakes.events import FakeEvents
from fakes.observer import RecordingObserver

WRITE_S = 2.0
"""How long Azure takes over a write of a NIC."""


class SimulatedCluster:
    """The cluster, and what is on its NICs."""

    def __init__(self, *, limits: Limits | None = None, reclaim_s: float = 60.0, usages_s: float = 300.0) -> None:
        self.cluster = FakeCluster()
        self.vnets = FakeVNets()
        self.events = FakeEvents()
        self.nics: dict[str, int] = {}
        """Our addresses on each NIC, by its label."""
        self.writes_s: list[float] = []
        """When a NIC was written."""
        self.observer = RecordingObserver()
        self.settings = ClusterSettings(defaults=limits or Limits(), reclaim_s=reclaim_s, usages_s=usages_s)
        self.nodes: dict[str, Node] = {}
        self.cluster.quotas.watchers.append(lambda *_: self.check())
        self.vnets.held = lambda: sum(self.nics.values()) + len(self.nics)
        self.leaders: list[Leader] = []
        self.clock = LoopClock()
        """Of all controllers."""

    def check(self) -> None:
        """P5: what is on a NIC is in the ledger, and the ledger's sum is within the limit."""
        for body in self.cluster.quotas.objects.values():
            grants = (body.get("status") or {}).get("grants") or {}
            assert sum(entry["count"] for entry in grants.values()) <= body["spec"]["limit"]
            covered: dict[str, int] = {}
            for entry in grants.values():
                covered[entry.get("nic", "")] = covered.get(entry.get("nic", ""), 0) + entry["count"]
            if grants:
                assert {nic: (n, covered.get(nic, 0)) for nic, n in self.nics.items() if n > covered.get(nic, 0)} == {}

    def node(self, name: str, **wants: Any) -> Node:
        """A node with its agent."""
        self.nodes[name] = node = Node(self, name, **wants)
        return node

    @asynccontextmanager
    async def controller(
        self, *, lag_s: float = 0.01, page_s: float = 0.0, machines: Machines | None = None
    ) -> AsyncIterator[Leader]:
        """A controller at work, as if it led; its watches are `lag_s` late, and each pool that it lists takes `page_s`.

        With `machines` it carries operations out.
        """
        cluster = self.cluster
        leader = Leader(
            ports=ClusterPorts(
                quotas=FakeQuotas(cluster),
                pools=FakeMemberPools(cluster, page_s=page_s),
                nodes=FakeMemberNodes(cluster),
                vnets=self.vnets,
                events=self.events,
                clock=self.clock,
                observer=self.observer,
            ),
            settings=self.settings,
            operations=self._executor(machines) if machines else None,
        )
        self.leaders.append(leader)
        later = asyncio.get_running_loop().call_later

        def pool(before: Any, after: Any) -> None:
            if after is None:
                later(lag_s, leader.pool_gone, before["metadata"]["name"], before["metadata"]["uid"])
            else:
                later(lag_s, leader.pool_seen, parse(after))

        def quota(before: Any, after: Any) -> None:
            if after is None:
                later(lag_s, leader.quota_gone, before["metadata"]["name"])
            else:
                later(lag_s, leader.quota_seen, vnet_quota.parse(after))

        cluster.pools.watchers.append(pool)
        cluster.quotas.watchers.append(quota)
        task = asyncio.create_task(leader.run())
        try:
            yield leader
            assert not task.done(), task
        finally:
            cluster.pools.watchers.remove(pool)
            cluster.quotas.watchers.remove(quota)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _executor(self, machines: Machines) -> OperationExecutor:
        reservations = KnownReservations(FakeQuotas(self.cluster), known=self._quota_of)
        faults = Faults(self.observer.internal_error)
        return executor_of(self.cluster, machines, reservations=reservations, faults=faults, pace=OPERATION_PACE)

    def _quota_of(self, vnet_id: VNetID) -> VNetQuota | None:
        return self.leaders[-1].quota_of(vnet_id)

    @asynccontextmanager
    async def agents(self) -> AsyncIterator[None]:
        """All nodes' agents at work."""
        tasks = [asyncio.create_task(node.run()) for node in self.nodes.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(outcome, asyncio.CancelledError), outcome

    async def until(self, fact: Callable[[], bool], *, within_s: float = 120.0) -> None:
        """Wait for something to become so."""
        await waiting.until(fact, within_s=within_s, say=lambda: f"{self.held()}, {self.cluster.granted()}")

    def status(self) -> dict[str, Any]:
        """The quota's."""
        status: dict[str, Any] = self.cluster.quotas.objects["vnet"]["status"]
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        """One of the quota's."""
        return next(one for one in self.status()["conditions"] if one["type"] == kind)

    def held(self) -> dict[str, int]:
        """What each node holds."""
        return {name: node.on_nic for name, node in self.nodes.items()}


class Node:
    """An agent in a few lines: asks for what is wanted, uses each answer for one write of its NIC, and reports."""

    def __init__(self, world: SimulatedCluster, name: str, *, want: int = 0, waiting: int = 0, nic: str = "") -> None:
        self.world, self.name, self.want, self.waiting = world, name, want, waiting
        self.nic = nic or f"{name}-nic"
        self.world.nics.setdefault(self.label, 0)
        self.number = 0
        self.spent = True
        self.throttled_until: str | None = None
        self.before_write: Callable[[Node, int], Awaitable[bool]] | None = None
        """Whether Azure takes the write; called with the count that it would leave."""

    @property
    def label(self) -> str:
        return nic_label(self.nic if "/" in self.nic else f"{NICS}/{self.nic}")

    @property
    def on_nic(self) -> int:
        return self.world.nics[self.label]

    def report(self, **status: Any) -> None:
        self.world.cluster.node(
            self.name,
            requested=max(self.want, self.on_nic),
            number=self.number,
            nic=self.nic,
            allocated=self.on_nic,
            free=max(0, self.on_nic - self.waiting),
            waiting=max(0, self.waiting - self.on_nic),
            writeIntent=self.write_intent,
            throttledUntil=self.throttled_until,
            **status,
        )

    @property
    def write_intent(self) -> str:
        if self.want == self.on_nic:
            return "None"
        return "Grow" if self.want > self.on_nic else "Shrink"

    def ask(self) -> None:
        """The next number, for the first wish or for another write."""
        self.number = parse(self.world.cluster.pool(self.name)).last_request(vm_id="").number + 1
        self.spent = False
        self.asked = self.want
        self.report()

    async def run(self) -> None:
        self.ask()
        while True:
            await asyncio.sleep(0.5)
            status = self.world.cluster.status(self.name)
            if self.want != self.asked:
                self.ask()
            elif status.get("grantedFor") == self.number and not self.spent:
                await self._use(min(max(self.want, self.on_nic), status["granted"]))

    async def _use(self, allowed: int) -> None:
        goal = min(self.want, allowed)
        if goal == self.on_nic:
            return
        self.spent = True
        if self.before_write is not None and not await self.before_write(self, goal):
            await asyncio.sleep(WRITE_S)
            self.ask()
            return
        self.world.writes_s.append(asyncio.get_running_loop().time())
        if goal > self.on_nic:
            self.world.nics[self.label] = goal
        await asyncio.sleep(WRITE_S)
        self.world.nics[self.label] = goal
        self.world.check()
        self.ask()
