"""Whole nodes that may not ask Azure, the controller that does it for them, and the grants that bound both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import parse
from azure_cni.api.vnet_quota import Limits
from azure_cni.ipam.sizing import Policy
from azure_cni.kube.delegated_nic import DelegatedCloud, DelegatedNic, OperationClient
from azure_cni.model.identity import IdentityClaim
from azure_cni.node.assembly import Node
from azure_cni.node.node_settings import NodePorts, NodeSettings
from azure_cni.node.pool.reservation_request import ControllerGrants
from azure_cni.node.stored_ledger import StoredLedger
from fakes.attestations import attesting
from fakes.clocks import LoopClock
from fakes.delegation import OwnPool
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.machines import FakeMachines, identity_of
from fakes.observer import RecordingObserver
from fakes.pools import FakePools
from simulation.absent import NoPodConditions, NoPods, NoRecords
from simulation.datapath import FakeDatapath
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime


class Claims:
    """Implements `azure_cni.kube.delegated_nic.Claims`."""

    def __init__(self, name: str) -> None:
        self.document = attesting(name)
        it = identity_of(name)
        self._claim = IdentityClaim(it.vm_id, it.vm_resource_id, macs=(it.mac,))

    async def claim(self) -> IdentityClaim:
        return self._claim


@asynccontextmanager
async def agent(
    world: SimulatedCluster, name: str, *, policy: Policy | None = None, vm: str = ""
) -> AsyncIterator[StoredLedger]:
    """The real reconciler of a node, its ports to Azure being operations; `vm`: of another name than its VM's."""
    own = OwnPool(world.cluster, name)
    claims = Claims(vm or name)
    post = OperationClient(own, attest=claims.document)
    ports = NodePorts(
        cloud=DelegatedCloud(claims, post),
        nic_of=lambda identity: DelegatedNic(identity, post),
        grants=ControllerGrants(),
        pools=own,
        node=FakePools(name),
        pods=NoPods(),
        pod_conditions=NoPodConditions(),
        events=FakeEvents(),
        datapath=FakeDatapath(),
        store=FakeLedgerStore(),
        released=NoRecords(),
        clock=LoopClock(),
        observer=RecordingObserver(),
    )
    node = Node(ports, NodeSettings(defaults=policy or Policy()))

    def see(_: Any, after: dict[str, Any] | None) -> None:
        if after is not None and after["metadata"]["name"] == name:
            post.see(parse(after))
            node.pool_seen(parse(after))

    world.cluster.pools.watchers.append(see)
    task = asyncio.create_task(node.reconciler.run())
    try:
        yield node.stored
        assert not task.done(), task
    finally:
        world.cluster.pools.watchers.remove(see)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def on_nic(machines: FakeMachines, name: str) -> int:
    return len(machines.nics[name].addresses) - 1


async def test_a_node_fills_its_pool_by_two_kinds_of_answers() -> None:
    world, machines = SimulatedCluster(), FakeMachines("vm1")
    async with world.controller(machines=machines), agent(world, "vm1") as stored:
        await world.until(lambda: stored.ledger.counts().free == 16)
        await world.until(lambda: world.cluster.status("vm1").get("allocated") == 16)
    assert on_nic(machines, "vm1") == 16
    assert machines.nics["vm1"].writes == 1
    assert world.cluster.counts() == {"vm1": 16}


async def test_the_limit_holds_for_nodes_that_operation() -> None:
    names = [f"n{index}" for index in range(4)]
    world, machines = SimulatedCluster(limits=Limits(limit=40)), FakeMachines(*names)
    async with world.controller(machines=machines), agent(world, "n0"), agent(world, "n1"), agent(world, "n2"):
        await world.until(lambda: sum(on_nic(machines, name) for name in names) == 40, within_s=600)
        await asyncio.sleep(60)
    assert sum(on_nic(machines, name) for name in names) == 40


async def test_without_a_controller_the_pool_says_why_and_goes_on_once_there_is_one() -> None:
    world, machines = SimulatedCluster(), FakeMachines("vm1")
    async with agent(world, "vm1") as stored:

        def words() -> str:
            return str(world.cluster.pools.objects.get("vm1", {}).get("status"))

        await world.until(lambda: "the controller has not executed NIC operation" in words())
        async with world.controller(machines=machines):
            await world.until(lambda: stored.ledger.counts().free == 16, within_s=300)


async def test_an_agent_and_a_controller_that_start_again_go_on() -> None:
    world, machines = SimulatedCluster(), FakeMachines("vm1")
    async with world.controller(machines=machines):
        async with agent(world, "vm1") as stored:
            await world.until(lambda: stored.ledger.counts().free == 16)
        last = world.cluster.status("vm1")["nicOperation"]["id"]
    async with world.controller(machines=machines), agent(world, "vm1", policy=Policy(size=40)) as stored:
        await world.until(lambda: stored.ledger.counts().free == 40)
    assert world.cluster.status("vm1")["nicOperation"]["id"] > last
    assert machines.nics["vm1"].writes == 2


async def test_a_vm_that_takes_the_place_of_another_under_the_nodes_name_is_served() -> None:
    """Node and pool stayed. It proves who it is, as the one before did, and fills its own NIC."""
    world, machines = SimulatedCluster(), FakeMachines("vm1", "vm9")
    async with world.controller(machines=machines):
        async with agent(world, "vm1") as stored:
            await world.until(lambda: stored.ledger.counts().free == 16)
        del machines.identities["vm1"]
        async with agent(world, "vm1", vm="vm9") as stored:
            await world.until(lambda: stored.ledger.counts().free == 16, within_s=900)
            await world.until(lambda: world.cluster.status("vm1")["vmID"] == "guid-of-vm9")
    assert (on_nic(machines, "vm9"), machines.nics["vm9"].writes) == (16, 1)


async def test_a_controller_that_dies_in_the_middle_of_a_write_leaves_a_node_that_finishes() -> None:
    world, machines = SimulatedCluster(), FakeMachines("vm1")
    nic = machines.nics["vm1"]
    nic.hold()
    async with agent(world, "vm1") as stored:
        async with world.controller(machines=machines):
            await world.until(lambda: nic.writes == 1)
        nic.finish()
        async with world.controller(machines=machines):
            await world.until(lambda: stored.ledger.counts().free == 16)
            await asyncio.sleep(60)
    assert nic.writes == 1
