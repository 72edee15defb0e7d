"""Nodes that write whatever they may into their own pools: what all share is steered by none of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from azure_cni.api.conditions import QuotaKind
from azure_cni.api.vnet_quota import Limits, nic_label
from azure_cni.errors import AccessDenied, KubeInvalid, Throttled
from azure_cni.model.text import time_text
from azure_cni.quota.admission import MOST_LOOKS
from azure_cni.quota.throttling import TRIAL_S, quorum
from azure_cni.quota.write_budget import MOST_ANSWERS
from fakes.clocks import EPOCH_S
from fakes.cluster import NICS, VNET
from unit.cluster.worlds import Node, SimulatedCluster

pytestmark = pytest.mark.looptime

Status = Callable[[int], dict[str, Any]]
"""What a liar writes at its n-th turn."""


@asynccontextmanager
async def lying(world: SimulatedCluster, *names: str, status: Status, every_s: float = 0.2) -> AsyncIterator[None]:
    """These nodes write that, again and again, each under a new number unless they say otherwise."""

    async def lie(name: str) -> None:
        turn = 0
        while True:
            turn += 1
            with suppress(KubeInvalid):
                world.cluster.node(name, **{"number": turn, **status(turn)})
            await asyncio.sleep(every_s)

    tasks = [asyncio.create_task(lie(name)) for name in names]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answers_of(world: SimulatedCluster, name: str) -> list[float]:
    """When that node's requests were recorded in the ledger."""
    moments: list[float] = []

    def note(before: Any, after: Any) -> None:
        def number(body: Any) -> int:
            return ((body or {}).get("status") or {}).get("grants", {}).get(name, {}).get("requestID", 0)

        if number(after) != number(before):
            moments.append(asyncio.get_running_loop().time())

    world.cluster.quotas.watchers.append(note)
    return moments


def most_in_a_minute(moments: list[float]) -> int:
    return max((sum(1 for other in moments if at <= other < at + 60) for at in moments), default=0)


async def served_in_s(world: SimulatedCluster) -> float:
    """How long the honest nodes take to what they want."""
    started = asyncio.get_running_loop().time()
    await world.until(lambda: all(node.on_nic == node.want for node in world.nodes.values()), within_s=3600)
    return asyncio.get_running_loop().time() - started


@pytest.mark.parametrize("liars", [(), ("x", "y")], ids=["without", "with"])
async def test_who_says_that_a_hundred_pods_wait_does_not_take_the_write_budget(liars: tuple[str, ...]) -> None:
    world = SimulatedCluster(limits=Limits(writes_per_minute=60))
    for index in range(120):
        world.node(f"n{index}", want=8)
    moments = answers_of(world, "x")
    starving = {"requested": 250, "waiting": 100, "writeIntent": "Rewrite"}
    async with lying(world, *liars, status=lambda _: starving), world.agents(), world.controller():
        assert await served_in_s(world) < 1.2 * 120 * 60 / 57
    assert most_in_a_minute(moments) <= MOST_ANSWERS


async def test_who_asks_again_and_again_gets_a_bounded_number_of_answers() -> None:
    """Each is a write of the ledger and of the pool."""
    world = SimulatedCluster()
    moments = answers_of(world, "x")
    asking = {"requested": 16, "writeIntent": "None", "waiting": 1}
    async with lying(world, "x", status=lambda _: asking), world.controller():
        await asyncio.sleep(300)
        assert len(moments) > 3 * MOST_ANSWERS
    assert most_in_a_minute(moments) <= MOST_ANSWERS


async def test_a_node_at_its_bound_learns_so_and_is_served_after() -> None:
    world = SimulatedCluster()
    world.cluster.node("x", requested=8, number=1)
    async with world.controller():
        for number in range(1, MOST_ANSWERS + 2):
            world.cluster.node("x", requested=8, number=number, writeIntent="Rewrite", waiting=1)
            world.cluster.node(f"n{number % 10}", number=number, writeIntent="None")  # others begin the rounds
            await asyncio.sleep(1)
        assert world.cluster.granted_of("x")[1] == MOST_ANSWERS
        await world.until(lambda: world.cluster.status("x").get("grantReason") == "WriteBudget", within_s=10)
        assert f"one node gets {MOST_ANSWERS} answers a minute" in world.cluster.status("x")["grantMessage"]
        rounds = len([reported for reported in world.observer.recorded if reported[0] == "round"])
        await world.until(lambda: world.cluster.granted_of("x")[1] == MOST_ANSWERS + 1, within_s=60)
        assert len([reported for reported in world.observer.recorded if reported[0] == "round"]) - rounds < 30


