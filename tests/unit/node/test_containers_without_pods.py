"""Containers that a CNI runtime names like pods where there is no cluster (podman): none leaks, though nobody lists."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.ipam.address_state import Holder
from azure_cni.node.pods.liveness import GRACE_S
from fakes.simulated_node import SimulatedNode, holder

pytestmark = pytest.mark.looptime


async def compare_for(node: SimulatedNode, seconds: float) -> None:
    """Look at all holders, as the agent does again and again."""
    repair = node.repair()
    for _ in range(int(seconds / 10) + 1):
        await repair.compare()
        await asyncio.sleep(10)


async def test_one_that_lives_is_left_alone_and_one_whose_link_is_gone_gives_its_address_back():
    async with SimulatedNode(in_cluster=False).running() as node:
        await node.add("lives")
        await node.add("gone")
        await node.datapath.remove(node.datapath.key(holder("gone").sandbox))
        await compare_for(node, 3 * GRACE_S)
        assert [slot.holder for slot in node.stored.ledger.slots if slot.holder] == [holder("lives")]
        assert node.relisted == 0


async def test_a_new_container_of_the_same_name_does_not_end_the_old_one():
    async with SimulatedNode(in_cluster=False).running() as node:
        await node.add("web")
        await asyncio.sleep(5)
        again = holder("web").sandbox._replace(container_id="another")
        await node.sandboxes.add(Holder(again, "/run/netns/again", "default", "web"))
        await compare_for(node, 3 * GRACE_S)
        assert node.counts.assigned == 2
