"""A NIC that a failed write left Failed is repaired soon, also while growth rests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from azure_cni.errors import AccessDenied
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.attaching import answering, busy, fails

pytestmark = pytest.mark.looptime

SMALL = Policy(min_free=2, max_free=8, batch=4)
A_MINUTE_S = 60.0


async def test_while_the_subnet_is_full() -> None:
    async with SimulatedNode(nic=FakeNic(room=4), policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        waits = [asyncio.create_task(node.add(f"p{number}")) for number in range(8)]
        await node.until(lambda: node.condition("SubnetFull")["status"] == "True")
        await asyncio.sleep(600)  # the pauses between two tries to grow are at their longest
        await fails(node)
        await node.until(lambda: node.nic.writes == 2, within_s=A_MINUTE_S)
        assert not (await node.nic.read()).failed
        node.nic.room = 100
        await node.until(lambda: node.counts.allocated == 8, within_s=300)
        await asyncio.gather(*waits, return_exceptions=True)


@pytest.mark.parametrize("refused", [False, True], ids=["that_azure_takes", "that_azure_refuses"])
async def test_while_the_quota_is_used_up(refused: bool) -> None:  # noqa: FBT001
    async with SimulatedNode(policy=SMALL, grants=ControllerGrants()).running() as node:
        controller = asyncio.create_task(answering(node, most=4))
        await node.until(lambda: node.counts.free == 4)
        waits = [asyncio.create_task(node.add(f"p{number}")) for number in range(8)]
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True")
        if refused:
            node.nic.refusal = AccessDenied("cannot write NIC: the identity may not")
        await fails(node)
        await asyncio.sleep(A_MINUTE_S)
        assert (await node.nic.read()).failed is refused
        await node.until(lambda: node.status["writeIntent"] == "Grow")  # goes on asking
        controller.cancel()
        await asyncio.gather(controller, *waits, return_exceptions=True)


async def test_a_repair_that_failed_is_told_no_longer_once_somebody_else_has_made_it() -> None:
    """Also while the node goes on wanting more than it gets."""
    async with SimulatedNode(policy=SMALL, grants=ControllerGrants()).running() as node:
        controller = asyncio.create_task(answering(node, most=4))
        await node.until(lambda: node.counts.free == 4)
        for number in range(4):
            await node.add(f"p{number}")
        node.demand.replace([pod_body(f"p{number}") for number in range(8)])
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True")
        node.nic.refusal = AccessDenied("cannot write NIC: the identity may not")
        await fails(node)
        await node.until(lambda: node.condition("PermissionMissing")["status"] == "True", within_s=A_MINUTE_S)
        node.nic.elsewhere_repair()
        await node.until(lambda: node.condition("PermissionMissing")["status"] == "False", within_s=1200)
        controller.cancel()
        await asyncio.gather(controller, return_exceptions=True)


async def longest_failed_s(node: SimulatedNode, each_second: Callable[[], None]) -> int:
    """The longest time that the NIC stays Failed, of the next twenty minutes."""
    failed_for_s, longest_s = 0, 0
    for _ in range(1200):
        each_second()
        failed_for_s = failed_for_s + 1 if (await node.nic.read()).failed else 0
        longest_s = max(longest_s, failed_for_s)
        await asyncio.sleep(1)
    return longest_s


async def test_after_a_growth_that_fails_again_and_again() -> None:
    """Whatever becomes of the growth, no minute passes in which the NIC stays Failed all the while."""
    async with SimulatedNode(policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        waits = [asyncio.create_task(node.add(f"p{number}")) for number in range(8)]
        node.demand.replace([pod_body(f"p{number}") for number in range(8)])
        failures = 0

        def fails_once_more() -> None:
            nonlocal failures
            failures += node.nic.fail_growth is None
            node.nic.fail_growth = operation_failed()

        assert await longest_failed_s(node, fails_once_more) <= A_MINUTE_S
        assert failures > 5
        await asyncio.gather(*waits, return_exceptions=True)


async def test_after_a_release_that_fails_again_and_again() -> None:
    """What Azure cannot remove stays; the rest of the NIC works meanwhile, and pods come and go."""
    nic = FakeNic(ours=[f"10.240.0.{number}" for number in range(10, 30)])
    async with SimulatedNode(nic=nic, policy=SMALL, shrink_delay_s=60.0).running() as node:
        nic.fails_to_remove = True
        await node.until(lambda: nic.tries > 3, within_s=300)
        tries = nic.tries
        assert await longest_failed_s(node, lambda: None) <= A_MINUTE_S
        assert nic.tries - tries <= 40  # a try to remove each two minutes or so, and a repair after each
        assert node.counts.allocated == 20
        nic.fails_to_remove = False
        await node.until(lambda: node.counts.allocated == 4, within_s=300)


async def test_after_a_repair_that_fails_again_and_again() -> None:
    async with SimulatedNode(policy=Policy(size=4)).running() as node:
        await node.until(lambda: node.counts.free == 4)
        tries: set[int] = set()
        since_s, longest_s, began_s = 0.0, 0.0, node.clock.boottime_s()
        await fails(node)
        while node.clock.boottime_s() < began_s + 1200:
            node.nic.fail_operation = operation_failed()
            if node.nic.tries not in tries:
                tries.add(node.nic.tries)
                longest_s, since_s = (
                    max(longest_s, node.clock.boottime_s() - (since_s or began_s)),
                    node.clock.boottime_s(),
                )
            await asyncio.sleep(1)
        assert longest_s <= A_MINUTE_S
        assert len(tries) < 60
        node.nic.fail_operation = None
        await asyncio.sleep(A_MINUTE_S)
        assert not (await node.nic.read()).failed


async def test_a_repair_that_waits_for_its_turn_asks_once() -> None:
    """What the controller says meanwhile is about that write, and no word on growth."""
    async with SimulatedNode(policy=SMALL, grants=ControllerGrants()).running() as node:
        controller = asyncio.create_task(answering(node, most=4))
        await node.until(lambda: node.counts.free == 4)
        waits = [asyncio.create_task(node.add(f"p{number}")) for number in range(8)]
        node.demand.replace([pod_body(f"p{number}") for number in range(8)])
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True")
        controller.cancel()
        controller = asyncio.create_task(busy(node, most=4))
        await fails(node)
        await node.until(lambda: node.status["writeIntent"] == "Rewrite")
        asked = node.status["requestID"]
        await asyncio.sleep(300)
        assert (node.status["requestID"], node.status["writeIntent"]) == (asked, "Rewrite")
        controller.cancel()
        await asyncio.gather(controller, *waits, return_exceptions=True)
