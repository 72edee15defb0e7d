"""A node starves while others hold idle addresses: these come back, once, and nobody passes a limit by it."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.api.node_ip_pool import parse
from azure_cni.cluster.usage_reader import AFTER_NEWS_S, WHEN_FULL_S
from azure_cni.ipam.sizing import Policy
from azure_cni.quota.recall_tracker import REST_S
from fakes.simulated_node import pod_body
from unit.cluster.real_nodes import RealNodes

pytestmark = pytest.mark.looptime

ROOMY = Policy(min_free=8, batch=8, max_free=24)
"""Each node has 8 to 15 idle addresses at rest."""


async def full(cluster: RealNodes) -> None:
    """Every node holds its reserve, and nothing is left."""
    await cluster.until(lambda: sum(cluster.held().values()) == cluster.world.settings.defaults.limit)


async def test_pods_that_wait_get_what_others_hold_idle_until_all_is_in_use() -> None:
    cluster = RealNodes("a", "b", "c", limit=24, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(a=22)
        # A node without pods keeps one.
        assert cluster.held() == {"a": 22, "b": 1, "c": 1}
        assert cluster.nodes["b"].nic.writes <= 4


async def test_no_step_of_a_recall_waits_for_a_timer_of_the_controller() -> None:
    """Two writes of a NIC, of 0.05 s here, and what nodes and controller write about them."""
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        await asyncio.sleep(20)
        await cluster.run_pods(a=10, within_s=4)


async def test_what_looked_like_others_use_while_nics_were_written_is_found_out_soon_afterwards() -> None:
    """At full size 16 of 16,000 addresses were granted to nobody for a quarter of an hour, and the last 16 pods waited
    for the next count, with nothing under way.
    """
    cluster = RealNodes("a", "b", "c", limit=24, policy=ROOMY)
    vnets, held = cluster.world.vnets, cluster.nodes["c"].nic
    vnets.others = 3
    async with cluster.running():
        await cluster.until(lambda: sum(cluster.held().values()) == 21)
        held.hold()
        pods = await cluster.start_pods("a", 18)  # all that a and b can have meanwhile, and c is to give
        await cluster.until(lambda: cluster.status("c").get("writeIntent") == "Shrink")
        vnets.others = 0
        await asyncio.sleep(WHEN_FULL_S + 30)  # a count that says so, and could be of what c gives
        assert cluster.world.cluster.quota().grantable < 24
        held.finish()
        await asyncio.sleep(2)
        began_s = asyncio.get_running_loop().time()
        await cluster.until(lambda: cluster.world.cluster.quota().grantable == 24)
        assert asyncio.get_running_loop().time() - began_s < 2 * AFTER_NEWS_S + 2
        await cluster.until(lambda: all(pod.done() for pod in pods))


async def test_both_sides_say_what_is_under_way() -> None:
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    cluster.nodes["b"].nic.hold()
    async with cluster.running():
        cluster.nodes["b"].nic.finish()
        await full(cluster)
        cluster.nodes["b"].nic.hold()
        await cluster.start_pods("a", 10)
        await cluster.until(lambda: cluster.status("a").get("recalling") == 2)
        assert cluster.status("a")["grantReason"] == "QuotaExceeded"
        assert "2 idle addresses are taken back from other nodes" in cluster.status("a")["grantMessage"]
        await cluster.until(lambda: "2 idle addresses are taken" in cluster.nodes["a"].state.forecast.message)
        assert cluster.status("b")["recall"]["hold"] == 6
        await cluster.until(lambda: cluster.nodes["b"].condition("Growing")["reason"] == "IdleRecalled")
        await cluster.until(lambda: "taken back from 1 node" in cluster.world.condition("Exhausted")["message"])
        cluster.nodes["b"].nic.finish()
        await cluster.until(lambda: cluster.held() == {"a": 10, "b": 6})
        await cluster.until(lambda: "recalling" not in cluster.status("a"))
        assert "taken back" not in cluster.status("a").get("grantMessage", "")
        await cluster.until(lambda: any(e.reason == "IdleRecalled" for e in cluster.nodes["b"].events.published))


async def test_pods_that_cannot_start_keep_what_they_will_need_and_nobody_is_asked_for_it() -> None:
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        for number in range(5):
            cluster.nodes["b"].demand.observe_pod(pod_body(f"stuck-{number}"))
        await cluster.until(lambda: cluster.status("b")["releasable"] == 3)
        wishes = []
        cluster.world.cluster.pools.watchers.append(lambda _, after: wishes.append(parse(after).recall))
        await cluster.start_pods("a", 20)
        await asyncio.sleep(1800)
        assert cluster.held() == {"a": 11, "b": 5}
        assert len({wish for wish in wishes if wish is not None}) == 1


async def test_a_node_in_a_full_subnet_gives_back_what_it_was_granted_and_cannot_have() -> None:
    cluster = RealNodes("a", "b", limit=32, policy=Policy(min_free=16, batch=8, max_free=32))
    cluster.nodes["b"].nic.room = 10
    async with cluster.running():
        await cluster.until(lambda: cluster.held()["a"] == 16 and cluster.status("b").get("granted") == 16)
        await cluster.run_pods(a=30, within_s=1800)
        assert cluster.held()["a"] == 30


async def test_a_node_that_azure_asked_to_wait_keeps_nothing_from_pods_of_others() -> None:
    """Neither the room that its own pods could have, nor afterwards the reserve of a node that gave."""
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    slowed = {"requested": 1, "number": 1, "waiting": 1, "throttledUntil": "2028-01-01T00:00:00Z"}
    async with cluster.running():
        await full(cluster)
        cluster.nodes["slowed"] = cluster._node("slowed")
        cluster.world.cluster.node("slowed", **slowed)
        await cluster.run_pods(a=10, within_s=60)
        await cluster.until(lambda: "recall" not in cluster.status("b"), within_s=2 * REST_S)


async def test_nobodys_reserve_is_filled_from_the_reserves_of_others() -> None:
    cluster = RealNodes("a", "b", "c", limit=24, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        await cluster.start_pods("a", 9)
        await cluster.until(lambda: cluster.held()["a"] == 9)
        writes = {name: node.nic.writes for name, node in cluster.nodes.items()}
        await asyncio.sleep(2 * REST_S + 60)
        assert sum(cluster.held().values()) == 24
        assert cluster.held()["a"] == 9
        assert {name: node.nic.writes for name, node in cluster.nodes.items()} == writes


async def test_who_gave_takes_for_its_own_pods_at_once_and_its_reserve_only_after_a_rest() -> None:
    cluster = RealNodes("a", "b", "c", limit=24, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(a=12)
        given = next(name for name in "bc" if cluster.held()[name] < 8)
        await cluster.run_pods(**{given: 9})
        assert cluster.held()[given] == 9
        assert sum(cluster.held().values()) == 24
        cluster.world.cluster.pools.patch("a", {"spec": {"max": 12}})  # else its reserve takes all that is new
        await cluster.until(lambda: cluster.status("a")["requested"] == 12)
        cluster.world.cluster.edit_quota(limit=34)  # room for a reserve, and near the limit all the same
        await asyncio.sleep(REST_S / 2)
        assert cluster.held()[given] == 9
        await cluster.until(lambda: cluster.held()[given] > 9, within_s=2 * REST_S)
        assert "recall" not in cluster.status(given)


async def test_who_gave_has_its_reserve_again_as_soon_as_the_quota_has_plenty() -> None:
    cluster = RealNodes("a", "b", "c", limit=24, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(a=12)
        given = next(name for name in "bc" if cluster.held()[name] < 8)
        cluster.world.cluster.edit_quota(limit=200)
        await cluster.until(lambda: cluster.held()[given] >= 8, within_s=REST_S / 2)
        assert "recall" not in cluster.status(given)


async def test_a_full_node_that_gave_takes_no_pods_until_there_is_room() -> None:
    """It is granted all that it asks for, and that is no more than its pods have."""
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(b=3, a=13)
        giver = cluster.nodes["b"]
        await cluster.until(lambda: not giver.state.can_take_a_pod)
        assert cluster.status("b")["recall"]
        assert giver.state.at_limit
        await cluster.until(lambda: giver.condition("Ready")["reason"] == "QuotaExceeded")
        assert giver.condition("QuotaExceeded")["status"] == "True"
        cluster.world.cluster.pools.patch("a", {"spec": {"max": 13}})  # else its reserve takes all that is new
        cluster.world.cluster.edit_quota(limit=17)
        await cluster.until(lambda: cluster.status("b")["granted"] == 3 and "grantReason" not in cluster.status("b"))


async def test_a_quota_is_exhausted_while_nodes_do_without_spare_addresses_and_nothing_is_left() -> None:
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(b=3, a=13)
        for number in range(3):
            await cluster.nodes["a"].delete(f"a-{number}")
            cluster.nodes["a"].demand.forget_pod(f"uid-a-{number}")
        await asyncio.sleep(140)
        await cluster.run_pods(b=3)
        await asyncio.sleep(60)
        assert all(cluster.status(name)["recall"] for name in "ab")
        assert cluster.world.condition("Exhausted")["status"] == "True"
        assert "2 nodes do without spare addresses" in cluster.world.condition("Exhausted")["message"]
        assert cluster.world.condition("Ready")["status"] == "False"
        assert not any(cluster.nodes[name].state.can_take_a_pod for name in "ab")


async def test_a_paused_pool_is_left_alone_and_others_are_asked() -> None:
    cluster = RealNodes("a", "b", "c", limit=32, policy=ROOMY)
    async with cluster.running():
        await cluster.start_pods("c", 1)
        await full(cluster)
        paused = cluster.nodes["c"]
        paused.pools.pause()  # type: ignore[attr-defined]
        paused.reconciler.pool_seen(paused.pools.shown())
        await cluster.until(lambda: cluster.status("c")["releasable"] == 0)
        held = cluster.held()["c"]
        await cluster.run_pods(a=12)
        assert (cluster.held()["c"], cluster.status("c").get("recall")) == (held, None)


async def test_a_node_that_does_not_obey_keeps_nobody_waiting_for_long() -> None:
    """It claims to be the richest, and gives nothing."""
    cluster = RealNodes("a", "b", limit=60, policy=ROOMY)
    liar = {"requested": 44, "number": 1, "allocated": 44, "free": 44, "releasable": 44, "writeIntent": "None"}
    async with cluster.running():
        cluster.nodes["liar"] = cluster._node("liar")
        cluster.world.cluster.node("liar", **liar)
        await cluster.until(lambda: cluster.held() | {"liar": 0} == {"a": 8, "b": 8, "liar": 0})
        await cluster.run_pods(a=10, within_s=60)
        assert cluster.held()["a"] == 10


async def test_nothing_is_recalled_while_azure_asks_all_to_wait() -> None:
    cluster = RealNodes("a", "b", limit=16, policy=ROOMY)
    async with cluster.running():
        await full(cluster)
        cluster.world.cluster.quotas.patch("vnet", {"status": {"throttledUntil": "2030-01-01T00:00:00Z"}})
        await cluster.start_pods("a", 10)
        await asyncio.sleep(30)
        assert "recall" not in cluster.status("b")
