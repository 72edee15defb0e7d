"""What vanished nodes held: it stays granted until Azure says that nothing of it is left."""

from __future__ import annotations

import asyncio
import copy
import logging

import pytest

from azure_cni.api.vnet_quota import Limits
from azure_cni.errors import CloudUnreachable
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime

RECLAIM_S = 60.0


async def held_by_a(world: SimulatedCluster) -> None:
    """Node a got its addresses; then its pool is deleted with its Node, and its agent is no more."""
    world.node("a", want=16, waiting=16)
    async with world.agents():
        await world.until(lambda: world.held() == {"a": 16})
    world.vnets.ours["a-nic"] = 16
    world.cluster.pools.delete("a")


async def looks(count: int) -> None:
    await asyncio.sleep(count * RECLAIM_S + 1)


async def test_it_stays_while_the_nic_holds_addresses(caplog: pytest.LogCaptureFixture) -> None:
    world = SimulatedCluster(limits=Limits(limit=20), reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        with caplog.at_level(logging.WARNING):
            await looks(5)
        assert world.cluster.counts() == {"a": 16}
        world.node("b", want=16)
        async with asyncio.timeout(60), world.agents():
            await asyncio.sleep(20)
        assert world.held()["b"] == 4
    reported = [record for record in caplog.records if record.message == "grant of a vanished node kept"]
    assert len(reported) == 1


async def test_it_is_reclaimed_when_the_nic_is_gone() -> None:
    world = SimulatedCluster(limits=Limits(limit=20), reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        del world.vnets.ours["a-nic"]
        world.nics["g/a-nic"] = 0
        await world.until(lambda: world.cluster.counts() == {}, within_s=RECLAIM_S + 5)
    assert ("reclaimed", "reclaimed") in world.observer.recorded


async def test_what_an_instance_of_a_scale_set_held_is_looked_for_below_its_set() -> None:
    of_set = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool"
    nic_id = f"{of_set}/virtualMachines/12/networkInterfaces/a-nic"
    world = SimulatedCluster(limits=Limits(limit=20), reclaim_s=RECLAIM_S)
    async with world.controller():
        world.cluster.node("a", requested=16, waiting=16, nicID=nic_id, writeIntent="Grow")
        await world.until(lambda: "vnet" in world.cluster.quotas.objects and world.cluster.counts() == {"a": 16})
        assert world.status()["grants"]["a"]["nic"] == "g/pool/12/a-nic"
        world.vnets.ours["a-nic"] = 16
        world.cluster.pools.delete("a")
        await looks(2)
        assert world.cluster.counts() == {"a": 16}
        assert set(world.vnets.asked_ids) == {nic_id}
        del world.vnets.ours["a-nic"]
        await world.until(lambda: world.cluster.counts() == {}, within_s=RECLAIM_S + 5)


async def test_an_empty_nic_that_exists_must_be_seen_twice() -> None:
    world = SimulatedCluster(reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        world.vnets.ours["a-nic"] = 0
        world.nics["g/a-nic"] = 0
        await asyncio.sleep(RECLAIM_S + 1)
        assert world.vnets.asked.count("a-nic") == 1
        assert world.cluster.counts() == {"a": 16}
        await world.until(lambda: world.cluster.counts() == {}, within_s=RECLAIM_S + 5)


async def test_it_stays_while_azure_does_not_answer() -> None:
    world = SimulatedCluster(reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        del world.vnets.ours["a-nic"]
        world.vnets.fail = CloudUnreachable("no answer")
        await looks(3)
        assert world.cluster.counts() == {"a": 16}
        assert ("reclaimed", "AzureUnreachable") in world.observer.recorded
        world.vnets.fail = None
        world.nics["g/a-nic"] = 0
        await world.until(lambda: world.cluster.counts() == {}, within_s=RECLAIM_S + 5)


async def test_a_node_that_came_back_meanwhile_keeps_its_grant() -> None:
    world = SimulatedCluster(reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        del world.vnets.ours["a-nic"]
        called = asyncio.Event()
        ask = world.vnets.ours_on

        async def slowly(nic_id: str) -> int | None:
            answer = await ask(nic_id)
            called.set()
            await asyncio.sleep(3)
            return answer

        world.vnets.ours_on = slowly  # type: ignore[method-assign]
        await called.wait()
        async with world.agents():
            await looks(3)
            assert world.cluster.counts() == {"a": 16}
            assert world.held() == {"a": 16}


async def test_a_node_that_comes_back_on_a_nic_of_the_same_name_keeps_its_new_grant() -> None:
    """Found by review: what was found of the first life took the entry of the second, minutes later."""
    world = SimulatedCluster(limits=Limits(limit=40), reclaim_s=RECLAIM_S)
    async with world.controller():
        for _ in range(2):
            await held_by_a(world)
            del world.vnets.ours["a-nic"]
            world.nics["g/a-nic"] = 0
            await world.until(lambda: world.cluster.counts() == {}, within_s=RECLAIM_S + 5)
        world.node("a", want=16, waiting=16)
        async with world.agents():
            await world.until(lambda: world.held() == {"a": 16})
            world.cluster.node("b", requested=16, writeIntent="Grow", waiting=4, throttledUntil="2100-01-01T00:00:00Z")
            await looks(2)
            assert world.cluster.counts()["a"] == 16


async def test_what_another_controller_granted_during_a_look_stays_though_it_looks_as_before() -> None:
    world = SimulatedCluster(limits=Limits(limit=40), reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        del world.vnets.ours["a-nic"]
        world.nics["g/a-nic"] = 0
        before = copy.deepcopy(world.cluster.quotas.objects["vnet"]["status"]["grants"]["a"])
        looked = asyncio.Event()

        async def meanwhile(_: str) -> int | None:
            """The node comes back and is granted, and a late controller writes for its former pool once more."""
            if looked.is_set():
                return 16
            looked.set()
            for number in (before["requestID"] + 7, before["requestID"]):
                entry = {**before, "requestID": number}
                world.cluster.quotas.patch("vnet", {"status": {"grants": {"a": entry}}})
            world.nics["g/a-nic"] = 16
            return None  # as it was when Azure looked

        world.vnets.ours_on = meanwhile  # type: ignore[method-assign]
        await looked.wait()
        await looks(1)
        assert world.cluster.counts() == {"a": 16}
        assert ("ledger", "KubernetesConflict") in world.observer.recorded


async def test_azure_that_does_not_answer_holds_up_a_round_only_for_a_while() -> None:
    world = SimulatedCluster(limits=Limits(limit=40), reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        asked = asyncio.Event()

        async def never(_: str) -> None:
            asked.set()
            await asyncio.sleep(3600)

        world.vnets.ours_on = never  # type: ignore[method-assign]
        await asked.wait()
        world.node("b", want=8, waiting=8)
        async with world.agents():
            await world.until(lambda: world.held()["b"] == 8, within_s=15)
        assert world.cluster.counts()["a"] == 16


async def test_many_that_vanished_at_once_are_looked_into_in_several_rounds() -> None:
    world = SimulatedCluster(limits=Limits(limit=400), reclaim_s=RECLAIM_S)
    names = [f"n{index:02}" for index in range(40)]
    for name in names:
        world.cluster.node(name, requested=8, allocated=8, granted=8, grantedFor=1, writeIntent="None")
    async with world.controller():
        await asyncio.sleep(5)
        assert len(world.cluster.counts()) == 40
        world.vnets.ours["n07-nic"] = 8
        for name in names:
            world.cluster.pools.delete(name)
        await world.until(lambda: world.cluster.counts() == {"n07": 8}, within_s=RECLAIM_S + 5)
        assert sorted(set(world.vnets.asked) - {"usages"}) == [f"{name}-nic" for name in names]


async def test_a_nic_about_which_nobody_answers_keeps_none_behind_it_from_its_look() -> None:
    world = SimulatedCluster(limits=Limits(limit=400), reclaim_s=RECLAIM_S)
    names = [f"n{index:02}" for index in range(20)]
    for name in names:
        world.cluster.node(name, requested=8, allocated=8, granted=8, grantedFor=1, writeIntent="None")
    ours_on = world.vnets.ours_on

    async def silent_about_the_first(nic_id: str) -> int | None:
        if nic_id.endswith("/n00-nic"):
            await asyncio.sleep(3600)
        return await ours_on(nic_id)

    world.vnets.ours_on = silent_about_the_first  # type: ignore[method-assign]
    world.vnets.ours = {f"{name}-nic": 8 for name in names[:16]}
    async with world.controller():
        await asyncio.sleep(5)
        for name in names:
            world.cluster.pools.delete(name)
        await world.until(lambda: sorted(world.cluster.counts()) == names[:16], within_s=3 * RECLAIM_S)


async def test_a_node_that_comes_back_on_another_nic_leaves_its_former_entry_behind() -> None:
    world = SimulatedCluster(limits=Limits(limit=20), reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        world.node("a", want=16, waiting=16, nic="a-nic2")
        world.vnets.ours["a-nic2"] = 0
        async with world.agents():
            await world.until(lambda: world.cluster.counts() == {"a~a-nic": 16, "a": 4})
            await world.until(lambda: world.held() == {"a": 4})
            del world.vnets.ours["a-nic"]
            world.nics["g/a-nic"] = 0
            await world.until(lambda: world.cluster.counts() == {"a": 16})
            await world.until(lambda: world.held() == {"a": 16})


async def test_a_node_that_goes_back_to_its_former_nic_finds_its_entry() -> None:
    world = SimulatedCluster(limits=Limits(limit=40), reclaim_s=RECLAIM_S)
    async with world.controller():
        await held_by_a(world)
        world.vnets.ours["a-nic2"] = 4
        world.node("a", want=4, waiting=4, nic="a-nic2")
        async with world.agents():
            await world.until(lambda: world.cluster.counts() == {"a~a-nic": 16, "a": 4})
        world.node("a", want=16, waiting=16, nic="a-nic")
        async with world.agents():
            await world.until(lambda: world.cluster.counts() == {"a": 16, "a~a-nic2": 4})


async def test_a_pool_that_the_watch_lost_is_not_mistaken_for_gone() -> None:
    world = SimulatedCluster(reclaim_s=RECLAIM_S)
    world.node("a", want=16, waiting=16)
    async with world.controller() as leader:
        async with world.agents():
            await world.until(lambda: world.held() == {"a": 16})
        leader.node_index.forget("a")
        await looks(3)
        assert world.cluster.counts() == {"a": 16}
        assert "a-nic" not in world.vnets.asked


async def test_a_node_whose_vm_was_made_again_has_all_that_it_needs_at_once() -> None:
    """Azure is asked about the NIC that it had as soon as it shows another: it is gone, and so is what it held."""
    world = SimulatedCluster(limits=Limits(per_node=20), reclaim_s=3600)
    async with world.controller():
        await held_by_a(world)
        del world.vnets.ours["a-nic"]
        del world.nics["g/a-nic"]
        world.vnets.ours["a-nic2"] = 0
        world.node("a", want=16, waiting=16, nic="a-nic2")
        async with world.agents():
            await world.until(lambda: world.held() == {"a": 16}, within_s=10)
        assert world.cluster.counts() == {"a": 16}
