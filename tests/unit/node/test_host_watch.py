"""What others change is looked at as soon as it is heard, without a fight, and compared in any case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from azure_cni.errors import DatapathError
from azure_cni.node.pods.host_watch import LONGEST_PAUSE_S, PEACE_S, PERIOD_S, RETRY_S, HostWatch, Pause
from azure_cni.node.ports import HostChange
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode
from simulation.datapath import FakeDatapath
from unit.node.hanging import HangingNic

pytestmark = pytest.mark.looptime

NODE = HostChange(node=True, cause="nftables table azure_cni was changed by process nft (7)")
ROUTES = HostChange(sandboxes=True, cause="route 10.240.0.7/32 was removed")


@asynccontextmanager
async def watched(nic: FakeNic | None = None) -> AsyncIterator[SimulatedNode]:
    """A node that serves a pod, with its watch."""
    async with SimulatedNode(nic=nic).running() as node:
        await node.add("p")
        watch = HostWatch(
            datapath=node.datapath, repair=node.repair(), restore_node=node.reconciler.restore_network, clock=node.clock
        )
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(1)
        try:
            yield node
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_the_nodes_part_is_put_right_at_once_and_logged_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as node:
        node.datapath.drift = ["nftables table inet azure_cni was missing: made"]
        node.datapath.change(NODE)
        await asyncio.sleep(0.01)
        assert node.observer.recorded.count(("repaired", "kernel")) == 1
        (line,) = [record for record in caplog.records if record.message == "kernel put right"]
        assert (line.what, line.after) == ("nftables table inet azure_cni was missing: made", NODE.cause)


async def test_it_is_put_right_at_once_also_while_azure_takes_its_time() -> None:
    nic = HangingNic()
    async with watched(nic) as node:
        nic.hangs = True
        await node.until(lambda: nic.asked == 1, within_s=700)
        node.datapath.drift = ["sysctl net.ipv4.ip_forward was 0: set to 1"]
        node.datapath.change(NODE)
        await asyncio.sleep(0.01)
        assert ("repaired", "kernel") in node.observer.recorded


async def test_lost_routes_are_put_back_at_once() -> None:
    async with watched() as node:
        (ifname,) = node.datapath.wired
        node.datapath.lose(ifname, where="node", routes=())
        node.datapath.change(ROUTES)
        await asyncio.sleep(0.01)
        assert ("repaired", "route") in node.observer.recorded


async def test_what_nobody_heard_of_is_found_by_the_comparison() -> None:
    async with watched() as node:
        (ifname,) = node.datapath.wired
        node.datapath.lose(ifname, where="node", routes=())
        await asyncio.sleep(PERIOD_S - 2)
        assert ("repaired", "route") not in node.observer.recorded
        await asyncio.sleep(3)
        assert ("repaired", "route") in node.observer.recorded


async def test_a_kernel_that_announces_nothing_is_said_once_and_compared_with(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Deaf(FakeDatapath):
        async def changed(self) -> HostChange:
            raise DatapathError("cannot listen for changes of nftables: Operation not permitted")

    async with SimulatedNode().running() as node:
        await node.add("p")
        deaf = Deaf()
        deaf.wired, deaf._routes = node.datapath.wired, node.datapath._routes
        node.datapath = deaf
        watch = HostWatch(
            datapath=deaf, repair=node.repair(), restore_node=node.reconciler.restore_network, clock=node.clock
        )
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(1)
        (ifname,) = deaf.wired
        deaf.lose(ifname, where="node", routes=())
        await asyncio.sleep(RETRY_S)
        assert node.observer.recorded.count(("repaired", "route")) == 1
        await asyncio.sleep(10 * RETRY_S)
        task.cancel()
        assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
            "changes by others are found by comparison only",
            "lost routes put back",
        ]


async def test_changes_without_end_do_not_displace_the_comparison() -> None:
    async with watched() as node:
        (ifname,) = node.datapath.wired
        node.datapath.lose(ifname, where="node", routes=())
        for _ in range(int(PERIOD_S) + 2):
            node.datapath.change(NODE)
            await asyncio.sleep(1)
        assert ("repaired", "route") in node.observer.recorded


async def test_what_goes_wrong_is_tried_again_long_before_the_next_comparison_is_due() -> None:
    async with watched() as node:
        (ifname,) = node.datapath.wired
        node.datapath.lose(ifname, where="node", routes=())
        node.datapath.refuses_routes = DatapathError("cannot add route: Invalid argument")
        node.datapath.change(ROUTES)
        await asyncio.sleep(1)
        node.datapath.refuses_routes = None
        await asyncio.sleep(RETRY_S)
        assert ("repaired", "route") in node.observer.recorded


async def test_who_undoes_it_at_once_is_answered_each_second_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    words = "sysctl net.ipv4.ip_forward was 0: set to 1"
    async with watched() as node:
        began_s = node.clock.boottime_s()
        while node.clock.boottime_s() - began_s < 600:
            node.datapath.drift = [words]
            node.datapath.change(NODE)
            await asyncio.sleep(0.05)
        made = node.observer.recorded.count(("repaired", "kernel"))
        assert 550 <= made <= 650  # each second; the simulated clock adds a few
        condition = node.condition("HostConflict")
        assert (condition["status"], condition["reason"]) == ("True", "RepairsUndone")
        assert words in condition["message"]
        warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert warnings.count("kernel put right") == 2
        assert warnings.count("host conflict") == 1


async def test_who_does_it_once_a_minute_is_answered_each_time_at_once() -> None:
    async with watched() as node:
        for number in range(1, 11):
            node.datapath.drift = ["sysctl net.ipv4.ip_forward was 0: set to 1"]
            node.datapath.change(NODE)
            await asyncio.sleep(0.01)
            assert node.observer.recorded.count(("repaired", "kernel")) == number
            await asyncio.sleep(59)


async def test_who_flips_a_switch_does_not_keep_what_others_take_away_from_being_put_right() -> None:
    """Each change is answered within a second, whatever came before it."""
    async with watched() as node:
        for number in range(1, 41):
            node.datapath.drift = ["sysctl net.ipv4.ip_forward was 0: set to 1"]
            node.datapath.change(NODE)
            await asyncio.sleep(LONGEST_PAUSE_S + 0.1)
            assert node.observer.recorded.count(("repaired", "kernel")) == number


def test_the_rest_grows_with_what_comes_in_a_row_and_falls_back_after_a_while_of_peace() -> None:
    rest, now_s = Pause(), 0.0
    rests = []
    for _ in range(20):
        rests.append(rest.after(now_s=now_s))
        now_s += rests[-1]
    assert rests[:3] == [0.1, 0.2, 0.4]
    assert rests[-1] == LONGEST_PAUSE_S
    assert rest.after(now_s=now_s + PEACE_S) == rests[0]
