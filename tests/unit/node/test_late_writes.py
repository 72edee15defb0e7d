"""Writes of the NIC of which nobody knows whether they come to pass: no pod gets what one may still take off."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from azure_cni.errors import AccessDenied, CloudError, CloudUnreachable, NoAddress, OperationFailed
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime

SILENCE = CloudUnreachable("cannot change the NIC: Azure answers HTTP 504 (GatewayTimeout)")


class LateNic(FakeNic):
    """The next shrink is answered with `answer`, or not at all; Azure carries it out `late_s` later, if ever."""

    def __init__(
        self, *, answer: CloudError | None = SILENCE, late_s: float | None = None, lagging_reads: int = 0
    ) -> None:
        super().__init__()
        self.answer = answer
        self.late_s = late_s
        self.lagging_reads = lagging_reads
        """How many reads after the shrink show the NIC as it was before."""
        self.before: NicView | None = None
        self.lost: asyncio.Task[None] | None = None
        self.armed = False
        self.outcome = "still under way"

    async def read(self) -> NicView:
        if self.before is not None and self.lagging_reads:
            self.lagging_reads -= 1
            return self.before
        return await super().read()

    async def write(
        self,
        seen: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        if not (remove and self.armed):
            return await super().write(seen, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6)
        self.armed, self.before = False, seen
        self.lost = asyncio.create_task(self._carry_out(seen, remove))
        if self.answer is None:
            await asyncio.Event().wait()
        raise self.answer or SILENCE

    async def _carry_out(self, seen: NicView, remove: Collection[ConfigName]) -> None:
        if self.late_s is None:
            self.outcome = "never"
            return
        await asyncio.sleep(self.late_s)
        try:
            await FakeNic.write(self, seen, remove=remove)
            self.outcome = "landed"
        except CloudError as error:
            self.outcome = error.reason


class OrderedLateNic(LateNic):
    """Of a node whose controller writes its NIC: the one that answers need not be the only one that tried."""

    conclusive = ()


async def shrinking(node: SimulatedNode) -> LateNic:
    """The node holds 48 addresses, 32 of them too many, and has just sent the write that takes those away."""
    assert isinstance(node.nic, LateNic)
    await node.until(lambda: node.counts.free == 16)
    for number in range(30):
        await node.add(f"p{number}")
    await node.until(lambda: node.counts.allocated == 48)
    for number in range(30):
        await node.delete(f"p{number}")
    node.nic.armed = True
    await node.until(lambda: node.nic.lost is not None, within_s=2000)
    return node.nic


async def pods_come(node: SimulatedNode, *, count: int = 30, for_s: float = 100.0) -> int:
    """As many pods as start; at no time one of them holds an address that is not on the NIC. Returns their number."""
    waiting = [f"q{number}" for number in range(count)]
    ends_s = node.clock.boottime_s() + for_s
    while node.clock.boottime_s() < ends_s:
        for name in list(waiting):
            try:
                await node.add(name)
            except NoAddress:
                break
            waiting.remove(name)
        assert not lost(node)
        await asyncio.sleep(0.5)
    return count - len(waiting)


def lost(node: SimulatedNode) -> set[str]:
    """Addresses that pods hold and the NIC has not."""
    return {
        str(slot.address)
        for slot in node.stored.ledger.slots
        if slot.holder is not None and slot.address not in node.nic.addresses
    }


@pytest.mark.parametrize("late_s", [0.0, 1.0, 5.0, 60.0])
async def test_a_shrink_without_an_answer_takes_nothing_from_pods_however_late_it_comes(late_s: float):
    async with SimulatedNode(nic=LateNic(late_s=late_s)).running() as node:
        nic = await shrinking(node)
        assert await pods_come(node) == 30
        assert nic.outcome in {"landed", "ChangedMeanwhile"}
        assert node.counts.releasing == 0


async def test_a_shrink_without_an_answer_that_never_comes_to_pass_costs_one_more_write():
    async with SimulatedNode(nic=LateNic()).running() as node:
        nic = await shrinking(node)
        writes = nic.writes
        assert node.counts.releasing == 32
        await node.until(lambda: node.counts.releasing == 0, within_s=10)
        assert node.counts.free == 48
        assert nic.writes == writes + 1
        assert node.status["lastWrite"]["reason"] == "a write with an unknown outcome must not come through late"
        assert node.counts.missing == 0


@pytest.mark.parametrize("late_s", [0.0, 3.0, 20.0])
async def test_an_agent_that_ends_while_it_shrinks_leaves_the_next_one_careful(late_s: float):
    first = SimulatedNode(nic=LateNic(answer=None, late_s=late_s))
    async with first.running():
        nic = await shrinking(first)
    async with SimulatedNode(before=first).running() as second:
        assert await pods_come(second) == 30
        assert nic.outcome in {"landed", "ChangedMeanwhile"}
        assert second.counts.releasing == 0


async def test_the_next_agent_is_careful_too_while_the_api_server_is_silent():
    first = SimulatedNode(nic=LateNic(answer=None, late_s=20.0))
    async with first.running():
        await shrinking(first)
    second = SimulatedNode(before=first)
    second.pools.silent = True
    async with second.running():
        assert await pods_come(second, for_s=15.0) == 16
        assert second.counts.releasing == 32
        await asyncio.sleep(20.0)
        second.pools.silent = False
        assert await pods_come(second, for_s=700.0) == 30


async def test_what_azure_refuses_is_free_again_at_the_next_read_and_costs_no_write():
    denied = AccessDenied("cannot write: Microsoft.Network/networkInterfaces/write is missing", action="write")
    async with SimulatedNode(nic=LateNic(answer=denied)).running() as node:
        nic = await shrinking(node)
        writes = nic.writes
        await node.until(lambda: node.counts.free == 48, within_s=1)
        assert nic.writes == writes


@pytest.mark.parametrize("kind", [AccessDenied, OperationFailed])
async def test_an_error_after_azure_accepted_the_shrink_gives_nothing_back_while_reads_lag(kind: type[CloudError]):
    accepted = kind("cannot write: Azure accepted it, and its operation then failed")
    accepted.accepted = True
    async with SimulatedNode(nic=LateNic(answer=accepted, late_s=0.0, lagging_reads=2)).running() as node:
        nic = await shrinking(node)
        assert await pods_come(node) == 30
        assert nic.outcome == "landed"
        assert node.counts.releasing == 0


async def test_a_refusal_from_a_controller_says_nothing_of_what_another_one_tried_before():
    denied = AccessDenied("cannot write: Microsoft.Network/networkInterfaces/write is missing", action="write")
    async with SimulatedNode(nic=OrderedLateNic(answer=denied, late_s=1.5)).running() as node:
        nic = await shrinking(node)
        assert await pods_come(node) == 30
        assert nic.outcome in {"landed", "ChangedMeanwhile"}


async def test_another_tools_write_ends_the_doubt_too():
    async with SimulatedNode(nic=LateNic(late_s=60.0)).running() as node:
        nic = await shrinking(node)
        writes = nic.writes
        nic.elsewhere_touch()
        await node.until(lambda: node.counts.free == 48, within_s=10)
        assert nic.writes <= writes + 1
        await asyncio.sleep(60)
        assert nic.outcome == "ChangedMeanwhile"


async def test_pods_get_what_is_withheld_even_when_the_node_is_granted_no_more():
    async with SimulatedNode(grants=ControllerGrants(), nic=LateNic()).running() as node:

        async def grant() -> None:
            """Each request is answered at once, with 48 at most."""
            while True:
                await asyncio.sleep(0.1)
                status = node.status
                if status.get("requestID", 0) != status.get("grantedFor", 0):
                    fields = {"granted": min(status["requested"], 48), "grantedFor": status["requestID"]}
                    node.reconciler.pool_seen(await node.pools.patch_status(await node.pools.read(), fields))

        controller = asyncio.create_task(grant())
        await shrinking(node)
        assert await pods_come(node, count=60, for_s=60.0) == 48
        controller.cancel()
