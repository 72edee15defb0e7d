"""Where the pool is when nobody says it: on the NIC that pods have their addresses of, or nowhere at first."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.sizing import Policy
from fakes.cloud import IDENTITY
from fakes.nic import NIC_ID, FakeNic
from fakes.simulated_node import SimulatedNode
from unit.node.two_nics import (
    OTHERS,
    PENDING,
    POD_NIC,
    PODS,
    a_pod_on_the_second_nic,
    addresses,
    is_on,
    moved,
    node_with_two_nics,
    want,
)

pytestmark = pytest.mark.looptime


def took_the_primary_nic(node: SimulatedNode, *, since: int) -> bool:
    """Whether the kernel was ever prepared for it after so many tables."""
    return any(table.node_nic is None for table in node.datapath.tables[since:])


async def test_while_nobody_knows_where_the_pods_are_their_kernel_stays_as_it_is() -> None:
    """The API server is silent, which alone knows the spec and where the pool was, and no NIC can be looked at."""
    async with a_pod_on_the_second_nic() as node:
        node.cloud.lists_nics = False
        node.pools.silent, tables = True, len(node.datapath.tables)
        async with SimulatedNode(before=node).running() as successor:
            await asyncio.sleep(60.0)
            assert len(successor.datapath.tables) == tables
            assert addresses(successor) == {"10.240.8"}
            successor.pools.silent = False
            await successor.until(lambda: successor.state.ready and len(successor.datapath.tables) > tables)
            assert successor.datapath.tables[-1].node_nic is not None


@pytest.mark.parametrize("on", ["primary", "second"])
async def test_a_node_whose_nics_can_be_read_needs_no_api_server_for_its_pods(on: str) -> None:
    """An agent that restarts knows neither spec nor status then. A NIC itself shows that pods have its addresses."""
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        if on == "second":
            want(node, PODS)
            await moved(node)
        await node.add("a")
    node.pools.silent = True
    async with SimulatedNode(before=node).running() as successor:
        await successor.until(lambda: successor.state.ready)
        assert (successor.datapath.tables[-1].node_nic is None) is (on == "primary")
        await successor.add("b")


async def test_so_does_one_whose_pods_are_in_a_block_that_others_use_by_now() -> None:
    nic = FakeNic()
    nic.elsewhere_add("10.240.1.16", name="azure-cni-0000000b", size=16)
    async with SimulatedNode(nic=nic, policy=Policy(size=16)).running() as node:
        await node.until(lambda: bool(node.counts.free))
        await node.add("first")
        assert str((await node.add("a")).addresses[0]) == "10.240.1.17"
        await node.delete("first")
    node.pools.silent = True
    nic.elsewhere_attach("azure-cni-0000000b")
    async with SimulatedNode(before=node, policy=Policy(size=16)).running() as successor:
        await successor.until(lambda: successor.state.ready and bool(successor.datapath.tables))


async def test_a_pool_that_was_deleted_is_made_again_on_the_nic_of_the_pods() -> None:
    """Its agent ended before it could write where that is, and the spec that named the subnet is gone."""
    async with a_pod_on_the_second_nic() as node:
        node.pools.pool, tables = None, len(node.datapath.tables)
        async with SimulatedNode(before=node).running() as successor:
            await successor.until(lambda: successor.state.ready and successor.status.get("nicID") == POD_NIC)
            await successor.add("b")
            await successor.until(lambda: successor.condition(PENDING)["reason"] == "PodsRunning")
            assert successor.condition(PENDING)["message"].startswith("a pool on the VM's primary NIC is wanted, but ")
            assert addresses(successor) == {"10.240.8"}
            assert not took_the_primary_nic(successor, since=tables)
            await successor.delete("a")
            await successor.delete("b")
            await successor.until(lambda: is_on(successor, NIC_ID, "10.240.0"))


async def test_where_the_nic_of_the_pods_cannot_be_told_the_pool_says_so_and_takes_no_other() -> None:
    """A controller reads NICs only as operations name them. A person names the subnet again."""
    async with a_pod_on_the_second_nic() as node:
        node.cloud.lists_nics = False
        node.pools.pool, tables = None, len(node.datapath.tables)
        async with SimulatedNode(before=node).running() as successor:
            await successor.until(lambda: bool(successor.status.get("conditions")))
            await successor.until(lambda: successor.condition("Ready")["reason"] == "NicMissing")
            (held,) = (slot.address for slot in successor.stored.ledger.slots if slot.holder is not None)
            assert successor.condition(PENDING)["message"].startswith(
                "cannot tell on which NIC the pool of node vm1 is: its NodeIPPool was made again and says nothing of "
                f"it yet, and 1 pod that runs has its address ({held}) of none of the NICs in {IDENTITY.subnet_id}. If"
            )
            assert len(successor.datapath.tables) == tables
            want(successor, OTHERS)
            await asyncio.sleep(60.0)
            assert len(successor.datapath.tables) == tables
            want(successor, PODS)
            await successor.until(lambda: successor.state.ready and successor.status.get("nicID") == POD_NIC)
            await successor.add("b")
            assert not took_the_primary_nic(successor, since=tables)


async def test_where_no_nic_has_the_pods_addresses_any_more_the_pool_is_where_it_is_wanted() -> None:
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        await node.add("a")
    (lost,) = (slot for slot in node.stored.ledger.slots if slot.holder is not None)
    node.nic.elsewhere_give(lost.config)
    node.pools.pool = None
    async with SimulatedNode(before=node).running() as successor:
        await successor.until(lambda: successor.state.ready and successor.status.get("nicID") == NIC_ID)
        await successor.until(lambda: successor.condition("Drifted")["status"] == "True")
