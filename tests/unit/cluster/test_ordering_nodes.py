"""Whole nodes that may not ask Azure, the controller that does it for them, and the grants that bound both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from azure_cni.api.identity import MachineClaim
from azure_cni.api.quota import Limits
from azure_cni.ipam.sizing import Policy
from azure_cni.node.board import Board, Book
from azure_cni.node.controller_grants import ControllerGrants
from azure_cni.node.demand import Demand
from azure_cni.node.ordered import OrderedCloud, OrderedNic, OrderPost
from azure_cni.node.reconciler import Reconciler
from azure_cni.node.world import NodeSettings
from azure_cni.node.world import World as NodeWorld
from fakes.datapath import FakeDatapath
from fakes.events import FakeEvents
from fakes.ledger_store import FakeLedgerStore
from fakes.machines import FakeMachines, identity_of
from fakes.ordering import OwnPool
from fakes.pools import FakePools
from fakes.simulated_node import LoopClock, RecordingObserver
from unit.cluster.worlds import World

pytestmark = pytest.mark.looptime


class Claims:
    """Implements `azure_cni.node.ports.Claims`."""

    def __init__(self, name: str) -> None:
        it = identity_of(name)
        self._claim = MachineClaim(it.vm_id, it.vm_resource_id, macs=(it.mac,))

    async def claim(self) -> MachineClaim:
        return self._claim


@asynccontextmanager
async def agent(world: World, name: str, *, policy: Policy | None = None) -> AsyncIterator[Book]:
    """The real reconciler of a node, its ports to Azure being orders."""
    board = Board()
    book = Book(store=FakeLedgerStore(), bell=board.bell)
    own = OwnPool(world.cluster, name)
    post = OrderPost(own)
    ports = NodeWorld(
        cloud=OrderedCloud(Claims(name), post),
        nic_of=lambda identity: OrderedNic(identity, post),
        grants=ControllerGrants(),
        pools=own,
        node=FakePools(name),
        events=FakeEvents(),
        datapath=FakeDatapath(),
        clock=LoopClock(),
        observer=RecordingObserver(),
    )
    settings = NodeSettings(defaults=policy or Policy())
    reconciler = Reconciler(world=ports, settings=settings, book=book, board=board, demand=Demand())

    def see(_: Any, after: dict[str, Any] | None) -> None:
        if after is not None and after["metadata"]["name"] == name:
            post.see(after)
            reconciler.pool_seen(after)

    world.cluster.pools.watchers.append(see)
    task = asyncio.create_task(reconciler.run())
    try:
        yield book
        assert not task.done(), task
    finally:
        world.cluster.pools.watchers.remove(see)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def on_nic(machines: FakeMachines, name: str) -> int:
    return len(machines.nics[name].addresses) - 1


async def test_a_node_fills_its_pool_by_two_kinds_of_answers() -> None:
    world, machines = World(), FakeMachines("vm1")
    async with world.controller(machines=machines), agent(world, "vm1") as book:
        await world.until(lambda: book.ledger.counts().free == 16)
        await world.until(lambda: world.cluster.status("vm1").get("allocated") == 16)
    assert on_nic(machines, "vm1") == 16
    assert machines.nics["vm1"].writes == 1
    assert world.cluster.counts() == {"vm1": 16}


async def test_the_limit_holds_for_nodes_that_order() -> None:
    names = [f"n{index}" for index in range(4)]
    world, machines = World(limits=Limits(limit=40)), FakeMachines(*names)
    async with world.controller(machines=machines), agent(world, "n0"), agent(world, "n1"), agent(world, "n2"):
        await world.until(lambda: sum(on_nic(machines, name) for name in names) == 40, within_s=600)
        await asyncio.sleep(60)
    assert sum(on_nic(machines, name) for name in names) == 40


async def test_without_a_controller_the_pool_says_why_and_goes_on_once_there_is_one() -> None:
    world, machines = World(), FakeMachines("vm1")
    async with agent(world, "vm1") as book:

        def words() -> str:
            return str(world.cluster.pools.objects.get("vm1", {}).get("status"))

        await world.until(lambda: "the controller has not carried out order" in words())
        async with world.controller(machines=machines):
            await world.until(lambda: book.ledger.counts().free == 16, within_s=300)


async def test_an_agent_and_a_controller_that_start_again_go_on() -> None:
    world, machines = World(), FakeMachines("vm1")
    async with world.controller(machines=machines):
        async with agent(world, "vm1") as book:
            await world.until(lambda: book.ledger.counts().free == 16)
        last = world.cluster.status("vm1")["order"]["id"]
    async with world.controller(machines=machines), agent(world, "vm1", policy=Policy(size=40)) as book:
        await world.until(lambda: book.ledger.counts().free == 40)
    assert world.cluster.status("vm1")["order"]["id"] > last
    assert machines.nics["vm1"].writes == 2


async def test_a_controller_that_dies_in_the_middle_of_a_write_leaves_a_node_that_finishes() -> None:
    world, machines = World(), FakeMachines("vm1")
    nic = machines.nics["vm1"]
    nic.hold()
    async with agent(world, "vm1") as book:
        async with world.controller(machines=machines):
            await world.until(lambda: nic.writes == 1)
        nic.finish()
        async with world.controller(machines=machines):
            await world.until(lambda: book.ledger.counts().free == 16)
            await asyncio.sleep(60)
    assert nic.writes == 1
