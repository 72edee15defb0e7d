"""The taint of a node over time, and what keeping it costs the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from azure_cni.errors import KubeUnreachable
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.taint import KEY, RESYNC_S, STEADY_S, Room, Stance, has_taint, margin, room_of, turned
from fakes.nic import FakeNic
from fakes.pools import FakePools
from fakes.simulated_node import SimulatedNode

FULL = Policy(maximum=16)
BEGIN = ["read", "read"]
"""Who owns the pool, and the taint as it is found."""


class CountingNode:
    """The node's port, with what it was asked."""

    def __init__(self, pools: FakePools) -> None:
        self._pools = pools
        self.asked: list[str] = []

    async def read_node(self):
        self.asked.append("read")
        return await self._pools.read_node()

    async def write_taints(self, node, taints):
        self.asked.append("write")
        await self._pools.write_taints(node, taints)


class Kept:
    """A simulated node whose pool exists, and what its agent asks of the Node object from then on."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.port: CountingNode = node.node_port

    @property
    def tainted(self) -> bool:
        assert self.node.state.tainted is has_taint(self.node.pools.node)
        return self.node.state.tainted


@asynccontextmanager
async def kept(**options: Any) -> AsyncIterator[Kept]:
    node = SimulatedNode(**{"policy": FULL, "node_port": CountingNode, **options})
    async with node.running():
        await node.until(node.reconciler.pool_known.is_set)
        yield Kept(node)


async def fill(node: SimulatedNode) -> None:
    for number in range(16):
        await node.add(f"p{number}")
    await node.until(lambda: not node.state.can_take_a_pod)


@pytest.mark.looptime
async def test_a_full_node_is_tainted_after_a_while_and_free_again_once_there_is_some_room():
    async with kept() as keeper:
        node = keeper.node
        node.pools.taint({"key": "dedicated", "effect": "NoExecute"})
        await fill(node)
        await asyncio.sleep(STEADY_S - 2)
        assert not keeper.tainted
        await asyncio.sleep(4)
        assert keeper.tainted
        assert "16 of at most 16" in next(e.message for e in node.events.published if e.reason == "NoFreeAddresses")
        await node.delete("p0")
        await node.until(lambda: node.counts.free == 1, within_s=140)
        await asyncio.sleep(60)
        assert keeper.tainted  # one is not some room: the next pod would close it again
        await node.delete("p1")
        await node.until(lambda: node.counts.free == 2, within_s=140)
        await asyncio.sleep(STEADY_S - 2)
        assert keeper.tainted
        await asyncio.sleep(4)
        assert not keeper.tainted
        assert node.pools.node["spec"]["taints"] == [{"key": "dedicated", "effect": "NoExecute"}]
        assert keeper.port.asked == [*BEGIN, "read", "write", "read", "write"]


@pytest.mark.looptime
async def test_a_node_that_rests_reads_its_object_once_an_hour_and_writes_nothing():
    async with kept() as keeper:
        await asyncio.sleep(3 * RESYNC_S + 60)
        assert keeper.port.asked == [*BEGIN, *["read"] * 3]
        assert keeper.node.pools.node["metadata"]["resourceVersion"] == "1"


@pytest.mark.looptime
async def test_a_new_agent_takes_over_the_taint_that_it_finds():
    async with kept() as keeper:
        await fill(keeper.node)
        await asyncio.sleep(STEADY_S + 1)
        assert keeper.tainted
    async with kept(before=keeper.node) as second:
        await second.node.until(lambda: second.node.state.ready)
        await asyncio.sleep(60)
        assert second.tainted
        assert "write" not in second.port.asked
        for number in range(4):
            await second.node.delete(f"p{number}")
        await asyncio.sleep(140 + STEADY_S)
        assert not second.tainted


@pytest.mark.looptime
async def test_who_takes_it_off_by_hand_has_it_off_until_the_resync():
    async with kept() as keeper:
        await fill(keeper.node)
        await asyncio.sleep(STEADY_S + 1)
        keeper.node.pools.taint()
        await asyncio.sleep(RESYNC_S / 2)
        assert not has_taint(keeper.node.pools.node)
        await asyncio.sleep(RESYNC_S / 2 + 60)
        assert has_taint(keeper.node.pools.node)


class RacingNode(CountingNode):
    """Somebody else taints the node just before each of the first two writes."""

    races = 2

    async def write_taints(self, node, taints):
        if self.races:
            self.races -= 1
            self._pools.taint({"key": f"dedicated-{self.races}", "effect": "NoSchedule"})
        await super().write_taints(node, taints)


@pytest.mark.looptime
async def test_a_node_that_somebody_changes_meanwhile_is_read_again_at_once():
    async with kept(node_port=RacingNode) as keeper:
        await fill(keeper.node)
        await asyncio.sleep(STEADY_S + 1)
        assert keeper.tainted
        assert keeper.port.asked == [*BEGIN, *["read", "write"] * 3]
        assert [taint["key"] for taint in keeper.node.pools.node["spec"]["taints"]] == ["dedicated-0", KEY]
        assert "KubernetesConflict" not in keeper.node.events.reasons


@pytest.mark.looptime
async def test_a_change_that_the_api_server_did_not_take_is_made_later():
    async with kept() as keeper:
        await fill(keeper.node)
        await asyncio.sleep(STEADY_S / 2)
        keeper.node.pools.fail_next = KubeUnreachable("cannot read /api/v1/nodes/vm1: no answer")
        await asyncio.sleep(STEADY_S)
        assert keeper.tainted


@pytest.mark.looptime
async def test_a_node_that_grows_is_not_full():
    nic = FakeNic()
    async with kept(nic=nic, policy=Policy()) as keeper:
        await keeper.node.until(lambda: keeper.node.counts.free == 16)
        nic.hold()
        for number in range(16):
            await keeper.node.add(f"p{number}")
        await asyncio.sleep(4 * STEADY_S)
        assert keeper.node.counts.free == 0
        assert not keeper.tainted


@pytest.mark.looptime
async def test_a_full_subnet_and_an_obstacle_count_too():
    nic = FakeNic(room=0)
    async with kept(nic=nic, policy=Policy()) as keeper:
        await keeper.node.until(lambda: keeper.node.state.forecast.reason == "SubnetFull")
        await asyncio.sleep(STEADY_S + 1)
        assert keeper.tainted
        nic.room = 200
        await keeper.node.until(lambda: keeper.node.counts.free == 16, within_s=180)
        await asyncio.sleep(STEADY_S + 1)
        assert not keeper.tainted
        keeper.node.state.obstacle = "the plugin portmap is missing in /opt/cni/bin"
        keeper.node.reconciler.wake()
        await asyncio.sleep(STEADY_S + 1)
        assert keeper.tainted
        reported = [e.message for e in keeper.node.events.published if e.reason == "NoFreeAddresses"]
        assert [word in message for word, message in zip(("subnet", "portmap"), reported, strict=True)] == [True, True]


@pytest.mark.looptime
async def test_before_the_node_is_wired_there_is_nothing_to_say():
    before = SimulatedNode()
    before.cloud.silent = True
    before.pools.taint({"key": KEY, "effect": "NoSchedule"})
    async with kept(before=before) as keeper:
        node = keeper.node
        await asyncio.sleep(10 * STEADY_S)
        assert has_taint(node.pools.node)
        assert keeper.port.asked == BEGIN[:1]


@pytest.mark.parametrize(
    ("can", "free", "waiting", "room"),
    [
        (False, 0, 0, Room.NONE),
        (False, 3, 0, Room.NONE),
        (True, 0, 4, Room.SOME),
        (True, 1, 4, Room.SPOKEN_FOR),
        (True, 1, 0, Room.SOME),
        (True, 2, 0, Room.ENOUGH),
    ],
)
def test_what_room_there_is(*, can: bool, free: int, waiting: int, room: Room):
    assert room_of(can_take_a_pod=can, free=free, waiting=waiting, margin=2) is room


@pytest.mark.parametrize(
    ("min_free", "ceiling", "expected"), [(8, 250, 2), (9, 250, 3), (1, 250, 1), (0, 250, 0), (8, 1, 1), (8, 0, 0)]
)
def test_the_margin_is_a_quarter_of_what_is_kept_free(min_free: int, ceiling: int, expected: int):
    assert margin(min_free=min_free, ceiling=ceiling) == expected


def test_an_address_that_a_waiting_pod_takes_at_once_does_not_hide_that_the_node_is_full():
    stance = Stance(tainted=False)
    for second in range(int(STEADY_S)):
        stance = turned(stance, Room.SPOKEN_FOR if second % 3 == 2 else Room.NONE, now_s=float(second))
        assert not stance.tainted
    assert turned(stance, Room.SPOKEN_FOR, now_s=STEADY_S) == Stance(tainted=True)


def test_what_is_spoken_for_alone_shows_nothing():
    stance = Stance(tainted=False)
    for second in range(60):
        stance = turned(stance, Room.SPOKEN_FOR, now_s=float(second))
    assert stance == Stance(tainted=False)
