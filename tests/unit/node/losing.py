"""Nodes whose pods lose their addresses: another tool drops these from the NIC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any

from azure_cni.ipam.sizing import Policy
from fakes.metadata import FakeMetadata
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body

NOTICED_S = 20.0
"""By the metadata service's hint."""
OF_ANOTHER = "/subscriptions/s/networkInterfaces/vm2-nic/ipConfigurations/azure-cni-1a2b3c4d"
SMALL = Policy(min_free=2, max_free=8, batch=4)


def list_pods(node: SimulatedNode, count: int) -> None:
    """The API server's list of the node's pods."""
    node.demand.begin_list()
    node.demand.replace([pod_body(f"p{number}") for number in range(count)])
    node.reconciler.wake()


@asynccontextmanager
async def with_pods(count: int = 6, *, policy: Policy = SMALL, **options: Any) -> AsyncIterator[SimulatedNode]:
    """A node with pods, some time after anything changed; `controlled` by a controller that grants `most`."""
    nic = options.pop("nic", None) or FakeNic()
    node = SimulatedNode(nic=nic, policy=policy, shown_addresses=FakeMetadata(nic), **options)
    async with node.running():
        list_pods(node, count)
        await node.until(lambda: node.state.ready and node.counts.free > 0)
        for number in range(count):
            await node.until(lambda: node.counts.free > 0)
            await node.add(f"p{number}")
        await asyncio.sleep(60)
        yield node


def of_pods(node: SimulatedNode) -> set[IPv4Address]:
    return {slot.address for slot in node.stored.ledger.slots if slot.holder is not None}


def answered_for(node: SimulatedNode) -> set[IPv4Address]:
    """The pods' addresses that the NIC has."""
    return of_pods(node) & node.nic.addresses
