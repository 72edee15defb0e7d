"""Verbs that cross: in whatever order the requests for the same sandboxes come, at once or repeated, a sandbox
that is wanted has one address of its own and stays as it is, and all that ended is free again.
"""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Final

import pytest

from azure_cni.errors import AzureCniError, DatapathError, NoAddress, SandboxUnknown
from azure_cni.host.run_directory import Released
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pods.deferred_deletes import DeferredDeletes
from azure_cni.node.ports import SandboxSpec
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder
from simulation.datapath import FakeDatapath
from unit.node.test_deferred_deletes import record

pytestmark = pytest.mark.looptime

NAMES: Final = tuple("abcdefgh")
REQUESTS: Final = 120


class Slow(FakeDatapath):
    """Takes its time over a link, so that requests meet."""

    chance = Random(0)

    async def attach(self, spec: SandboxSpec):
        await asyncio.sleep(self.chance.choice((0.0, 0.1, 2.0)))
        wiring = await super().attach(spec)
        await asyncio.sleep(self.chance.choice((0.0, 0.1)))
        return wiring

    async def detach(self, sandbox):
        await asyncio.sleep(self.chance.choice((0.0, 0.1, 1.0)))
        await super().detach(sandbox)


def slow_node(seed: int) -> SimulatedNode:
    before = SimulatedNode()
    before.datapath = Slow()
    before.datapath.chance = Random(seed)
    return SimulatedNode(before=before, policy=Policy(min_free=4, max_free=12, batch=8), cooling_s=1.0)


class Crowd:
    """A runtime that asks for everything at once."""

    def __init__(self, node: SimulatedNode, seed: int) -> None:
        self.node, self.chance = node, Random(seed)

    async def ask(self, name: str, verb: str) -> None:
        try:
            if verb == "add":
                await self.node.add(name)
            elif verb == "delete":
                await self.node.delete(name)
            else:
                await self.node.sandboxes.check(holder(name), expected=[])
        except (NoAddress, SandboxUnknown, DatapathError):
            return

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(REQUESTS):
                verb = self.chance.choice(("add", "add", "delete", "check"))
                group.create_task(self.ask(self.chance.choice(NAMES), verb))
                await asyncio.sleep(self.chance.choice((0.0, 0.0, 0.05, 0.5)))


def agreed(node: SimulatedNode) -> dict[str, IPv4Address]:
    """Who has which address, in ledger and kernel alike, each address once."""
    held = {slot.holder.sandbox: slot.address for slot in node.store.load() if slot.holder is not None}
    assert set(node.datapath.wired) == {node.datapath.key(sandbox) for sandbox in held}
    assert len(set(held.values())) == len(held)
    return {sandbox.container_id.removeprefix("container-"): address for sandbox, address in held.items()}


@pytest.mark.parametrize("seed", range(20))
async def test_in_any_order_and_at_once(seed: int) -> None:
    node = slow_node(seed)
    async with node.running():
        await node.until(lambda: node.counts.free >= 4)
        await Crowd(node, seed).run()
        before = agreed(node)
        for name in NAMES:  # the kubelet's last word on each: half of them run
            await (node.add(name) if name in "aceg" else node.delete(name))
        after = agreed(node)
        assert sorted(after) == list("aceg")
        assert all(after[name] == address for name, address in before.items() if name in after), "a pod was touched"
        for name in NAMES:
            await node.delete(name)
        assert not agreed(node)
        await node.until(lambda: node.counts.free == node.counts.allocated)
        assert not [one for one in node.observer.recorded if one[0] == "internal_error"]


async def test_an_add_that_comes_after_its_del_holds_until_the_next_del() -> None:
    """In the wrong order: the runtime gave up on the ADD, and its request is the later one to arrive."""
    async with slow_node(1).running() as node:
        await node.until(lambda: node.counts.free >= 4)
        await asyncio.gather(node.delete("a"), node.add("a"), return_exceptions=True)
        await node.delete("a")
        assert not agreed(node)


async def test_a_repeated_add_leaves_the_link_as_it_is() -> None:
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free > 0)
        first = await node.add("a")
        wired, saved = dict(node.datapath.wired), len(node.store.saved)
        for _ in range(5):
            assert await node.add("a") == first
        assert node.datapath.wired == wired
        assert len(node.store.saved) == saved


async def test_250_dels_that_found_no_agent_are_carried_out_by_the_next(tmp_path: Path) -> None:
    nic = FakeNic()
    async with SimulatedNode(nic=nic, policy=Policy(size=250), cooling_s=1.0).running() as node:
        await node.until(lambda: node.counts.free == 250)
        names = [f"p{number}" for number in range(250)]
        for name in names:
            await node.add(name)
        for name in names:
            record(tmp_path / "released", name)
    again = SimulatedNode(before=node, policy=Policy(size=250), cooling_s=1.0)
    records = Released(tmp_path / "released")
    async with again.running():
        await DeferredDeletes(records=records, sandboxes=again.sandboxes).carry_out_all()
        assert not agreed(again)
        assert not records.names()
        await again.until(lambda: again.counts.free == 250)


async def test_a_full_disk_refuses_what_it_must_and_loses_nothing() -> None:
    """The ledger cannot be written: no ADD succeeds, no DEL is lost, and both do once there is room again."""
    async with SimulatedNode(cooling_s=1.0).running() as node:
        await node.until(lambda: node.counts.free > 1)
        await node.add("a")
        node.store.broken = True
        for request in (node.add("b"), node.delete("a")):
            with pytest.raises(AzureCniError, match="cannot write the ledger"):
                await request
        assert [slot.holder for slot in node.store.load() if slot.holder] == [holder("a")]
        node.store.broken = False
        await node.delete("a")
        await node.add("b")
        assert sorted(agreed(node)) == ["b"]


async def test_rounds_of_pods_leave_the_counts_of_the_start(pytestconfig: pytest.Config) -> None:
    rounds, pods = (100, 100) if pytestconfig.getoption("--every-crash") else (5, 40)
    async with SimulatedNode(policy=Policy(size=120), cooling_s=1.0).running() as node:
        await node.until(lambda: node.counts.free == 120)
        start = node.counts
        for number in range(rounds):
            names = [f"r{number}-{pod}" for pod in range(pods)]
            await asyncio.gather(*map(node.add, names))
            assert len(set(agreed(node).values())) == pods
            await asyncio.gather(*map(node.delete, names))
            await node.until(lambda: node.counts == start)
        assert not node.datapath.wired
        print(f"{rounds} rounds of {pods} pods: {start}")
