"""The use cases of a node, which know no operating system, on this data plane: what ledger and HNS hold is the same."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import DatapathError, LedgerError
from fakehns.service import SERVER_UNAVAILABLE
from fakes.simulated_node import holder
from unit.windows.windows_node import WindowsNode

PODS = [f"p{number}" for number in range(24)]


async def test_pods_come_are_checked_and_go_at_once() -> None:
    async with WindowsNode().running() as node:
        assert isinstance(node, WindowsNode)
        await node.serving()
        made = await asyncio.gather(*(node.add(name) for name in PODS))
        assert node.held == node.shown
        assert len(node.held) == len(PODS)
        for name, wiring in zip(PODS, made, strict=True):
            await node.sandboxes.check(node.pod(name), expected=wiring.addresses)
        assert [await node.add(name) for name in PODS] == made
        crossed = [work for name in PODS for work in (node.add(name), node.delete(name))]
        await asyncio.gather(*crossed, return_exceptions=True)
        for name in PODS[::2]:
            await node.delete(name)
        assert node.held == node.shown
        await node.sandboxes.collect("azure-cni", [])
        assert node.held == node.shown == {}
        assert node.hns.endpoints() == []


async def test_a_hundred_rounds_of_pods_leave_equal_counts() -> None:
    """Of 40 pods at once, each round from nothing to nothing, and the same at the end as after the first."""
    names = [f"p{number}" for number in range(40)]
    async with WindowsNode(size=40, cooling_s=0.0).running() as node:
        assert isinstance(node, WindowsNode)
        await node.serving()
        for _ in range(100):
            made = await asyncio.gather(*map(node.add, names))
            assert len({wiring.addresses for wiring in made}) == len(node.held) == len(names)
            assert node.held == node.shown
            await asyncio.gather(*map(node.delete, names))
            assert (node.held, node.hns.endpoints()) == ({}, [])
            await node.until(lambda: node.counts.free == len(names))
        resources = [one["Resources"] for one in node.hns.objects["Namespace"].values()]
        assert (len(node.hns.objects["Network"]), resources) == (1, [[]] * len(names))


async def test_what_people_are_shown_is_of_windows() -> None:
    async with WindowsNode().running() as node:
        assert isinstance(node, WindowsNode)
        await node.serving()
        (address,) = (await node.add("p")).addresses
        report = await node.reconciler.inspector.describe(node="win1")
        (link,) = report.kernel.links
        assert (link.interfaces, link.addresses, link.container) == (
            [node.hcn.key(holder("p").sandbox)], [str(address)], holder("p").sandbox.container_id
        )  # fmt: skip
        assert isinstance(address, IPv4Address)
        way = await node.reconciler.path_inspector.describe(address, [IPv4Address("10.9.0.1")], node="win1")
        assert "Windows' virtual switch shows no routing decisions" in way.error
        assert way.holder.endswith("p")


async def test_the_next_agent_finds_all_again_and_removes_what_no_ledger_knows() -> None:
    async with WindowsNode().running() as first:
        assert isinstance(first, WindowsNode)
        await first.serving()
        made = [await first.add(name) for name in PODS[:3]]
        first.stored.commit(first.stored.ledger.unassign(holder("p2").sandbox, now_s=first.clock.boottime_s()))
    async with WindowsNode(before=first).running() as second:
        assert isinstance(second, WindowsNode)
        await second.serving()
        assert [await second.add(name) for name in PODS[:2]] == made[:2]
        await second.repair(datapath=second.hcn).compare()
        assert second.held == second.shown
        assert len(second.held) == 2
        assert ("repaired", "stale_link") in second.observer.recorded


async def test_a_lost_ledger_is_noticed() -> None:
    async with WindowsNode().running() as first:
        assert isinstance(first, WindowsNode)
        await first.serving()
        await first.add("p")
    lost = WindowsNode(before=first, store=type(first.store)())
    with pytest.raises(LedgerError, match="the ledger is empty, but pods run with 10"):
        await lost.repair(datapath=lost.hcn).verify_ledger()


async def test_while_hns_is_away_nothing_is_given_away_or_forgotten() -> None:
    async with WindowsNode().running() as node:
        assert isinstance(node, WindowsNode)
        await node.serving()
        await node.add("p")
        node.pod("q")
        node.hns.away = True
        for verb in (node.add("q"), node.delete("p"), node.repair(datapath=node.hcn).compare()):
            with pytest.raises(DatapathError, match=f"0x{SERVER_UNAVAILABLE:08x}"):
                await verb
        node.hns.away = False
        assert list(node.held) == [node.hcn.key(holder("p").sandbox)]
        assert node.held == node.shown
        await node.delete("p")
        await node.add("q")
        assert node.held == node.shown


async def test_a_trace_says_that_the_switch_shows_no_decisions() -> None:
    async with WindowsNode().running() as node:
        assert isinstance(node, WindowsNode)
        await node.serving()
        (address,) = (await node.add("p")).addresses
        report = await node.reconciler.path_inspector.describe(address, [IPv4Address("10.240.0.1")], node="vm1")
        assert "Windows' virtual switch shows no routing decisions" in report.error
        assert (report.ways, report.table is None) == ([], False)
