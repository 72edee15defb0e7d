"""Each permission taken away, one by one: everything starts, pods get the addresses there are, one condition says why.

The actions come from docs/azure-role*.json: a new one is tried here without anybody adding it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import parse
from azure_cni.azure.arm import Arm
from azure_cni.azure.vnets import ArmVNets
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import SubnetUsage, VNetID
from contract.agent_machine import Machine
from contract.role_world import AGENT, CONTROLLER, NETWORK_READER, SHARED, TwoVms
from fakes import waiting
from fakes.simulated_node import holder
from unit.cluster import worlds as clusters

WRITES = "Microsoft.Network/networkInterfaces/write"
OF_CONTROLLER_ALONE = frozenset(CONTROLLER) - {*AGENT, *NETWORK_READER}
ALL = {*SHARED, *AGENT, *NETWORK_READER}
OF_AGENT = sorted(ALL - OF_CONTROLLER_ALONE)


class Shown:
    """Azure as the controller sees it: the cluster in memory has other resource groups than the fake Azure."""

    def __init__(self, world: TwoVms, arm: Arm) -> None:
        self._world, self._vnets = world, ArmVNets(arm)

    async def usages(self, _: VNetID) -> tuple[SubnetUsage, ...]:
        return await self._vnets.usages(VNetID(self._world.vnet_id))

    async def ours_on(self, nic_id: str) -> int | None:
        return await self._vnets.ours_on(self._nic(nic_id))

    async def vm_of(self, nic_id: str) -> str:
        return await self._vnets.vm_of(self._nic(nic_id))

    def _nic(self, nic_id: str) -> str:
        return self._world.nic_id(nic_id.rpartition("/")[2].removesuffix("-nic"))


def lacking_of(cluster: clusters.SimulatedCluster) -> str:
    """What the quota's condition says is missing; "" while it says nothing."""
    conditions = cluster.status().get("conditions", [])
    return next(
        (one["message"] for one in conditions if (one["type"], one["status"]) == ("PermissionMissing", "True")), ""
    )


async def until(fact: Callable[[], Any], *, say: Callable[[], object] = str) -> None:
    await waiting.until(lambda: bool(fact()), within_s=waiting.PATIENCE_S, say=say)


@pytest.mark.parametrize("action", OF_AGENT)
async def test_without_one_action_the_agent_starts_and_pods_get_the_addresses_there_are(action: str) -> None:
    world = TwoVms()
    world.azure.identity.set_permissions(ALL)
    machine = Machine(world)
    async with machine.agent(Policy(min_free=4, max_free=8, batch=4)) as node:
        await until(lambda: node.stored.ledger.counts().free == 4)
        await until(lambda: machine.conditions.get("PermissionMissing", {}).get("status") == "False")
    world.azure.identity.forbid(action)
    async with machine.agent(Policy(min_free=8, max_free=16, batch=8)) as node:
        await until(lambda: node.state.ready)
        assert (await node.sandboxes.add(holder("p"))).addresses
        await until(lambda: action in machine.lacking(), say=lambda: machine.conditions)
        assert "until then pods run, and start as long as one of the node's 4 addresses is free" in machine.lacking()
        if "/join" in action:
            assert "no write of the NIC succeeds, for Azure wants this permission in each of them" in machine.lacking()
        assert [kind for kind, one in machine.conditions.items() if action in one["message"]] == [
            "Ready",  # which goes on to hold, and has the same failure as its reason
            "PermissionMissing",
        ]
        assert machine.conditions["Ready"]["status"] == "True"
        assert (await node.sandboxes.add(holder("q"))).addresses
        writes = len(world.azure.history.writes)
        await asyncio.sleep(1.0)
        assert len(world.azure.history.writes) - writes <= 1


@pytest.mark.parametrize("action", OF_AGENT)
async def test_without_one_action_the_first_agent_of_a_node_starts_and_says_so(action: str) -> None:
    world = TwoVms()
    world.azure.identity.set_permissions(ALL)
    world.azure.identity.forbid(action)
    machine = Machine(world)
    async with machine.agent(Policy(min_free=4, max_free=8, batch=4)) as node:
        await until(lambda: action in machine.lacking(), say=lambda: machine.conditions)
        if machine.conditions["Ready"]["status"] == "False":
            assert "until then pods that run keep their network, and no other pod starts" in machine.lacking()
        else:
            assert (await node.sandboxes.add(holder("p"))).addresses


async def test_with_the_permission_back_the_condition_ends() -> None:
    world = TwoVms()
    world.azure.identity.set_permissions(ALL)
    world.azure.identity.forbid(WRITES)
    machine = Machine(world)
    async with machine.agent(Policy(min_free=4, max_free=8, batch=4)) as node:
        await until(lambda: WRITES in machine.lacking(), say=lambda: machine.conditions)
        assert machine.conditions["Ready"]["status"] == "False"
        world.azure.identity.set_permissions(ALL)
        assert machine.pools.pool is not None
        machine.pools.pool["metadata"]["annotations"] = {"azure-cni.io/read-now": "1"}
        machine.pools.pool["metadata"]["resourceVersion"] = "1000"
        node.pool_seen(parse(machine.pools.pool))
        await until(lambda: node.stored.ledger.counts().free == 4, say=lambda: machine.conditions)
        await until(lambda: machine.conditions["PermissionMissing"]["status"] == "False")
        assert machine.conditions["Ready"]["reason"] == "PodsCanStart"


@pytest.mark.parametrize("action", sorted({*CONTROLLER, *OF_CONTROLLER_ALONE}))
async def test_without_one_action_the_controller_grants_and_says_so(action: str) -> None:
    """Of two nodes one is gone from the cluster, and its NIC from Azure: what it held is asked about."""
    world, cluster = TwoVms(), clusters.SimulatedCluster(reclaim_s=0.5)
    world.azure.identity.set_permissions(CONTROLLER)
    world.azure.identity.forbid(action)
    async with world.adapters("vm1") as (arm, _):
        cluster.vnets = Shown(world, arm)
        one = cluster.node("vm1", want=16, nic="vm1-nic")
        async with cluster.controller():
            async with cluster.agents():
                await until(lambda: one.on_nic == 16, say=cluster.status)
            cluster.cluster.pools.delete("vm1")
            await until(lambda: action in lacking_of(cluster), say=cluster.status)
            cluster.node("vm2", want=8, nic="vm2-nic")
            async with cluster.agents():
                await until(lambda: cluster.nodes["vm2"].on_nic == 8, say=cluster.status)
            world.azure.identity.set_permissions(CONTROLLER)
            await until(lambda: not lacking_of(cluster), say=cluster.status)
