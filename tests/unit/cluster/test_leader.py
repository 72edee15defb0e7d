"""Pools are counted whole, and each VNet has its own worker: what is wrong in one delays no other."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.cluster.leader import UNNEEDED_S, Leader
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ClusterPorts
from azure_cni.errors import KubeInvalid
from azure_cni.model.identity import short_id
from azure_cni.model.nic import SubnetUsage, VNetID
from fakes.clocks import LoopClock
from fakes.cluster import VNET, FakeMemberNodes, FakeMemberPools, FakeQuotas
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

OTHER = VNetID(f"{VNET}-two")


def refuse_long_labels(world: SimulatedCluster) -> None:
    """As the schema of the definition does."""
    patch = world.cluster.quotas.patch

    def checked(name: str, body: Any, **how: Any) -> dict[str, Any]:
        entries = (body.get("status", {}).get("grants") or {}).values()
        if any(len(entry.get("nic", "")) > 256 for entry in entries if entry):
            raise KubeInvalid(f"cannot patch {name}: status.grants.evil.nic: Too long: may not be more than 256 bytes")
        return patch(name, body, **how)

    world.cluster.quotas.patch = checked  # type: ignore[method-assign]


async def test_a_pool_that_the_ledger_cannot_hold_keeps_nobody_up_and_is_reported() -> None:
    world = SimulatedCluster()
    refuse_long_labels(world)
    world.cluster.node("evil", requested=16, writeIntent="Grow", nic="x" * 300)
    async with world.controller():
        world.cluster.node("good", requested=16, writeIntent="Grow", waiting=4)
        await world.until(lambda: world.cluster.granted()["good"] == (16, 1), within_s=5)
        await world.until(lambda: world.cluster.status("evil").get("grantReason") == "NicUnknown", within_s=5)
        assert "302 characters where 256 are possible" in world.cluster.status("evil")["grantMessage"]
        written = world.cluster.calls.count("pools.write")
        await asyncio.sleep(600)
        assert world.cluster.calls.count("pools.write") == written
        world.cluster.node("evil", requested=16, writeIntent="Grow")
        await world.until(lambda: world.cluster.granted()["evil"] == (16, 1), within_s=5)
        assert "grantReason" not in world.cluster.status("evil")


async def test_a_vnet_whose_ledger_is_refused_keeps_no_other_up() -> None:
    world = SimulatedCluster()
    world.cluster.node("a", requested=16, vnetID=OTHER)
    async with world.controller():
        await world.until(lambda: world.cluster.granted()["a"] == (16, 1))
        patch = world.cluster.quotas.patch

        def other_refused(name: str, body: Any, **how: Any) -> dict[str, Any]:
            if world.cluster.quotas.objects[name]["spec"]["vnetID"] == OTHER:
                raise KubeInvalid("cannot patch it: refused")
            return patch(name, body, **how)

        world.cluster.quotas.patch = other_refused  # type: ignore[method-assign]
        world.cluster.node("a", requested=32, number=2, vnetID=OTHER)
        world.cluster.node("b", requested=16)
        await world.until(lambda: world.cluster.granted()["b"] == (16, 1), within_s=5)
        await asyncio.sleep(600)
        world.cluster.node("b", requested=32, number=2)
        await world.until(lambda: world.cluster.granted()["b"] == (32, 2), within_s=5)
        assert world.cluster.granted()["a"] == (16, 1)


async def test_a_mistake_in_our_code_is_shown_and_neither_ends_the_term_nor_delays_other_vnets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = SimulatedCluster()
    broken = True

    async def usages(vnet_id: VNetID) -> tuple[SubnetUsage, ...]:
        if vnet_id == OTHER and broken:
            raise ValueError("a mistake")
        return ()

    world.vnets.usages = usages  # type: ignore[method-assign]
    write = FakeQuotas.write

    async def mistaken(self: FakeQuotas, seen: Any, draft: Any) -> Any:
        if seen.vnet_id == OTHER and broken:
            raise ValueError("another mistake")
        return await write(self, seen, draft)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakeQuotas, "write", mistaken)
        async with world.controller():
            world.cluster.node("a", requested=16, vnetID=OTHER)
            world.cluster.node("b", requested=16)
            await world.until(lambda: world.cluster.granted()["b"] == (16, 1), within_s=20)
            shown = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert {record.__dict__["about"] for record in shown} == {short_id(OTHER)}
            assert all(record.exc_info for record in shown)
            assert len(shown) == 2  # once for each kind, however often
            assert {("internal_error", "usage"), ("internal_error", "grants")} <= set(world.observer.recorded)
            broken = False
            await world.until(lambda: world.cluster.granted()["a"] == (16, 1), within_s=150)


async def test_a_vnet_of_which_azure_says_nothing_is_no_fault_of_ours() -> None:
    world = SimulatedCluster()
    world.vnets.delay_s = 3600
    async with world.controller():
        for name in ("b", "c"):  # most nodes are in a VNet that has its quota
            world.cluster.node(name, requested=8)
        world.cluster.node("a", requested=8, vnetID=f"{VNET}-other")
        await world.until(lambda: world.cluster.status("a").get("grantReason") == "VNetUnconfirmed", within_s=300)
    assert "no answer within" in world.cluster.status("a")["grantMessage"]
    assert [one for one in world.observer.recorded if one[0] == "internal_error"] == []


async def test_ids_that_are_none_end_nothing() -> None:
    world = SimulatedCluster(reclaim_s=30)
    async with world.controller():
        world.cluster.node("good", requested=16)
        world.cluster.node("evil", requested=1, vnetID="x")
        await world.until(lambda: world.cluster.granted() == {"good": (16, 1), "evil": (0, 0)})
        await world.until(lambda: world.cluster.status("evil").get("grantReason") == "VNetUnconfirmed")
        world.cluster.pools.delete("evil")
        await asyncio.sleep(120)
        assert list(world.cluster.quotas.objects) == ["vnet"]


async def test_a_pool_with_a_field_of_the_wrong_type_is_served_like_the_others() -> None:
    world = SimulatedCluster()
    world.cluster.node("odd", requested=16, waiting="many", addresses=7, conditions="none", throttledUntil=[])
    world.cluster.node("good", requested=16)
    async with world.controller():
        await world.until(lambda: world.cluster.granted() == {"good": (16, 1), "odd": (16, 1)})


async def test_a_pool_that_cannot_be_taken_in_is_left_aside(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = SimulatedCluster()
    world.cluster.node("odd", requested=16)
    world.cluster.node("good", requested=16)
    see, broken = NodeIndex.see, True

    def mistaken(self: NodeIndex, pool: NodeIPPool, *, now_s: float) -> bool:
        if broken and pool.name == "odd":
            raise ValueError("a mistake")
        return see(self, pool, now_s=now_s)

    monkeypatch.setattr(NodeIndex, "see", mistaken)
    async with world.controller():
        await world.until(lambda: world.cluster.granted()["good"] == (16, 1))
        broken = False
        world.cluster.node("odd", requested=16, waiting=1)
        await world.until(lambda: world.cluster.granted()["odd"] == (16, 1))
    assert [record.__dict__["about"] for record in caplog.records if record.exc_info] == ["odd"]
    assert ("internal_error", "pool") in world.observer.recorded


async def test_work_for_a_vnet_ends_when_it_has_neither_nodes_nor_a_quota() -> None:
    world = SimulatedCluster(reclaim_s=30)
    async with world.controller() as leader:
        world.cluster.node("a", requested=16, vnetID=OTHER)
        world.cluster.node("b", requested=16)
        await world.until(lambda: world.cluster.granted() == {"a": (16, 1), "b": (16, 1)})
        assert sorted(quota.name for quota in leader.quotas) == ["vnet", "vnet-two"]
        world.cluster.pools.delete("a")
        await world.until(lambda: world.cluster.counts("vnet-two") == {})
        world.cluster.quotas.delete("vnet-two")
        await asyncio.sleep(120)
        assert [quota.name for quota in leader.quotas] == ["vnet"]
        assert sorted(world.cluster.quotas.objects) == ["vnet"]
        world.cluster.node("a", requested=16, vnetID=OTHER)
        await world.until(lambda: world.cluster.granted()["a"] == (16, 1))


async def test_it_breathes_while_it_works_and_while_the_api_server_is_silent() -> None:
    world = SimulatedCluster()
    world.cluster.node("a", requested=16)
    now_s = asyncio.get_running_loop().time
    async with world.controller() as leader:
        await asyncio.sleep(600)
        assert now_s() - leader.last_progress_s < 60
        leader.relisted()
        world.cluster.before_call = unreachable
        await asyncio.sleep(1200)
        assert now_s() - leader.last_progress_s < 150


def unreachable(_: str) -> None:
    raise KubeInvalid("nothing is answered")


# Counting.


def resting(world: SimulatedCluster, *names: str) -> None:
    for name in names:
        world.cluster.node(name, requested=16, allocated=16, granted=16, grantedFor=1, free=16, writeIntent="None")


async def test_a_pool_that_goes_while_it_is_counted_does_not_come_back_with_a_later_page() -> None:
    world = SimulatedCluster()
    resting(world, "a", "b", "c")
    async with world.controller(page_s=0.5) as leader:
        await asyncio.sleep(0.7)
        world.cluster.pools.delete("c")
        await asyncio.sleep(5)
        assert world.cluster.counts() == {"a": 16, "b": 16}
        assert sorted(member.name for member in leader.node_index) == ["a", "b"]


@asynccontextmanager
async def counting(world: SimulatedCluster) -> AsyncIterator[Leader]:
    """A leader that takes half a second to list each pool, and whose watches show nothing by themselves."""
    ports = ClusterPorts(
        quotas=FakeQuotas(world.cluster),
        pools=FakeMemberPools(world.cluster, page_s=0.5),
        nodes=FakeMemberNodes(world.cluster),
        vnets=world.vnets,
        events=world.events,
        clock=LoopClock(),
        observer=world.observer,
    )
    leader = Leader(ports=ports, settings=world.settings)
    task = asyncio.create_task(leader.run())
    try:
        yield leader
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_pool_that_is_recreated_while_it_is_counted_is_not_dropped() -> None:
    world = SimulatedCluster()
    resting(world, "a", "b", "c")
    async with counting(world) as leader:
        await asyncio.sleep(5)
        world.cluster.pools.delete("c")
        leader.relisted()
        await asyncio.sleep(0.7)
        resting(world, "c")
        leader.pool_seen(parse(world.cluster.pools.objects["c"]))
        await asyncio.sleep(5)
        member = leader.node_index.get("c")
        assert member is not None
        assert member.version.uid == world.cluster.pools.objects["c"]["metadata"]["uid"]


async def test_a_watch_that_starts_again_while_pools_are_counted_has_them_counted_again() -> None:
    world = SimulatedCluster(reclaim_s=60.0)
    resting(world, "a", "b", "c")
    async with counting(world) as leader:
        await asyncio.sleep(0.2)
        world.cluster.pools.delete("c")  # after the first page, and before the watch's own list: nobody reports it
        leader.relisted()
        await asyncio.sleep(300)
        assert sorted(member.name for member in leader.node_index) == ["a", "b"]
        assert world.cluster.counts() == {"a": 16, "b": 16}


async def a_quota_that_nobody_needs(world: SimulatedCluster) -> None:
    world.cluster.node("a", requested=16)
    await world.until(lambda: world.cluster.granted()["a"] == (16, 1))
    world.cluster.pools.delete("a")
    await world.until(lambda: world.cluster.counts() == {}, within_s=120)


async def test_a_quota_that_no_node_and_no_entry_needs_goes_with_its_tasks_and_comes_again_with_a_node() -> None:
    world = SimulatedCluster(reclaim_s=30)
    async with world.controller() as leader:
        await asyncio.sleep(5)
        tasks = len(asyncio.all_tasks())
        await a_quota_that_nobody_needs(world)
        await asyncio.sleep(UNNEEDED_S / 2)
        assert "vnet" in world.cluster.quotas.objects
        await world.until(lambda: world.cluster.quotas.objects == {}, within_s=UNNEEDED_S)
        await world.until(lambda: leader.quotas == [] and len(asyncio.all_tasks()) <= tasks, within_s=10)
        world.cluster.node("b", requested=8)
        await world.until(lambda: world.cluster.granted_of("b") == (8, 1), within_s=90)


@pytest.mark.parametrize("edited", [True, False], ids=["edited", "made_by_hand"])
async def test_a_quota_of_peoples_stays(edited: bool) -> None:  # noqa: FBT001
    world = SimulatedCluster(reclaim_s=30)
    async with world.controller():
        await a_quota_that_nobody_needs(world)
        if edited:
            world.cluster.edit_quota(limit=1000)
        else:
            body = copy.deepcopy(world.cluster.quotas.objects["vnet"])
            body["metadata"]["annotations"] = {}
            world.cluster.quotas.replace("vnet", body)
        await asyncio.sleep(2 * UNNEEDED_S)
        assert "vnet" in world.cluster.quotas.objects
