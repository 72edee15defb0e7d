"""A node whose pool is in a pod subnet: its agent asks the fake Azure."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from azure_cni.ipam.sizing import Policy
from contract.agent_machine import SHORT, Machine, until
from contract.role_world import TwoVms
from fakeazure.names import parent
from fakeazure.resources import put_subnet
from fakes.simulated_node import holder

POLICY = Policy(min_free=4, max_free=8, batch=4)
PODS = ip_network("10.240.12.0/28")


@pytest.fixture
def world() -> TwoVms:
    """The pod subnet has eleven addresses."""
    world = TwoVms()
    vnet = parent(world.azure.nic_record("vm1-nic").subnet_id)
    put_subnet(world.azure, f"{vnet}/subnets/pods", {"addressPrefix": str(PODS)})
    return world


async def test_its_pool_is_on_the_nic_there_and_meets_that_subnets_end(world: TwoVms) -> None:
    """The nodes' own subnet has room all the while, and nothing of it is taken."""
    machine = Machine(world, timing=SHORT)
    subnet = world.azure.nic_record("vm1-nic").subnet_id.removesuffix("nodes") + "pods"
    async with machine.agent(POLICY) as node:
        await until(lambda: machine.pools.pool is not None)
        machine.pools.edit_spec(nic={"subnet": subnet})
        node.pool_seen(machine.pools.shown())
        await until(lambda: machine.conditions.get("NicChangePending", {}).get("reason") == "NicMissing")
        before = world.azure.subnet("nodes").free
        world.azure.add_nic("vm1", subnet="pods")
        machine.pools.edit_spec(paused=False)  # a changed spec ends the pause before the next try
        node.pool_seen(machine.pools.shown())
        await until(lambda: node.stored.ledger.counts().free == 4 and machine.pools.shown().node_ip is not None)
        given = [await node.sandboxes.add(holder(f"p{number}")) for number in range(4)]
        assert {one.addresses[0] in PODS for one in given} == {True}
        machine.pools.edit_spec(minFree=8, maxFree=24, batch=8)
        node.pool_seen(machine.pools.shown())
        await until(lambda: machine.conditions["SubnetFull"]["status"] == "True")
        assert "pods" in machine.conditions["SubnetFull"]["message"]
        assert world.azure.subnet("nodes").free == before
