"""A node whose VM has a second NIC, in another subnet, and what tests look at there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from azure_cni.model.nic import NicID, SubnetID
from fakes.cloud import IDENTITY, VNET_ID, FakeCloud
from fakes.nic import NIC_ID, FakeNic
from fakes.simulated_node import SimulatedNode

PODS, OTHERS = SubnetID(f"{VNET_ID}/subnets/pods"), SubnetID(f"{VNET_ID}/subnets/others")
POD_NIC = NicID(f"{NIC_ID}2")
PENDING = "NicChangePending"


def second_nic() -> FakeNic:
    return FakeNic(primary="10.240.8.4", subnet="10.240.8.0/24")


def node_with_two_nics(second: FakeNic | None = None, **settings: Any) -> SimulatedNode:
    cloud = FakeCloud()
    cloud.pod_nics[PODS] = replace(
        IDENTITY, nic_id=POD_NIC, subnet_id=PODS, mac="00:0d:3a:1b:c7:22", primary_ip=IPv4Address("10.240.8.4")
    )
    return SimulatedNode(cloud=cloud, further_nics={POD_NIC: second or second_nic()}, **settings)


def want(node: SimulatedNode, subnet: SubnetID | None) -> None:
    """A person changes the pool's spec."""
    node.pools.edit_spec(nic=None if subnet is None else {"subnet": subnet})
    node.reconciler.pool_seen(node.pools.shown())


def addresses(node: SimulatedNode) -> set[str]:
    """The networks that the pool's addresses are of."""
    return {f"{slot.address}".rpartition(".")[0] for slot in node.stored.ledger.slots}


def is_on(node: SimulatedNode, nic: NicID, network: str) -> bool:
    return node.status.get("nicID") == nic and addresses(node) == {network} and bool(node.counts.free)


async def moved(node: SimulatedNode) -> None:
    await node.until(lambda: is_on(node, POD_NIC, "10.240.8"))


@asynccontextmanager
async def a_pod_on_the_second_nic() -> AsyncIterator[SimulatedNode]:
    """A node whose pool is there because its spec says so, with the pod `a`; its agent ends."""
    async with node_with_two_nics().running() as node:
        await node.until(lambda: bool(node.counts.free))
        want(node, PODS)
        await moved(node)
        await node.add("a")
    yield node