@pytest.mark.parametrize("said", [256, 2_000_000_000])
async def test_who_says_that_it_holds_what_others_use_lets_nobody_pass_the_limit(said: int) -> None:
    world = SimulatedCluster(limits=Limits(limit=200), usages_s=20)
    world.vnets.others = 150
    node, liar = world.node("n", want=8, waiting=100), "x"
    world.nics[nic_label(f"{NICS}/{liar}-nic")] = 0  # it has an address of its own
    lies = {"requested": 0, "writeIntent": "None", "allocated": said}
    async with world.agents(), world.controller():
        await world.until(lambda: node.on_nic == 8)
        node.want = 100
        async with lying(world, liar, status=lambda _: lies, every_s=5):
            await asyncio.sleep(120)
        in_use = node.on_nic + 150
        assert in_use <= 200, f"{in_use} addresses in a VNet that allows 200"
        assert node.on_nic > 40


def throttle(*, again_s: int) -> Status:
    """It says that Azure asked it to wait, each time for longer."""
    begun_s = asyncio.get_running_loop().time()

    def status(_: int) -> dict[str, Any]:
        ahead_s = asyncio.get_running_loop().time() - begun_s + again_s
        return {"number": 1, "requested": 0, "writeIntent": "None", "throttledUntil": time_text(EPOCH_S + ahead_s)}

    return status


async def test_two_of_forty_who_say_that_azure_asks_to_wait_stop_only_themselves() -> None:
    world = SimulatedCluster()
    for index in range(38):
        world.node(f"n{index}", want=8, waiting=8)
    async with lying(world, "x", "y", status=throttle(again_s=1200), every_s=60), world.agents(), world.controller():
        assert await served_in_s(world) < 60
        assert not world.cluster.quota().holds(QuotaKind.THROTTLED)
        world.cluster.node("x", requested=8, number=2, writeIntent="Grow", waiting=8,
                           throttledUntil=time_text(EPOCH_S + 1800))  # fmt: skip
        await world.until(lambda: world.cluster.status("x").get("grantReason") == "Throttled", within_s=20)
        assert world.cluster.granted_of("x")[1] < 2
        assert "asked this node's agent to wait" in world.cluster.status("x")["grantMessage"]


async def test_more_liars_than_a_quorum_stop_the_others_for_little_more_than_a_minute_in_half_an_hour() -> None:
    world = SimulatedCluster()
    liars = [f"x{index}" for index in range(quorum(40))]
    nodes = [world.node(f"n{index}", want=8, waiting=8) for index in range(40 - len(liars))]
    async with lying(world, *liars, status=throttle(again_s=1200), every_s=60), world.controller():
        await world.until(lambda: "vnet" in world.cluster.quotas.objects, within_s=30)
        await world.until(lambda: world.cluster.quota().holds(QuotaKind.THROTTLED), within_s=30)
        async with world.agents():
            assert await served_in_s(world) < TRIAL_S + 60
            for want in (16, 24, 32):
                await asyncio.sleep(300)
                for node in nodes:
                    node.want = want
                assert await served_in_s(world) < 60


async def test_a_storm_that_is_one_stops_all_and_is_tried_once_a_minute() -> None:
    world = SimulatedCluster()
    nodes = [world.node(f"n{index}", want=8, waiting=8) for index in range(40)]
    stormy = True
    refused: list[float] = []

    async def write(node: Node, goal: int) -> bool:
        if stormy:
            refused.append(asyncio.get_running_loop().time())
            node.throttled_until = time_text(EPOCH_S + asyncio.get_running_loop().time() + 600)
        return not stormy

    for node in nodes:
        node.before_write = write
    async with world.agents(), world.controller():
        await world.until(lambda: len(refused) >= quorum(40), within_s=60)
        await asyncio.sleep(20)
        assert world.cluster.quota().holds(QuotaKind.THROTTLED)
        at_once = len(refused)
        await asyncio.sleep(300)
        assert 3 <= len(refused) - at_once <= 6
        assert sum(world.held().values()) == 0
        stormy = False
        for node in nodes:
            node.throttled_until = None
            node.report()
        assert await served_in_s(world) < 120
        assert not world.cluster.quota().holds(QuotaKind.THROTTLED)


async def test_what_one_node_says_stops_all_while_azure_asks_the_controller_to_wait_too() -> None:
    world = SimulatedCluster(usages_s=10)
    world.node("n", want=8, waiting=8)
    world.node("m", want=0)
    world.node("o", want=0)
    world.vnets.fail = Throttled("cannot read usages: too many requests", retry_after_s=90.0)
    async with lying(world, "x", status=throttle(again_s=1200), every_s=600), world.controller():
        await asyncio.sleep(5)
        async with world.agents():
            await asyncio.sleep(30)
            assert world.cluster.quota().holds(QuotaKind.THROTTLED)
            assert world.held()["n"] == 0
            world.vnets.fail = None
            await world.until(lambda: world.held()["n"] == 8, within_s=180)


