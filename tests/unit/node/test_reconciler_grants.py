"""A node whose requests somebody else answers: it asks first, writes once per answer, and says why it waits."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.api.reading import LARGEST_NUMBER
from azure_cni.errors import CloudUnreachable, KubeNotFound, NoAddress, Throttled
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic, operation_failed
from fakes.simulated_node import SimulatedNode, pod_body

pytestmark = pytest.mark.looptime


def controlled(**options) -> SimulatedNode:
    return SimulatedNode(grants=ControllerGrants(), **options)


def asked(node: SimulatedNode) -> tuple[int, str]:
    return node.status.get("requested", 0), node.status.get("writeIntent", "")


def unanswered(node: SimulatedNode) -> bool:
    return node.status.get("requestID", 0) != node.status.get("grantedFor", 0)


async def answer(node: SimulatedNode, *, count: int | None = None, reason: str = "", message: str = "") -> None:
    """What a controller writes, and the watch then shows."""
    pool = await node.pools.read()
    granted = node.status["requested"] if count is None else count
    fields = {
        "granted": granted,
        "grantedFor": node.status["requestID"],
        "grantReason": reason,
        "grantMessage": message,
    }
    node.reconciler.pool_seen(await node.pools.patch_status(pool, fields, guarded=True))


async def grown(node: SimulatedNode, count: int = 16) -> None:
    await node.until(lambda: unanswered(node) and asked(node) == (count, "Grow"))
    await answer(node)
    await node.until(lambda: node.status.get("allocated") == count)


async def test_what_waits_and_what_is_free_are_counted_at_one_moment():
    """Pods that had just started were said to wait still, and the controller granted them addresses once more: found by
    the simulation of hungry nodes.
    """
    async with SimulatedNode(policy=Policy(min_free=0, max_free=24, batch=1)).running() as node:
        pods = ("a", "b", "c")
        for pod in pods:
            node.demand.observe_pod(pod_body(pod))
        node.reconciler.wake()
        await node.until(lambda: node.counts.free == len(pods))
        await asyncio.sleep(60)
        assert (node.state.waiting, node.status["waiting"]) == (0, 0)
        for pod in pods:
            await node.add(pod)
            assert node.reconciler._status_builder.build()["waiting"] == 0
            node.reconciler._status_builder.publish_forecast()
            assert node.state.waiting == 0


async def test_nothing_is_written_before_the_answer_and_all_of_it_in_one_write_after():
    async with controlled().running() as node:
        await node.until(lambda: asked(node) == (16, "Grow"))
        await asyncio.sleep(120)
        assert node.nic.writes == 0
        assert node.state.forecast.reason == "AwaitingGrant"
        await answer(node)
        await node.until(lambda: node.status["allocated"] == 16 and asked(node) == (16, "None"))
        assert node.nic.writes == 1


async def test_the_node_never_writes_what_only_a_controller_may():
    async with controlled().running() as node:
        await grown(node)
        own = [patch for patch in node.pools.patches if "requestID" in patch or "allocated" in patch]
        assert own
        assert not any("granted" in patch for patch in own)


async def test_a_changed_spec_counts_within_seconds_and_what_it_wants_is_reported_while_its_turn_is_awaited():
    async with controlled(policy=Policy()).running() as node:
        await grown(node)
        assert node.condition("Growing")["reason"] == "AtTarget"
        node.pools.edit_spec(size=200)
        node.reconciler.pool_seen(node.pools.shown())
        await asyncio.sleep(6)
        assert (asked(node), node.status["target"], node.status["observedGeneration"]) == ((200, "Grow"), 200, 2)
        await answer(node, count=16, reason="WriteBudget", message="other nodes are first")
        await asyncio.sleep(60)
        growing = node.condition("Growing")
        assert (growing["status"], growing["reason"]) == ("True", "BelowTarget")
        assert "16 of the 200 addresses wanted" in growing["message"]


async def test_a_short_answer_is_used_and_its_reason_reaches_pods_and_people():
    async with controlled().running() as node:
        await node.until(lambda: asked(node) == (16, "Grow"))
        await answer(node, count=4, reason="QuotaExceeded", message="20 of 20 addresses are granted")
        await node.until(lambda: node.status["allocated"] == 4)
        for number in range(4):
            await node.add(f"p{number}")
        await node.until(lambda: unanswered(node))
        await answer(node, count=4, reason="QuotaExceeded", message="20 of 20 addresses are granted")
        with pytest.raises(NoAddress, match="20 of 20 addresses are granted") as refused:
            await node.add("p4")
        assert refused.value.cause == "QuotaExceeded"
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True")
        assert node.nic.writes == 1


async def test_a_limit_for_each_node_is_reported_as_the_nodes_own_limit():
    why = "16 of 32 addresses granted: one node may hold 16 (spec.perNodeLimit of VNetQuota vnet)"
    async with controlled().running() as node:
        await grown(node)
        for number in range(16):
            await node.add(f"p{number}")
        await node.until(lambda: unanswered(node))
        assert node.status["requested"] == 32
        await answer(node, count=16, reason="NodeAtLimit", message=why)
        await node.until(lambda: node.condition("AtLimit")["status"] == "True")
        assert why in node.condition("AtLimit")["message"]
        assert "16 of at most 16" in node.condition("AtLimit")["message"]
        assert node.condition("Growing")["reason"] == "AtTarget"
        assert node.condition("QuotaExceeded")["status"] == "False"
        assert "AtLimit" in node.condition("QuotaExceeded")["message"]
        with pytest.raises(NoAddress, match=r"spec\.perNodeLimit") as refused:
            await node.add("p16")
        assert refused.value.cause == "NodeAtLimit"


async def test_at_a_limit_for_each_node_an_address_cools_shorter_as_at_any_other_limit():
    async with controlled().running() as node:
        await grown(node)
        for number in range(16):
            await node.add(f"p{number}")
        await node.until(lambda: unanswered(node))
        await answer(node, count=16, reason="NodeAtLimit", message="one node may hold 16")
        await node.until(lambda: node.state.at_limit)
        await node.delete("p0")
        await asyncio.sleep(COOLING_AT_LIMIT_S + 1)
        await node.add("p16")


async def test_a_pod_waits_no_longer_once_more_is_granted_for_the_same_request():
    async with controlled().running() as node:
        await node.until(lambda: asked(node) == (16, "Grow"))
        await answer(node, count=0, reason="QuotaExceeded", message="none left")
        await asyncio.sleep(60)
        await answer(node)
        await node.until(lambda: node.status["allocated"] == 16)
        assert node.condition("QuotaExceeded")["status"] == "False"


async def test_shrinking_waits_for_its_grant_too_and_the_request_falls_only_after():
    async with controlled(policy=Policy(min_free=0, max_free=16, batch=16)).running() as node:
        await grown(node)
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await grown(node, 32)
        for number in range(20):
            node.demand.forget_pod(f"uid-p{number}")
        node.reconciler.wake()
        await node.until(lambda: asked(node) == (32, "Shrink"), within_s=400)
        await asyncio.sleep(60)
        assert node.nic.writes == 2
        await answer(node)
        await node.until(lambda: asked(node) == (16, "None"))
        assert (node.nic.writes, node.status["allocated"]) == (3, 16)


async def test_each_try_after_a_failure_asks_for_a_grant_of_its_own():
    async with controlled().running() as node:
        node.nic.fail_next = Throttled("cannot change the NIC: too many requests", retry_after_s=40.0)
        await node.until(lambda: asked(node) == (16, "Grow"))
        await answer(node)
        await node.until(lambda: bool(node.status.get("throttledUntil")) and asked(node) == (16, "None"))
        number = node.status["requestID"]
        assert "tried again at" in node.state.forecast.message
        await node.until(lambda: asked(node) == (16, "Grow"))
        assert node.status["requestID"] > number
        assert node.nic.writes == 0
        await grown(node)
        await node.until(lambda: "throttledUntil" not in node.status)


async def test_growth_that_fails_after_it_was_accepted_is_tried_more_and_more_rarely():
    async with SimulatedNode().running() as node:
        for _ in range(60):
            node.nic.fail_operation = operation_failed()
            await asyncio.sleep(30)
        assert node.nic.writes < 40  # half of them clear away what failed; at 2 s each it would be hundreds


async def test_a_subnet_with_little_room_is_asked_for_less_under_another_grant():
    async with controlled(nic=FakeNic(room=5)).running() as node:
        for number in range(3):
            node.demand.observe_pod(pod_body(f"p{number}"))
        while node.status.get("allocated") != 3:
            await node.until(lambda: unanswered(node) and asked(node)[1] == "Grow", within_s=20)
            await answer(node)
            await asyncio.sleep(1)
        assert node.nic.writes == 1


async def test_an_answer_that_overtakes_the_reply_to_its_request_is_not_forgotten(monkeypatch: pytest.MonkeyPatch):
    async with controlled().running() as node:
        await grown(node)
        patch_status = node.pools.patch_status

        async def slow_reply(pool, status, *, guarded=False):
            monkeypatch.setattr(node.pools, "patch_status", patch_status)
            reply = await patch_status(pool, status, guarded=guarded)
            await answer(node)
            return reply

        monkeypatch.setattr(node.pools, "patch_status", slow_reply)
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: node.counts.allocated == 32, within_s=10)


async def test_a_lost_race_for_the_pool_is_run_again_without_losing_the_request():
    async with controlled().running() as node:
        await grown(node)
        node.pools.edit_spec(minFree=4)  # the watch has not shown it yet
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: asked(node) == (32, "Grow"), within_s=1)


async def test_an_agent_that_was_overtaken_begins_again_after_the_newer_request():
    async with controlled().running() as node:
        await grown(node)
        pool = await node.pools.patch_status(await node.pools.read(), {"requested": 64, "requestID": 50})
        node.reconciler.pool_seen(pool)
        await node.until(lambda: node.status["requestID"] > 50)
        assert node.status["requested"] >= 16


async def test_an_unknown_outcome_is_covered_until_azure_would_refuse_the_write():
    async with controlled().running() as node:
        await grown(node)
        node.nic.fail_next = CloudUnreachable("cannot change the NIC: no answer")
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: unanswered(node) and asked(node) == (32, "Grow"))
        await answer(node)
        await node.until(lambda: node.nic.fail_next is None)
        for number in range(20):
            node.demand.forget_pod(f"uid-p{number}")
        await node.until(lambda: asked(node) == (32, "Rewrite"), within_s=300)
        await answer(node)
        await node.until(lambda: asked(node) == (16, "None"))
        assert node.status["allocated"] == 16


async def test_a_pool_deleted_under_a_write_is_made_again_at_once():
    async with controlled().running() as node:
        await grown(node)
        node.pools.pool = None
        node.pools.fail_next = KubeNotFound("cannot patch nodeippools: not found")
        for number in range(20):
            node.demand.observe_pod(pod_body(f"p{number}"))
        node.reconciler.wake()
        await node.until(lambda: asked(node) == (32, "Grow"), within_s=10)


async def test_without_an_answer_for_long_the_node_says_so_and_takes_no_pods():
    async with controlled().running() as node:
        await node.until(lambda: node.state.forecast.reason == "AwaitingGrant")
        assert node.condition("Ready")["reason"] == "AwaitingGrant"
        assert node.state.can_take_a_pod
        await asyncio.sleep(60)
        assert node.state.tainted
        assert node.condition("Ready")["status"] == "False"
        assert "see whether the controller runs" in node.condition("Ready")["message"]


async def granting(node: SimulatedNode) -> None:
    """A controller that grants each request."""
    while True:
        await asyncio.sleep(0.5)
        pool = await node.pools.read()
        if pool is not None and unanswered(node):
            assert node.status["requestID"] <= LARGEST_NUMBER
            fields = {"granted": node.status["requested"], "grantedFor": node.status["requestID"]}
            node.reconciler.pool_seen(await node.pools.patch_status(pool, fields, guarded=True))


def edit(node: SimulatedNode) -> None:
    """Somebody writes the largest number there is into the pool, and wants another size."""
    node.pools._change({"status": {"requestID": LARGEST_NUMBER}})
    node.pools.edit_spec(size=40)
    node.reconciler.pool_seen(node.pools.shown())


@pytest.mark.parametrize("running", [True, False], ids=["a running agent", "the next agent"])
async def test_the_largest_number_in_a_pool_does_not_end_its_requests(*, running: bool):
    node = controlled()
    async with node.running(), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(granting(node))
        await node.until(lambda: node.counts.free == 16)
        if running:
            edit(node)
            await node.until(lambda: node.counts.free == 40, within_s=60)
        answering.cancel()
    if running:
        return
    edit(node)
    second = controlled(before=node)
    async with second.running(), asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(granting(second))
        await second.until(lambda: second.counts.free == 40, within_s=60)
        answering.cancel()
