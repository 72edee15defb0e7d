"""No pod is wired in one mode under the guards of another: while a change waits for its turn, and after a crash."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from azure_cni.datapath.interface import Wiring
from azure_cni.datapath.node_table import HostReport, NodeTable
from azure_cni.errors import NoAddress
from azure_cni.node.ports import SandboxSpec
from fakes.simulated_node import SimulatedNode
from simulation.datapath import FakeDatapath
from unit.node.test_mode_change import BRIDGE, TRANSPARENT, mode_of, tables, want

pytestmark = pytest.mark.looptime


class SlowKernel(FakeDatapath):
    """Takes 2 s for the node's table; counts how often a pod was there that its guards did not match."""

    def __init__(self) -> None:
        super().__init__()
        self.unguarded = 0

    async def apply_node(self, table: NodeTable) -> HostReport:
        await asyncio.sleep(2.0)
        report = await super().apply_node(table)
        self._look()
        return report

    async def attach(self, spec: SandboxSpec) -> Wiring:
        wiring = await super().attach(spec)
        self._look()
        return wiring

    def _look(self) -> None:
        modes = [BRIDGE if wired.node[0].port else TRANSPARENT for wired in self.wired.values()]
        self.unguarded += sum(mode is not self.tables[-1].mode for mode in modes)


async def test_a_repair_under_way_does_not_let_a_pod_in_while_the_mode_changes() -> None:
    before = SimulatedNode()
    before.datapath = kernel = SlowKernel()
    async with SimulatedNode(before=before).running() as node:
        await node.until(lambda: bool(node.counts.free))
        await node.add("a")
        want(node, BRIDGE)
        await node.until(lambda: node.condition("ModeChangePending")["status"] == "True", within_s=30)
        repair = asyncio.create_task(node.reconciler.restore_network("a route was deleted"))
        await asyncio.sleep(0.5)  # the kernel is at it
        await node.delete("a")
        adds = asyncio.create_task(node.add("b"))
        await repair
        assert mode_of(await adds) is BRIDGE
        await asyncio.sleep(60.0)
        assert kernel.unguarded == 0
        assert tables(node)[-1] is BRIDGE


@pytest.mark.parametrize("left", ["changed over", "flushed"])
async def test_an_agent_whose_kernel_has_not_the_guards_of_the_mode_waits_for_azure(left: str) -> None:
    """The one before it ended before it could write down that the mode is another, or somebody has flushed nftables."""
    async with SimulatedNode().running() as before:
        await before.until(lambda: bool(before.counts.free) and before.status.get("mode") == "transparent")
    if left == "flushed":
        before.datapath.flush()
    else:
        await before.datapath.apply_node(replace(before.datapath.tables[-1], mode=BRIDGE))
    after = SimulatedNode(before=before)
    after.cloud.silent = True
    async with after.running() as node:
        await asyncio.sleep(1.0)
        with pytest.raises(NoAddress):
            await node.add("a")
        node.cloud.silent = False
        await node.until(lambda: node.state.ready, within_s=200)
        assert mode_of(await node.add("a")) is TRANSPARENT
        assert tables(node)[-1] is TRANSPARENT
