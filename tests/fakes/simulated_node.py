"""One node without a machine: the real use cases on a fake of every port, on the event loop's own time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from azure_cni.api.egress import EgressNamespaces
from azure_cni.datapath.interface import Wiring
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.ipam.limits import COOLING_S
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance
from azure_cni.model.identity import LinkNames, ModeName
from azure_cni.model.nic import NicID
from azure_cni.model.pod_subnets import PodSubnetRule
from azure_cni.node.assembly import Node
from azure_cni.node.audit import AuditTrail
from azure_cni.node.azure_ports import ShownAddresses
from azure_cni.node.node_settings import NodePorts, NodeSettings, Timing
from azure_cni.node.pods.leaks import Leaks
from azure_cni.node.pods.liveness import RollCall
from azure_cni.node.pods.repair import Repair
from azure_cni.node.pool.reservation_request import SelfGrants
from azure_cni.node.ports import Datapath, Grants, NodeObject
from fakes import waiting
from fakes.clocks import LoopClock
from fakes.cloud import FakeCloud
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.nic import FakeNic
from fakes.observer import RecordingObserver
from fakes.pod_conditions import FakePodConditions
from fakes.pools import FakePools
from simulation.absent import NoPods, NoRecords
from simulation.datapath import FakeDatapath


def pod_body(
    name: str, *, phase: str = "Pending", ip: str = "", host_network: bool = False, **metadata: Any
) -> dict[str, Any]:
    """A Pod object as the API server would send it."""
    return {
        "metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}", **metadata},
        "spec": {"nodeName": "vm1", **({"hostNetwork": True} if host_network else {})},
        "status": {"phase": phase, **({"podIP": ip} if ip else {})},
    }


def holder(name: str) -> Holder:
    """The sandbox of a pod."""
    return Holder(
        Sandbox("azure-cni", f"container-{name}", "eth0"), f"/run/netns/{name}", "default", name, f"uid-{name}"
    )


class SimulatedNode:
    """A node, started with `running()`. With `before` it is the next agent there, after a reboot if so."""

    def __init__(
        self,
        *,
        nic: FakeNic | None = None,
        cloud: FakeCloud | None = None,
        pools: FakePools | None = None,
        policy: Policy | None = None,
        before: SimulatedNode | None = None,
        rebooted: bool = False,
        shrink_delay_s: float = 300.0,
        grants: Grants | None = None,
        nic_read_only: bool = False,
        mode: ModeName = ModeName.TRANSPARENT,
        link_names: LinkNames = LinkNames.HASH,
        egress: Collection[str] = (),
        attachable: tuple[Allowance, ...] = (),
        cooling_s: float = COOLING_S,
        node_port: Callable[[FakePools], NodeObject] = lambda pools: pools,
        audit: AuditTrail | None = None,
        in_cluster: bool = True,
        engine: RollCall | None = None,
        shown_addresses: ShownAddresses | None = None,
        store: FakeLedgerStore | None = None,
        further_nics: dict[NicID, FakeNic] | None = None,
        pod_subnets: tuple[PodSubnetRule, ...] = (),
    ) -> None:
        self.further_nics: dict[NicID, FakeNic] = further_nics or (before.further_nics if before else {})
        self.nic: FakeNic = nic or (before.nic if before else FakeNic())
        self.cloud: FakeCloud = cloud or (before.cloud if before else FakeCloud())
        self.pools: FakePools = pools or (before.pools if before else FakePools())
        self.node_port = node_port(self.pools)
        self.events: FakeEvents = before.events if before else FakeEvents()
        survived = before if not rebooted else None
        self.datapath: FakeDatapath = survived.datapath if survived else FakeDatapath()
        self.store: FakeLedgerStore = store or (survived.store if survived else FakeLedgerStore())
        self.pod_conditions = FakePodConditions()
        self.observer = RecordingObserver()
        self.audit = audit
        self.shown_addresses = shown_addresses
        self.relisted = 0
        self.clock = LoopClock()
        self.attachable: tuple[Allowance, ...] = attachable or (before.attachable if before else ())
        timing = Timing(shrink_delay_s=shrink_delay_s)
        settings = NodeSettings(
            defaults=policy or Policy(),
            mode=mode,
            link_names=link_names,
            egress=EgressNamespaces.of(egress),
            nic_read_only=nic_read_only,
            timing=timing,
            cooling_s=cooling_s,
            attachable=self.attachable,
            in_cluster=in_cluster,
            pod_subnets=pod_subnets,
        )
        self.engine = engine
        self.node = node = Node(self._ports(grants or SelfGrants()), settings, engine=engine)
        self.state, self.demand, self.stored = node.state, node.demand, node.stored
        self.reconciler, self.sandboxes = node.reconciler, node.sandboxes

    def _ports(self, grants: Grants) -> NodePorts:
        return NodePorts(
            cloud=self.cloud,
            nic_of=lambda who: self.further_nics.get(who.nic_id, self.nic),
            grants=grants,
            pools=self.pools,
            node=self.node_port,
            pods=NoPods(),
            pod_conditions=self.pod_conditions,
            events=self.events,
            datapath=self.datapath,
            store=self.store,
            released=NoRecords(),
            clock=self.clock,
            observer=self.observer,
            audit=self.audit,
            shown_addresses=self.shown_addresses,
        )

    def repair(self, *, datapath: Datapath | None = None) -> Repair:
        """What compares its ledger with the kernel: its own fake, or another."""
        on = datapath or self.datapath
        leaks = Leaks(
            stored=self.stored,
            demand=self.demand,
            datapath=on,
            sandboxes=self.sandboxes,
            clock=self.clock,
            observer=self.observer,
            relist=self.relist,
            engine=self.engine,
        )
        return Repair(stored=self.stored, datapath=on, sandboxes=self.sandboxes, observer=self.observer, leaks=leaks)

    def relist(self) -> None:
        """Somebody wants the pods of this node listed: `relisted` says how often."""
        self.relisted += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SimulatedNode]:
        """The reconciler at work, as in the agent."""
        tasks = [asyncio.create_task(work) for work in (self.reconciler.run(), self.node.egress.run())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def until(self, fact: Callable[[], bool], *, within_s: float = 120.0) -> None:
        """Wait for something to become so; the test fails with what the node says otherwise."""
        await waiting.until(fact, within_s=within_s, say=lambda: f"{self.state.forecast}, {self.counts}")

    async def add(self, name: str) -> Wiring:
        """ADD for the pod of that name."""
        return await self.sandboxes.add(holder(name))

    async def delete(self, name: str) -> None:
        """DEL for the pod of that name."""
        await self.sandboxes.delete(holder(name).sandbox)

    @property
    def counts(self) -> Any:
        return self.stored.ledger.counts()

    @property
    def status(self) -> dict[str, Any]:
        """The pool's status as the API server holds it."""
        status: dict[str, Any] = (self.pools.pool or {}).get("status", {})
        return status

    def condition(self, kind: str) -> dict[str, Any]:
        """One condition of the pool."""
        return next(one for one in self.status["conditions"] if one["type"] == kind)
