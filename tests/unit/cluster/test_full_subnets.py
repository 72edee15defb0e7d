"""A subnet is full while the quota has room: nodes in it give idle addresses back for pods that wait on others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.ipam.sizing import Policy
from azure_cni.quota.recall_tracker import MOST_IN_VAIN, REST_S, TRIES_S
from unit.cluster.real_nodes import RealNodes, Subnet

pytestmark = pytest.mark.looptime

ROOMY = Policy(min_free=8, batch=8, max_free=24)
"""Each node has 8 to 15 idle addresses at rest."""


def crowded(*names: str, room: int, late_s: float = 0.0) -> RealNodes:
    """Nodes with far more quota than their subnet has addresses."""
    return RealNodes(*names, limit=1000, policy=ROOMY, subnet=Subnet(room, late_s=late_s))


async def full(cluster: RealNodes) -> None:
    """Nothing is left in the subnet."""
    assert cluster.subnet is not None
    await cluster.until(lambda: cluster.subnet is not None and cluster.subnet.room == 0)


async def test_pods_that_wait_get_what_others_of_the_subnet_hold_idle_until_all_is_in_use() -> None:
    cluster = crowded("a", "b", "c", room=24)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(a=22)
        assert cluster.held() == {"a": 22, "b": 1, "c": 1}
        assert cluster.nodes["b"].nic.writes <= 4


async def test_who_waits_tries_at_once_when_others_have_given() -> None:
    """Not after its pause of up to two minutes, to which it has grown while nothing was idle anywhere."""
    cluster = crowded("a", "b", room=16)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(b=8, a=8)
        (pod,) = await cluster.start_pods("a", 1)
        await asyncio.sleep(900)
        assert not pod.done()
        giver, tries = cluster.nodes["b"], cluster.nodes["a"].nic.tries
        await giver.delete("b-0")
        giver.demand.forget_pod("uid-b-0")
        await cluster.until(lambda: cluster.held()["b"] == 7)
        await cluster.until(pod.done, within_s=5)
        assert cluster.held() == {"a": 9, "b": 7}
        assert cluster.nodes["a"].nic.tries - tries <= 4


async def test_both_sides_and_the_quota_say_what_is_under_way() -> None:
    cluster = crowded("a", "b", room=16)
    cluster.world.settings = replace(cluster.world.settings, usages_s=5.0)
    async with cluster.running():
        await full(cluster)
        await cluster.until(lambda: cluster.world.condition("SubnetFull")["status"] == "True")
        (use,) = cluster.world.status()["subnets"]
        assert (use["name"], use["used"], use["limit"]) == ("nodes", 18, 18)
        (told,) = [event for event in cluster.world.events.published if event.reason == "SubnetFull"]
        assert (told.kind, told.regarding["kind"], told.count) == ("Warning", "VNetQuota", 1)
        assert "no address is left in subnet nodes (18 of 18 addresses)" in told.message
        said = Said(cluster)
        cluster.nodes["b"].nic.hold()
        await cluster.start_pods("a", 10)
        await cluster.until(lambda: "2 idle addresses are taken" in cluster.nodes["a"].state.forecast.message)
        assert cluster.nodes["a"].state.forecast.reason == "SubnetFull"
        assert cluster.status("b")["recall"]["hold"] == 6
        await cluster.until(lambda: cluster.nodes["b"].condition("Growing")["reason"] == "IdleRecalled")
        cluster.nodes["b"].nic.finish()
        await cluster.until(lambda: cluster.held() == {"a": 10, "b": 6})
        await cluster.until(lambda: "recalling" not in cluster.status("a"))
        assert any("2 idle addresses are taken back for pods that wait" in one for one in said.of_the_subnet)
        assert not any(cluster.world.condition(kind)["status"] == "True" for kind in ("Exhausted", "Throttled"))
        assert ("recalled", "2") in cluster.world.observer.recorded
        await cluster.until(lambda: any(e.reason == "IdleRecalled" for e in cluster.nodes["b"].events.published))


class Said:
    """What the quota said of its subnets."""

    def __init__(self, cluster: RealNodes) -> None:
        self.of_the_subnet: list[str] = []
        cluster.world.cluster.quotas.watchers.append(self._see)

    def _see(self, _: object, after: dict[str, Any] | None) -> None:
        conditions = ((after or {}).get("status") or {}).get("conditions", [])
        self.of_the_subnet += [one["message"] for one in conditions if one["type"] == "SubnetFull"]


async def test_an_azure_that_counts_what_left_for_minutes_empties_nobodys_pool() -> None:
    """A released address was seen to count as used for some eight minutes."""
    cluster = crowded("a", "b", "c", room=24, late_s=480.0)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(within_s=1200, a=10)
        await asyncio.sleep(600)
        assert cluster.held()["a"] >= 10
        recalled = [int(count) for kind, count in cluster.world.observer.recorded if kind == "recalled"]
        assert 2 <= sum(recalled) <= 2 * (MOST_IN_VAIN + 1)  # one more when it has got something


async def test_nobodys_reserve_is_filled_from_the_reserves_of_others() -> None:
    cluster = crowded("a", "b", "c", room=24)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(a=9)
        writes = {name: node.nic.writes for name, node in cluster.nodes.items()}
        await asyncio.sleep(2 * REST_S)
        assert cluster.held()["a"] == 9
        assert {name: node.nic.writes for name, node in cluster.nodes.items()} == writes


async def test_who_gave_has_its_reserve_again_once_the_subnet_has_room() -> None:
    cluster = crowded("a", "b", "c", room=24)
    async with cluster.running():
        await full(cluster)
        await cluster.run_pods(a=12)
        given = next(name for name in "bc" if cluster.held()[name] < 8)
        assert cluster.status(given)["recall"]
        assert cluster.subnet is not None
        cluster.subnet.free(100)
        cluster.world.vnets.room += 100
        await cluster.until(lambda: "recall" not in cluster.status(given), within_s=REST_S + 60)
        await cluster.until(lambda: cluster.held()[given] >= 8)


async def test_a_node_that_is_gone_takes_what_it_was_owed_once_and_keeps_nobody_waiting() -> None:
    cluster = crowded("a", "b", "c", room=24)
    gone = {"requested": 10, "granted": 10, "number": 1, "grantedFor": 1, "waiting": 3, "writeIntent": "None"}
    async with cluster.running():
        await full(cluster)
        cluster.nodes["gone"] = cluster._node("gone")
        cluster.world.cluster.node("gone", subnetRefusedTime="2026-11-29T10:00:00Z", **gone)
        await cluster.until(lambda: sum(cluster.held().values()) <= 21)
        await asyncio.sleep(TRIES_S - 60)
        assert sum(cluster.held().values()) == 21
        # Nobody is kept from a reserve for ever: what was not fetched goes back to those who gave it.
        await cluster.until(lambda: sum(cluster.held().values()) == 24, within_s=REST_S + 300)
        writes = {name: node.nic.writes for name, node in cluster.nodes.items()}
        await asyncio.sleep(1800)
        assert {name: node.nic.writes for name, node in cluster.nodes.items()} == writes
        await cluster.run_pods(a=16)
