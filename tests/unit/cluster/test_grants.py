"""What nodes get, with one controller at work or two, killed at any moment; the observer looks at every change."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from azure_cni.api.conditions import QuotaKind
from azure_cni.api.vnet_quota import Limits
from azure_cni.errors import AccessDenied, CloudUnreachable, KubeUnreachable
from azure_cni.model.text import time_text
from fakes.clocks import EPOCH_S
from unit.cluster.worlds import SimulatedCluster

pytestmark = pytest.mark.looptime


def nodes(world: SimulatedCluster, **wants: int) -> None:
    for name, want in wants.items():
        world.node(name, want=want, waiting=want)


async def test_what_nodes_ask_for_is_in_the_ledger_and_then_granted() -> None:
    world = SimulatedCluster()
    nodes(world, a=16, b=40)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 16, "b": 40})
        assert world.cluster.counts() == {"a": 16, "b": 40}
        assert world.cluster.quota().granted == 56
    status = world.cluster.quotas.objects["vnet"]["status"]
    assert status["nodes"] == 2
    assert world.cluster.quota().entries["a"].nic == "g/a-nic"
    assert "grantReason" not in world.cluster.status("a")


async def test_a_burst_is_one_write_of_the_ledger() -> None:
    world = SimulatedCluster(limits=Limits(writes_per_minute=6000))
    nodes(world, **{f"n{index}": 8 for index in range(50)})
    async with world.agents(), world.controller():
        await world.until(lambda: all(held == 8 for held in world.held().values()))
    reserves = [call for call in world.cluster.calls if call == "quotas.write"]
    assert len(reserves) <= 4


async def test_without_a_controller_nothing_is_granted_and_what_is_held_stays() -> None:
    world = SimulatedCluster()
    nodes(world, a=16)
    async with world.agents():
        async with world.controller():
            await world.until(lambda: world.held() == {"a": 16})
        world.nodes["a"].want = 32
        await asyncio.sleep(600)
        assert world.held() == {"a": 16}
        async with world.controller():
            await world.until(lambda: world.held() == {"a": 32})


async def test_two_at_work_do_no_harm_and_all_are_served() -> None:
    world = SimulatedCluster(limits=Limits(limit=100))
    nodes(world, **{f"n{index}": 16 for index in range(8)})
    async with world.agents(), world.controller(lag_s=0.3), world.controller(lag_s=1.7):
        await world.until(lambda: sum(world.held().values()) == 100, within_s=300)
        world.nodes["n0"].want = 0
        await world.until(lambda: sum(held for name, held in world.held().items() if name != "n0") == 100)


async def test_a_node_that_wants_less_gives_back_and_others_get_it() -> None:
    world = SimulatedCluster(limits=Limits(limit=40))
    nodes(world, a=32, b=32)
    async with world.agents(), world.controller():
        await world.until(lambda: sum(world.held().values()) == 40)
        world.nodes["a"].want = 4
        await world.until(lambda: world.held() == {"a": 4, "b": 32})
        await world.until(lambda: world.cluster.counts() == {"a": 4, "b": 32})


async def test_a_raised_limit_serves_who_waited_without_anybody_asking_again() -> None:
    world = SimulatedCluster(limits=Limits(limit=20))
    nodes(world, a=16, b=16)
    async with world.agents(), world.controller():
        await world.until(lambda: sum(world.held().values()) == 20)
        quota = world.cluster.quotas.objects["vnet"]
        exhausted = next(one for one in quota["status"]["conditions"] if one["type"] == "Exhausted")
        assert exhausted["status"] == "True"
        assert "20" in exhausted["message"]
        assert "kubectl edit vnetquota vnet" in exhausted["message"]
        refused = [world.cluster.status(name).get("grantReason") for name in "ab"]
        assert "QuotaExceeded" in refused
        world.cluster.edit_quota(limit=40)
        await world.until(lambda: world.held() == {"a": 16, "b": 16}, within_s=20)
        await world.until(lambda: not any(world.cluster.status(name).get("grantReason") for name in "ab"))
        await world.until(lambda: not world.cluster.quota().holds(QuotaKind.EXHAUSTED))


async def test_one_node_gets_no_more_than_a_node_may_and_learns_so() -> None:
    world = SimulatedCluster(limits=Limits(per_node=30))
    nodes(world, a=64)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 30})
        status = world.cluster.status("a")
        assert status["grantReason"] == "NodeAtLimit"
        assert "30 of 64" in status["grantMessage"]
        assert "perNodeLimit" in status["grantMessage"]
        assert not world.cluster.quota().holds(QuotaKind.EXHAUSTED)


async def test_a_share_is_answered_at_once_though_there_is_room_for_more() -> None:
    """Found at full size: whoever was reserved a share waited for its answer until all shares were reserved."""
    world = SimulatedCluster(limits=Limits(limit=30, writes_per_minute=2))
    nodes(world, a=20, b=20)
    async with world.agents(), world.controller():
        await world.until(lambda: sorted(world.held().values()) == [0, 15], within_s=10)
        await world.until(lambda: world.held() == {"a": 15, "b": 15}, within_s=40)


async def test_a_node_that_came_after_azure_was_asked_is_soon_not_mistaken_for_somebody_else() -> None:
    """Found at full size: where many nodes come at once, each was granted less, and a minute later the rest."""
    world = SimulatedCluster(limits=Limits(limit=40))
    nodes(world, a=20, b=20)
    async with world.controller(), asyncio.TaskGroup() as agents:
        running = [agents.create_task(world.nodes["a"].run())]
        await world.until(lambda: world.held() == {"a": 20, "b": 0})
        running.append(agents.create_task(world.nodes["b"].run()))
        await world.until(lambda: world.held() == {"a": 20, "b": 20}, within_s=20)
        for task in running:
            task.cancel()


async def test_what_is_reserved_is_not_granted() -> None:
    world = SimulatedCluster(limits=Limits(limit=40, reserved=10))
    nodes(world, a=40)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 30})
        assert "10 reserved" in world.cluster.status("a")["grantMessage"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("victim", range(14))
async def test_a_controller_that_dies_at_any_call_leaves_nothing_undone(when: str, victim: int) -> None:
    """Its last call never arrives, or arrives and nobody hears the answer; then another takes over."""
    world = SimulatedCluster(limits=Limits(limit=40))
    nodes(world, a=16, b=32)
    made = 0

    def die(_: str) -> None:
        nonlocal made
        made += 1
        if made == victim + 1:
            raise KubeUnreachable("made to die")

    if when == "before":
        world.cluster.before_call = die
    else:
        world.cluster.after_call = die
    async with world.agents():
        async with AsyncExitStack() as first:
            await first.enter_async_context(world.controller())
            await world.until(lambda: made > victim or sum(world.held().values()) == 40)
        world.nodes["a"].want = 4
        async with world.controller():
            await world.until(lambda: world.held() == {"a": 4, "b": 32})
            await world.until(lambda: world.cluster.counts() == {"a": 4, "b": 32})


async def test_pools_that_change_under_its_hands_are_answered_all_the_same() -> None:
    world = SimulatedCluster()
    nodes(world, a=16)

    def disturb(what: str) -> None:
        if what == "pools.write" and world.cluster.calls.count("pools.write") < 5:
            count = world.cluster.calls.count("pools.write")
            world.cluster.pools.patch("a", {"status": {"cooling": count}})

    world.cluster.before_call = disturb
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 16}, within_s=20)
    assert ("granted", "KubernetesConflict") in world.observer.recorded


async def test_a_quota_that_somebody_deletes_is_made_again_of_what_nodes_hold() -> None:
    world = SimulatedCluster(limits=Limits(limit=60))
    nodes(world, a=16, b=32)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 16, "b": 32})
        world.cluster.quotas.delete("vnet")
        await world.until(lambda: "vnet" in world.cluster.quotas.objects)
        await world.until(lambda: world.cluster.counts() == {"a": 16, "b": 32})
        world.nodes["a"].want = 60
        await world.until(lambda: world.held() == {"a": 28, "b": 32})


async def test_nodes_that_hold_more_than_the_limit_are_covered_as_far_as_it_goes() -> None:
    world = SimulatedCluster(limits=Limits(limit=40))
    for name, held in (("a", 16), ("b", 32)):
        world.cluster.node(
            name, requested=held, number=3, allocated=held, granted=held, grantedFor=3, writeIntent="None"
        )
    async with world.controller():
        await world.until(lambda: "vnet" in world.cluster.quotas.objects)
        await world.until(lambda: world.cluster.counts() == {"a": 16, "b": 24})
        condition = world.condition("Exhausted")
        assert (condition["status"], condition["reason"]) == ("True", "HeldBeyondLimit")
        assert "nodes hold 8 more addresses than" in condition["message"]
        world.cluster.edit_quota(limit=48)
        await world.until(lambda: world.cluster.counts() == {"a": 16, "b": 32})
        await world.until(lambda: not world.cluster.quota().holds(QuotaKind.EXHAUSTED))


async def test_a_node_that_only_waits_for_a_grant_is_not_held_beyond_the_limit() -> None:
    """What it holds is not in the ledger yet, which has room for it."""
    world = SimulatedCluster()
    until = time_text(EPOCH_S + 600)
    world.cluster.node("t", requested=0, writeIntent="None", throttledUntil=until)
    async with world.controller():
        await world.until(lambda: "vnet" in world.cluster.quotas.objects and not world.cluster.quota().is_new)
        world.cluster.node("late", requested=48, writeIntent="Grow", allocated=30, waiting=10)
        await asyncio.sleep(40)
        assert "late" not in world.cluster.counts()
        assert not world.cluster.quota().holds(QuotaKind.EXHAUSTED)


async def test_addresses_that_others_use_are_not_granted() -> None:
    world = SimulatedCluster(limits=Limits(limit=60), usages_s=30)
    world.vnets.others = 24
    nodes(world, a=64)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 36})
        assert "24 used by others" in world.cluster.status("a")["grantMessage"]
        world.vnets.others = 4
        await world.until(lambda: world.held() == {"a": 56})
        assert world.cluster.quotas.objects["vnet"]["status"]["azure"]["outside"] == 4


async def test_azure_that_does_not_say_how_full_the_vnet_is_delays_nobody_and_is_reported() -> None:
    world = SimulatedCluster(usages_s=30)
    denied = "cannot read usages of VNet vnet: the identity lacks Microsoft.Network/virtualNetworks/usages/read on vnet"
    world.vnets.fail = AccessDenied(denied)
    nodes(world, a=16)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 16}, within_s=20)
        reported = world.condition("UsageKnown")
        assert (reported["status"], reported["reason"]) == ("False", "AccessDenied")
        assert reported["message"].startswith(denied)
        assert "as if nobody else used any" in reported["message"]
        world.vnets.fail, world.vnets.others = None, 5
        await world.until(lambda: world.condition("UsageKnown")["status"] == "True")
        assert world.condition("UsageKnown")["reason"] == "UsageRead"


async def test_an_old_answer_stays_good_and_what_is_reported_of_it_is_written_once() -> None:
    world = SimulatedCluster(usages_s=30)
    world.vnets.others = 7
    nodes(world, a=16)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 16})
        world.vnets.fail = CloudUnreachable("cannot read usages of VNet vnet: no answer within 20 s")
        await world.until(lambda: world.condition("UsageKnown")["reason"] == "AzureUnreachable")
        message = world.condition("UsageKnown")["message"]
        assert f"as if others used 7, as at {world.status()['azure']['readTime']}" in message
        await asyncio.sleep(60)
        writes = world.cluster.calls.count("quotas.write")
        await asyncio.sleep(1800)
        assert world.cluster.calls.count("quotas.write") == writes
        assert world.condition("UsageKnown")["message"] == message
        assert world.cluster.quota().azure


async def test_a_full_write_budget_says_that_it_is_full() -> None:
    """Five tokens beside a hundred writes a minute look like the last five."""
    world = SimulatedCluster(limits=Limits(writes_per_minute=100))
    nodes(world, a=16)
    async with world.agents(), world.controller():
        await world.until(lambda: world.held() == {"a": 16})
        budget = world.cluster.quotas.objects["vnet"]["status"]["budget"]
    assert budget["capacity"] == pytest.approx(5)
    assert budget["tokens"] <= budget["capacity"]
