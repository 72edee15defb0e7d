"""A subnet that is full for minutes: what it costs, what people see meanwhile, and how soon pods start afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import READ_NOW
from azure_cni.errors import (
    AccessDenied,
    CloudError,
    CloudNotFound,
    CloudUnreachable,
    OperationFailed,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    Throttled,
)
from azure_cni.ipam.limits import BACKOFF_MAX_S
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.reservation_request import ControllerGrants
from azure_cni.node.pool.taint import STEADY_S
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.test_taint import Kept, kept

pytestmark = pytest.mark.looptime

MOST_TRIES = 16
"""In ten minutes: seven until the pauses are two minutes long, and then one in each of these (a minute at least)."""


@dataclass
class Seen:
    """How a node looked, second by second."""

    full: list[bool] = field(default_factory=list)
    ready: set[tuple[str, str]] = field(default_factory=set)
    causes: set[str] = field(default_factory=set)
    hopes: int = 0

    @property
    def flips(self) -> int:
        return sum(before != after for before, after in zip(self.full, self.full[1:], strict=False))


async def watched(node: SimulatedNode, seconds: int) -> Seen:
    seen = Seen()
    for _ in range(seconds):
        await asyncio.sleep(1)
        seen.full.append(node.condition("SubnetFull")["status"] == "True")
        ready = node.condition("Ready")
        seen.ready.add((ready["status"], ready["reason"]))
        seen.causes.add(node.state.forecast.reason)
        seen.hopes += node.state.forecast.available_soon
    return seen


async def crowd(keeper: Kept, waiting: int) -> None:
    """All addresses that the subnet had are assigned, and that many pods wait for more."""
    node = keeper.node
    await node.until(lambda: node.counts.free == 16)
    for number in range(16):
        await node.add(f"p{number}")
    for number in range(waiting):
        node.demand.observe_pod(pod_body(f"w{number}"))
    node.reconciler.wake()


@pytest.mark.parametrize("waiting", [0, 1, 20, 234])
async def test_ten_minutes_of_it_cost_few_writes_and_nothing_wavers(waiting: int):
    nic = FakeNic(room=16)
    async with kept(nic=nic, policy=Policy()) as keeper:
        node = keeper.node
        await crowd(keeper, waiting)
        await node.until(lambda: node.condition("SubnetFull")["status"] == "True", within_s=10)
        before = nic.tries
        seen = await watched(node, 600)
        assert nic.tries - before <= MOST_TRIES
        assert nic.writes == 1
        assert seen.flips == 0
        assert all(seen.full)
        assert keeper.tainted
        assert seen.ready == {("False", "SubnetFull")}
        assert (seen.causes, seen.hopes) == ({"SubnetFull"}, 0)
        assert node.events.reasons.count("SubnetFull") == 1


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("the role lacks an action", action="write"),
        RequestRefused("the NIC is locked"),
        CloudNotFound("the NIC is hidden"),
        Throttled("too many requests"),
        ResourceBusy("another operation holds the NIC"),
        PreconditionFailed("somebody else is always first"),
        OperationFailed("accepted, then Failed"),
        CloudUnreachable("no answer"),
    ],
    ids=lambda error: error.reason,
)
async def test_no_other_refusal_costs_more_or_wavers_while_pods_wait(error: CloudError):
    nic = FakeNic()
    async with kept(nic=nic, policy=Policy()) as keeper:
        node = keeper.node
        await node.until(lambda: node.counts.free == 16)
        nic.refusal = error
        await crowd(keeper, 20)
        await asyncio.sleep(2 * STEADY_S)
        before = nic.tries
        seen = await watched(node, 600)
        assert nic.tries - before <= MOST_TRIES
        assert keeper.tainted
        assert seen.ready == {("False", error.reason)}
        assert (seen.causes, seen.hopes) == ({error.reason}, 0)
        assert node.events.reasons.count(error.reason) == 1


async def test_it_is_tainted_within_the_documented_time_also_while_azure_is_slow_to_refuse():
    nic = FakeNic(room=16)
    write = nic.write

    async def slow(*args: Any, **options: Any):
        await asyncio.sleep(5)
        return await write(*args, **options)

    nic.write = slow
    async with kept(nic=nic, policy=Policy()) as keeper:
        await crowd(keeper, 20)
        await keeper.node.until(lambda: keeper.node.condition("SubnetFull")["status"] == "True", within_s=12)
        await asyncio.sleep(STEADY_S + 6)
        assert keeper.tainted
        seen = await watched(keeper.node, 120)
        assert (seen.causes, seen.hopes) == ({"SubnetFull"}, 0)


async def test_what_the_subnet_has_is_had_in_few_writes_and_the_rest_stays_reported():
    nic = FakeNic(room=21)
    async with kept(nic=nic, policy=Policy()) as keeper:
        node = keeper.node
        await crowd(keeper, 20)
        await node.until(lambda: node.counts.allocated == 21, within_s=60)
        assert nic.tries <= 1 + 8
        seen = await watched(node, 60)
        assert all(seen.full)


@pytest.mark.parametrize("room", [1, 3, 200])
async def test_when_room_comes_back_pods_get_it_within_the_longest_pause(room: int):
    nic = FakeNic(room=16)
    async with kept(nic=nic, policy=Policy()) as keeper:
        node = keeper.node
        await crowd(keeper, 20)
        await asyncio.sleep(900)
        nic.room = room
        expected = 16 + min(room, 32)
        await node.until(lambda: node.counts.allocated >= expected, within_s=BACKOFF_MAX_S + 30)
        if room == 200:
            await node.until(lambda: node.condition("SubnetFull")["status"] == "False", within_s=10)
            await asyncio.sleep(STEADY_S + 1)
        else:
            assert (await watched(node, 300)).flips == 0


async def test_pods_that_come_and_go_do_not_begin_the_pauses_again():
    nic = FakeNic(room=16)
    async with kept(nic=nic, policy=Policy(min_free=0, batch=1, max_free=24)) as keeper:
        node = keeper.node
        await node.until(lambda: node.counts.allocated >= 1)
        for number in range(16):
            await node.add(f"p{number}")
        for turn in range(60):
            node.demand.observe_pod(pod_body(f"w{turn}"))
            node.reconciler.wake()
            await asyncio.sleep(5)
            node.demand.forget_pod(f"uid-w{turn}")
            node.reconciler.wake()
            await asyncio.sleep(5)
        assert nic.tries - nic.writes <= MOST_TRIES
        assert node.condition("SubnetFull")["status"] == "True"
        await asyncio.sleep(3 * BACKOFF_MAX_S)
        assert node.condition("SubnetFull")["status"] == "False"  # nobody wants anything of it


async def test_each_write_that_is_refused_is_made_under_a_grant_of_its_own():
    nic = FakeNic(room=0)
    grants: list[int] = []
    write = nic.write

    async def noted(*args: Any, **options: Any):
        grants.append(node.status["grantedFor"])
        return await write(*args, **options)

    nic.write = noted
    node = SimulatedNode(nic=nic, grants=ControllerGrants())
    async with node.running():
        for number in range(20):
            node.demand.observe_pod(pod_body(f"w{number}"))
        for _ in range(600):
            await asyncio.sleep(1)
            pool = await node.pools.read()
            if pool is not None and node.status.get("requestID", 0) != node.status.get("grantedFor", 0):
                fields = {"granted": node.status["requested"], "grantedFor": node.status["requestID"]}
                node.reconciler.pool_seen(await node.pools.patch_status(pool, fields, guarded=True))
        assert node.condition("Ready")["reason"] == "SubnetFull"
    assert 5 <= len(grants) <= MOST_TRIES
    assert len(set(grants)) == len(grants)


@pytest.mark.parametrize("touched", ["spec", "annotation"])
async def test_a_touch_of_the_pool_is_a_reason_to_try_at_once(touched: str):
    nic = FakeNic(room=16)
    async with kept(nic=nic, policy=Policy()) as keeper:
        node = keeper.node
        await crowd(keeper, 20)
        await asyncio.sleep(900)
        nic.room = 200
        if touched == "spec":
            node.pools.edit_spec(minFree=9)
        else:
            node.pools.annotate(**{READ_NOW: "1"})
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: node.counts.allocated >= 36, within_s=10)
