"""A node that is an instance of a Uniform scale set: its agent keeps the pool, whatever Azure does to the model."""

from __future__ import annotations

from typing import Any

import pytest

import fakeazure as faults
from azure_cni.ipam.sizing import Policy
from contract.agent_machine import SHORT, Machine, until
from contract.role_world import TwoVms
from fakes.simulated_node import holder

POLICY = Policy(min_free=4, max_free=8, batch=4)
NAME, NIC = "pool_0", "pool_0/pool-nic"


@pytest.fixture
def world() -> TwoVms:
    world = TwoVms()
    world.azure.uniform.add("pool", instances=2)
    return world


def names(world: TwoVms) -> tuple[set[str], set[str]]:
    """The secondary configurations of the model, and of the NIC once nothing works on it."""
    world.azure.settle()
    nic, model = world.azure.nic_record(NIC), world.azure.uniform.of(NAME).configs["pool-nic"]
    working = {config.name for config in nic.settled if not config.primary} if nic.state == "Succeeded" else set()
    return {config.name for config in model if not config.primary}, working


def agree(world: TwoVms, count: int) -> bool:
    """Model and NIC have the same configurations for pods, and so many."""
    model, nic = names(world)
    return model == nic and len(nic) == count


async def test_its_pool_grows_and_pods_start(world: TwoVms) -> None:
    machine = Machine(world, NAME, timing=SHORT)
    async with machine.agent(POLICY) as node:
        await until(lambda: node.stored.ledger.counts().free == 4)
        given = await node.sandboxes.add(holder("p"))
        await until(lambda: agree(world, 8))
        await until(lambda: machine.status.get("allocated") == 8, say=lambda: machine.status)
    assert str(given.addresses[0]) in {config.address for config in world.azure.nic_record(NIC).settled}
    status = (machine.pools.pool or {})["status"]
    assert status["nicID"] == world.azure.nic_record(NIC).id
    assert {write.operation for write in world.azure.history.writes} == {"instance.put"}


@pytest.mark.parametrize(("shrink", "left"), [(False, 16), (True, 4)])
async def test_it_shrinks_only_where_that_is_allowed(world: TwoVms, *, shrink: bool, left: int) -> None:
    machine = Machine(world, NAME, shrink_scale_sets=shrink, timing=SHORT)
    async with machine.agent(Policy(min_free=16, max_free=32, batch=16)) as node:
        await until(lambda: node.stored.ledger.counts().free == 16)
    async with machine.agent(POLICY) as node:
        await until(lambda: node.state.ready and node.stored.ledger.counts().free == left)
        reads = world.azure.calls["instance.get"]
        await until(lambda: world.azure.calls["instance.get"] > reads + 3)
        assert agree(world, left)


async def test_after_a_reimage_the_pool_grows_again(world: TwoVms) -> None:
    machine = Machine(world, NAME, timing=SHORT)
    async with machine.agent(POLICY) as node:
        await until(lambda: node.stored.ledger.counts().free == 4)
        before, _ = names(world)
        world.azure.uniform.reset(NAME)
        await until(lambda: agree(world, 4))
        assert not before & names(world)[0]
        await until(lambda: node.stored.ledger.counts().free == 4)


@pytest.mark.parametrize(
    "fault",
    [
        faults.FailOperation(leaves="previous"),
        faults.FailOperation(leaves="half"),
        faults.FailOperation(leaves="goal"),
        faults.NoEffect(),
        faults.NoEffect(model=True),
        faults.SubnetFull(late=True),
        faults.LostReply(),
        faults.TouchedMeanwhile(),
    ],
    ids=lambda fault: f"{type(fault).__name__} {getattr(fault, 'leaves', getattr(fault, 'model', ''))}",
)
async def test_whatever_a_write_leaves_model_and_nic_agree_in_the_end(world: TwoVms, fault: Any) -> None:
    world.azure.faults.add(fault, operation="instance.put")
    machine = Machine(world, NAME, timing=SHORT)
    most = 0

    def look() -> str:
        nonlocal most
        model, nic = names(world)
        most = max(most, len(model | nic))
        return f"{model} {nic} {machine.conditions}"

    async with machine.agent(POLICY) as node:
        await until(lambda: look() and agree(world, 4) and node.stored.ledger.counts().free == 4, say=look)
        requested = (machine.pools.pool or {})["status"]["requested"]
    assert most <= max(4, requested)
