"""A pod's load balancer pools and public IP address: attached to its address, and off it before another pod gets it."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.errors import NoAddress
from azure_cni.ipam.limits import COOLING_S
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.simulated_node import SimulatedNode, pod_body
from unit.node.attaching import ADDRESS, NONE, WEB, WEB2, answering, ended, node, show, started

pytestmark = pytest.mark.looptime


async def test_a_pod_gets_what_it_asks_for_and_only_its_address_has_it() -> None:
    async with node().running() as one:
        plain = await started(one, "plain")
        web = await started(one, "web", pools=f"{WEB.id.upper()},{WEB2.id}", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB, WEB2, ADDRESS})
        assert {held.id for held in one.nic.attached_to(web)} == {WEB.id, WEB2.id, ADDRESS.id}
        assert one.nic.attached_to(plain) == NONE
        assert one.status["vnetAttachments"] == sorted([WEB.id, WEB2.id, ADDRESS.id], key=str.lower)


async def test_many_pods_are_one_write() -> None:
    async with node(policy=Policy(min_free=20, max_free=40, batch=20)).running() as one:
        await one.until(lambda: one.counts.free >= 20)
        writes = one.nic.writes
        for number in range(20):
            await one.add(f"web-{number}")
            show(one, f"web-{number}", pools=WEB.id)
        await one.until(lambda: sum(held == {WEB} for held in one.nic.resources.values()) == 20)
        assert one.nic.writes - writes <= 2


async def test_a_growth_carries_attachments() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free >= 2)
        writes = one.nic.writes
        for number in range(3):
            await one.add(f"web-{number}")
        one.nic.hold()
        for number in range(3):
            show(one, f"web-{number}", pools=WEB.id)
        await one.until(lambda: one.nic.writes > writes)
        one.nic.finish()
        await one.until(lambda: len(one.nic.resources) == 3 and one.counts.free >= 2)
        assert one.nic.writes - writes == 1


async def test_what_is_not_allowed_to_the_namespace_is_not_attached() -> None:
    elsewhere = (Allowance(frozenset({"shop"}), frozenset({WEB})),)
    async with node(attachable=elsewhere).running() as one:
        await started(one, "web", pools=WEB.id)
        await asyncio.sleep(60.0)
        assert one.nic.resources == {}


async def test_it_is_undone_when_the_pod_begins_to_end_and_before_the_address_is_free() -> None:
    async with node().running() as one:
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
        show(one, "web", pools=WEB.id, ending=True)
        await one.until(lambda: one.nic.attached_to(web) == NONE)
        assert any(slot.address == web and slot.holder for slot in one.stored.ledger.slots)


async def test_an_address_is_not_free_while_something_is_attached_to_it() -> None:
    """Azure is away when the pod ends: its address cools, and goes on cooling."""
    async with node(policy=Policy(size=1)).running() as one:
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
        refusing = one.nic.refused_resources
        one.nic.hold()
        await ended(one, "web", pools=WEB.id)
        await asyncio.sleep(2 * COOLING_S)
        show(one, "next", ip="")
        with pytest.raises(NoAddress):
            await one.add("next")
        assert one.counts.free == 0
        one.nic.finish()
        await one.until(lambda: one.counts.free == 1, within_s=2 * COOLING_S)
        assert one.nic.attached_to(web) == NONE
        assert refusing == {}


@pytest.mark.parametrize("rebooted", [False, True])
async def test_the_next_agent_undoes_what_the_one_before_it_attached(*, rebooted: bool) -> None:
    one = node(policy=Policy(size=1))
    async with one.running():
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
        await one.until(lambda: one.status.get("vnetAttachments") == [WEB.id])
    if not rebooted:
        await ended(one, "web", pools=WEB.id)  # with nobody there to see to it
    after = node(before=one, rebooted=rebooted, policy=Policy(size=1), attachable=(Allowance(frozenset(), NONE),))
    assert after.counts.free == 0
    async with after.running():
        await after.until(lambda: after.counts.free == 1, within_s=2 * COOLING_S)
        assert after.nic.attached_to(web) == NONE


async def test_an_agent_that_has_not_seen_all_pods_leaves_what_is_attached() -> None:
    one = node()
    async with one.running():
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
    after = SimulatedNode(before=one, policy=Policy(min_free=2, max_free=8, batch=4))
    async with after.running():
        after.demand.observe_pod(pod_body("other", phase="Running", ip="10.0.0.9"))
        after.reconciler.wake()
        await asyncio.sleep(120.0)
        assert after.nic.attached_to(web) == {WEB}
        after.demand.begin_list()
        after.demand.replace([])
        after.reconciler.wake()
        await after.until(lambda: after.nic.attached_to(web) == NONE)


async def test_a_write_that_may_still_come_keeps_the_address_from_other_pods() -> None:
    """The agent dies while Azure attaches; the pod ends before the next agent has read the NIC."""
    one = node(policy=Policy(size=1))
    async with one.running():
        web = await started(one, "web")
        await one.until(lambda: one.counts.assigned == 1)
        one.nic.hold()
        show(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
    await ended(one, "web")
    one.nic.elsewhere_put(next(iter(one.nic.resources)))  # a read that does not show it yet
    after = node(before=one, policy=Policy(size=1))
    async with after.running():
        await asyncio.sleep(2 * COOLING_S)
        assert after.counts.free == 0
        after.nic.finish()
        await after.until(lambda: after.counts.free == 1, within_s=2 * COOLING_S)
        assert after.nic.attached_to(web) == NONE


async def test_a_public_address_goes_to_the_first_pod_that_asks_and_then_to_the_second() -> None:
    async with node().running() as one:
        first = await started(one, "first", public_ip=ADDRESS.id)
        await asyncio.sleep(5.0)
        second = await started(one, "second", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(first) == {ADDRESS})
        await asyncio.sleep(60.0)
        assert one.nic.attached_to(second) == NONE
        await ended(one, "first", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(second) == {ADDRESS})
        assert one.nic.attached_to(first) == NONE


async def test_a_pod_that_asks_later_takes_no_public_address_from_one_that_has_it() -> None:
    """Whichever of them is older."""
    async with node().running() as one:
        older = await started(one, "older")
        await asyncio.sleep(5.0)
        younger = await started(one, "younger", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(younger) == {ADDRESS})
        show(one, "older", public_ip=ADDRESS.id)
        await asyncio.sleep(60.0)
        assert one.nic.attached_to(younger) == {ADDRESS}
        await ended(one, "younger", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(older) == {ADDRESS})


async def test_an_annotation_that_is_taken_away_is_undone() -> None:
    async with node().running() as one:
        web = await started(one, "web", pools=f"{WEB.id},{WEB2.id}")
        await one.until(lambda: one.nic.attached_to(web) == {WEB, WEB2})
        show(one, "web", pools=WEB2.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB2})


@pytest.mark.parametrize("most", [250, 4], ids=["granted", "short of quota"])
async def test_a_controller_grants_each_write_and_neither_growth_nor_attachments_starve(most: int) -> None:
    """Also while more addresses are wanted than the quota has: the two do not displace each other's requests."""
    one = node(grants=ControllerGrants(), policy=Policy(min_free=2, max_free=8, batch=4))
    async with one.running(), asyncio.TaskGroup() as tasks:
        answers = tasks.create_task(answering(one, most=most))
        await one.until(lambda: one.counts.free >= 2)
        for number in range(3):
            await one.add(f"web-{number}")
            show(one, f"web-{number}", pools=WEB.id)
        await one.until(lambda: len(one.nic.resources) == 3)
        if most > 4:
            await one.until(lambda: one.counts.free >= 2)
        before, writes = one.status["requestID"], one.nic.writes
        await asyncio.sleep(600.0)
        assert one.status["requestID"] - before <= 2
        assert one.nic.writes - writes <= 1
        answers.cancel()
