"""A node whose agent asks the fake Azure, with all else of it in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from azure_cni.azure.nics import nic_at
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import Adopt
from azure_cni.node.assembly import Node
from azure_cni.node.node_settings import NodePorts, NodeSettings, Timing
from azure_cni.node.pool.reservation_request import SelfGrants
from contract.role_world import TwoVms
from fakes import waiting
from fakes.clocks import LoopClock
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.observer import RecordingObserver
from fakes.pools import FakePools
from simulation.absent import NoPodConditions, NoPods, NoRecords
from simulation.datapath import FakeDatapath

TIMING = Timing(shrink_delay_s=0.1)
SHORT = Timing(nic_s=0.3, shrink_delay_s=0.1)
"""Where the NIC is read again and again."""


async def until(fact: Callable[[], Any], *, say: Callable[[], object] = str) -> None:
    """Wait for it as long as tests do."""
    await waiting.until(lambda: bool(fact()), within_s=waiting.PATIENCE_S, say=say)


class Machine:
    """The node of that VM: what outlives its agent, and the agents that run there one after another."""

    def __init__(
        self, world: TwoVms, vm: str = "vm1", *, shrink_scale_sets: bool = False, timing: Timing = TIMING
    ) -> None:
        self.world, self.vm = world, vm
        self._shrink_scale_sets, self._timing = shrink_scale_sets, timing
        self.pools, self.events = FakePools(), FakeEvents()
        self.datapath, self.store = FakeDatapath(), FakeLedgerStore()

    @asynccontextmanager
    async def agent(self, policy: Policy) -> AsyncIterator[Node]:
        """The next agent, at work."""
        async with self.world.adapters(self.vm) as (arm, cloud):
            ports = NodePorts(
                cloud=cloud,
                nic_of=lambda identity: nic_at(
                    arm,
                    identity.nic_id,
                    chance=Random(7),
                    adopt=Adopt.PLAIN,
                    shrink_scale_sets=self._shrink_scale_sets,
                    beside=identity.beside,
                ),
                grants=SelfGrants(),
                pools=self.pools,
                node=self.pools,
                pods=NoPods(),
                pod_conditions=NoPodConditions(),
                events=self.events,
                datapath=self.datapath,
                store=self.store,
                released=NoRecords(),
                clock=LoopClock(),
                observer=RecordingObserver(),
            )
            node = Node(ports, NodeSettings(defaults=policy, timing=self._timing))
            task = asyncio.create_task(node.reconciler.run())
            try:
                yield node
                assert not task.done()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    @property
    def status(self) -> dict[str, Any]:
        """What the pool says now: a task of its own writes it."""
        status: dict[str, Any] = (self.pools.pool or {}).get("status") or {}
        return status

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        """Those of the pool, by type."""
        return {one["type"]: one for one in self.status.get("conditions", [])}

    def lacking(self) -> str:
        """What the condition says is missing; "" while it says nothing."""
        found = self.conditions.get("PermissionMissing", {"status": "False"})
        return str(found["message"]) if found["status"] == "True" else ""
