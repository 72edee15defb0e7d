"""One node without a machine: the real use cases on fakes of every port, in the event loop's own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from azure_cni.ipam.life import Holder, Sandbox
from azure_cni.ipam.sizing import Policy
from azure_cni.node.board import Board, Book
from azure_cni.node.demand import Demand
from azure_cni.node.ports import Datapath, Grants, Node
from azure_cni.node.reconciler import Reconciler
from azure_cni.node.repair import Repair
from azure_cni.node.sandboxes import Attachment, Sandboxes
from azure_cni.node.self_grants import SelfGrants
from azure_cni.node.world import NodeSettings, Timing, World
from fakes import waiting
from fakes.cloud import FakeCloud
from fakes.datapath import FakeDatapath
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.nic import FakeNic
from fakes.pools import FakePools


class LoopClock:
    """The event loop's clock: under looptime a minute passes in no time."""

    def boottime_s(self) -> float:
        return asyncio.get_running_loop().time()

    def utc(self, *, ahead_s: float = 0.0) -> str:
        return f"2026-01-01T00:00:00Z+{self.boottime_s() + ahead_s:.0f}s"


@dataclass
class RecordingObserver:
    """Keeps what was told."""

    told: list[tuple[str, ...]] = field(default_factory=list)

    def cni(self, verb: str, code: int, seconds: float) -> None:
        self.told.append(("cni", verb, str(code)))

    def stage(self, stage: str, seconds: float) -> None:
        self.told.append(("stage", stage))

    def azure(self, operation: str, code: str, seconds: float) -> None:
        self.told.append(("azure", operation, code))

    def throttled(self, seconds: float) -> None:
        self.told.append(("throttled", f"{seconds:.0f}"))

    def reconciled(self, result: str) -> None:
        self.told.append(("reconciled", result))

    def repaired(self, kind: str) -> None:
        self.told.append(("repaired", kind))

    def internal_error(self, activity: str) -> None:
        self.told.append(("internal_error", activity))


def pod_body(name: str, *, phase: str = "Pending", ip: str = "", host_network: bool = False) -> dict[str, Any]:
    """A Pod object as the API server would send it."""
    return {
        "metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}"},
        "spec": {"nodeName": "vm1", **({"hostNetwork": True} if host_network else {})},
        "status": {"phase": phase, **({"podIP": ip} if ip else {})},
    }


def holder(name: str) -> Holder:
    """The sandbox of a pod."""
    return Holder(Sandbox(f"container-{name}", "eth0"), f"/run/netns/{name}", "default", name, f"uid-{name}")


class SimulatedNode:
    """A node, started with `running()`. With `before` it is the next agent there, after a reboot if so."""

    def __init__(
        self,
        *,
        nic: FakeNic | None = None,
        policy: Policy | None = None,
        before: SimulatedNode | None = None,
        rebooted: bool = False,
        shrink_delay_s: float = 300.0,
        grants: Grants | None = None,
        observes: bool = False,
        node_port: Callable[[FakePools], Node] = lambda pools: pools,
    ) -> None:
        self.nic: FakeNic = nic or (before.nic if before else FakeNic())
        self.cloud: FakeCloud = before.cloud if before else FakeCloud()
        self.pools: FakePools = before.pools if before else FakePools()
        self.node_port = node_port(self.pools)
        self.events: FakeEvents = before.events if before else FakeEvents()
        survived = before if not rebooted else None
        self.datapath: FakeDatapath = survived.datapath if survived else FakeDatapath()
        self.store: FakeLedgerStore = survived.store if survived else FakeLedgerStore()
        self.observer = RecordingObserver()
        self.relisted = 0
        self.board = Board()
        self.demand = Demand()
        self.book = Book(store=self.store, bell=self.board.bell)
        self.clock = LoopClock()
        world, timing = self._world(grants or SelfGrants()), Timing(shrink_delay_s=shrink_delay_s)
        settings = NodeSettings(defaults=policy or Policy(), observes=observes, timing=timing)
        self.reconciler = Reconciler(
            world=world, settings=settings, book=self.book, board=self.board, demand=self.demand
        )
        self.sandboxes = Sandboxes(
            book=self.book,
            board=self.board,
            demand=self.demand,
            datapath=self.datapath,
            events=self.events,
            clock=self.clock,
            observer=self.observer,
            wake=self.reconciler.wake,
        )

    def _world(self, grants: Grants) -> World:
        return World(
            cloud=self.cloud,
            nic_of=lambda _: self.nic,
            grants=grants,
            pools=self.pools,
            node=self.node_port,
            events=self.events,
            datapath=self.datapath,
            clock=self.clock,
            observer=self.observer,
        )

    def repair(self, *, datapath: Datapath | None = None) -> Repair:
        """What compares its ledger with the kernel: its own fake, or another."""
        return Repair(
            book=self.book,
            demand=self.demand,
            datapath=datapath or self.datapath,
            sandboxes=self.sandboxes,
            clock=self.clock,
            observer=self.observer,
            relist=self.relist,
        )

    def relist(self) -> None:
        """Somebody wants the pods of this node listed: `relisted` says how often."""
        self.relisted += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SimulatedNode]:
        """The reconciler at work, as in the agent."""
        task = asyncio.create_task(self.reconciler.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, fact: Callable[[], bool], *, within_s: float = 120.0) -> None:
        """Wait for something to become so; the test fails with what the node says otherwise."""
        await waiting.until(fact, within_s=within_s, say=lambda: f"{self.board.outlook}, {self.counts}")

    async def add(self, name: str) -> Attachment:
        """ADD for the pod of that name."""
        return await self.sandboxes.add(holder(name))

    async def delete(self, name: str) -> None:
        """DEL for the pod of that name."""
        await self.sandboxes.delete(holder(name).sandbox)

    @property
    def counts(self) -> Any:
        return self.book.ledger.counts()

    @property
    def status(self) -> dict[str, Any]:
        """The pool's status as the API server holds it."""
        status: dict[str, Any] = (self.pools.pool or {}).get("status", {})
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        """One condition of the pool."""
        return next(one for one in self.status["conditions"] if one["type"] == kind)