def entries_of(world: SimulatedCluster, name: str) -> dict[str, int]:
    return {key: count for key, count in world.cluster.counts().items() if key.split("~")[0] == name}


@pytest.mark.parametrize("exist", [True, False], ids=["that_exist", "that_do_not"])
async def test_who_names_another_nic_each_time_is_granted_no_more_than_one_node(exist: bool) -> None:  # noqa: FBT001
    world = SimulatedCluster(limits=Limits(limit=300), reclaim_s=60)
    world.vnets.ours = {f"stolen-{index}": 0 for index in range(1, 4000)} if exist else {}
    world.node("n", want=40, waiting=40)
    held: list[dict[str, int]] = []

    def status(turn: int) -> dict[str, Any]:
        return {"requested": 250, "waiting": 100, "nic": f"stolen-{turn}", "writeIntent": "Grow"}

    async with world.controller():
        async with lying(world, "x", status=status), world.agents():
            world.cluster.quotas.watchers.append(lambda *_: held.append(entries_of(world, "x")))
            assert await served_in_s(world) < 30
            await asyncio.sleep(600)
            reason = world.cluster.status("x").get("grantReason")
        assert max(sum(entries.values()) for entries in held) <= 250
        assert max(len(entries) for entries in held) <= 3
        assert len(held) < 200
        assert reason == "NicChanged"
        world.cluster.pools.delete("x")
        world.vnets.ours = {"n-nic": 40}
        await world.until(lambda: entries_of(world, "x") == {}, within_s=300)


async def test_who_holds_nothing_leaves_no_entries_behind() -> None:
    world = SimulatedCluster()
    world.vnets.ours = {f"stolen-{index}": 0 for index in range(1, 4000)}
    async with world.controller():
        nothing = {"requested": 0, "writeIntent": "None"}
        async with lying(world, "x", status=lambda turn: {**nothing, "nic": f"stolen-{turn}"}):
            await asyncio.sleep(600)
        assert entries_of(world, "x") == {"x": 0}
        world.vnets.ours = {}
        world.cluster.pools.delete("x")
        await world.until(lambda: entries_of(world, "x") == {}, within_s=400)


async def test_a_node_with_two_former_nics_learns_which_they_are() -> None:
    world = SimulatedCluster(reclaim_s=60)
    world.vnets.ours = {f"nic{index}": 8 for index in range(4)}
    async with world.controller():
        for index in range(4):
            world.cluster.node("x", requested=8, number=index + 1, nic=f"nic{index}", waiting=8)
            await asyncio.sleep(70)
        assert entries_of(world, "x") == {"x~nic0": 8, "x~nic1": 8, "x": 8}
        message = world.cluster.status("x")["grantMessage"]
        assert "nic3: the node had 2 other NICs before" in message
        assert "nic0" in message and "nic1" in message  # noqa: PT018


async def test_who_invents_vnets_makes_no_quotas_and_no_questions_without_end() -> None:
    world = SimulatedCluster()
    world.vnets.vnets = {VNET}
    for index in range(3):
        world.node(f"n{index}", want=8, waiting=8)
    async with world.controller() as leader:
        async with lying(world, "x", status=lambda turn: {"requested": 8, "vnetID": f"{VNET}{turn}"}), world.agents():
            assert await served_in_s(world) < 30
            tasks, asked = len(asyncio.all_tasks()), world.vnets.asked.count("usages")
            await asyncio.sleep(600)
            assert list(world.cluster.quotas.objects) == ["vnet"]
            assert len(leader.quotas) == 1
            assert len(asyncio.all_tasks()) <= tasks + 1
            assert world.vnets.asked.count("usages") - asked <= 10 * (MOST_LOOKS + 1)
        world.cluster.node("x", requested=8, number=10_000, vnetID=f"{VNET}-not-there")
        await world.until(lambda: world.cluster.status("x").get("grantReason") == "VNetUnconfirmed", within_s=120)
        assert "not found" in world.cluster.status("x")["grantMessage"]


async def test_invented_vnets_get_no_quota_without_permission_to_read_usages() -> None:
    world = SimulatedCluster()
    world.vnets.fail = AccessDenied("cannot read usages: the identity lacks the permission")
    for index in range(3):
        world.node(f"n{index}", want=8, waiting=8)
    inventing = lying(world, "x", status=lambda turn: {"requested": 8, "vnetID": f"{VNET}{turn}"})
    async with world.controller(), inventing, world.agents():
        assert await served_in_s(world) < 30
        await asyncio.sleep(300)
        assert list(world.cluster.quotas.objects) == ["vnet"]
