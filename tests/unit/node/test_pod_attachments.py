"""A pod's load balancer pools and public IP address: attached to its address, and off it before another pod gets it."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import Any

import pytest

from azure_cni.errors import AccessDenied, CloudNotFound, CloudUnreachable, NoAddress, RequestRefused
from azure_cni.ipam.limits import COOLING_S
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance, AttachedResource
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder, pod_body

pytestmark = pytest.mark.looptime

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
POOLS = "azure-cni.io/load-balancer-pools"
PUBLIC_IP = "azure-cni.io/public-ip"


def resource(path: str) -> AttachedResource:
    found = AttachedResource.parse(f"{GROUP}/{path}")
    assert found is not None
    return found


WEB = resource("loadBalancers/lb/backendAddressPools/web")
WEB2 = resource("loadBalancers/lb/backendAddressPools/web2")
OTHERS = resource("loadBalancers/lb/backendAddressPools/others")
ADDRESS = resource("publicIPAddresses/shop")
ALLOWED = (Allowance(frozenset({"default"}), frozenset({WEB, WEB2, ADDRESS})),)
NONE: frozenset[AttachedResource] = frozenset()


def node(**options: Any) -> SimulatedNode:
    options.setdefault("attachable", ALLOWED)
    options.setdefault("policy", Policy(min_free=2, max_free=8, batch=4))
    built = SimulatedNode(**options)
    built.demand.replace([])
    return built


def show(on: SimulatedNode, name: str, *, ip: str = "10.0.0.1", ending: bool = False, **annotations: str) -> None:
    """The watch shows the pod."""
    written = {POOLS: annotations.get("pools", ""), PUBLIC_IP: annotations.get("public_ip", "")}
    gone = {"deletionTimestamp": "2026-11-28T12:00:00Z"} if ending else {}
    on.demand.observe_pod(pod_body(name, phase="Running", ip=ip, annotations=written, **gone))
    on.reconciler.wake()


async def started(on: SimulatedNode, name: str, **annotations: str) -> IPv4Address:
    """A pod that runs, and that the watch has shown."""
    show(on, name, ip="", **annotations)
    await on.until(lambda: on.counts.free > 0)
    address = (await on.add(name)).addresses[0]
    show(on, name, **annotations)
    return address


async def ended(on: SimulatedNode, name: str, **annotations: str) -> None:
    show(on, name, ending=True, **annotations)
    await on.delete(name)
    on.demand.forget_pod(f"uid-{name}")
    on.reconciler.wake()


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
        await one.until(lambda: one.counts.free == 1)
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


async def test_what_others_attached_stays_and_no_pod_gets_such_an_address() -> None:
    async with node(policy=Policy(size=4)).running() as one:
        await one.until(lambda: one.counts.free == 4)
        config = one.stored.ledger.slots[0].config
        one.nic.elsewhere_put(config, OTHERS)
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: any(config in line for line in one.status.get("excluded", [])))
        assert "is in the load balancer pool lb/others" in one.status["excluded"][0]
        await asyncio.sleep(600.0)
        assert one.nic.resources[config] == {OTHERS}


async def test_the_request_covers_what_others_use_and_the_pool_grows_beside_it() -> None:
    """Else a controller that counts what the node added would refuse the address in its place."""
    one = node(grants=ControllerGrants(), policy=Policy(size=4))
    async with one.running(), asyncio.TaskGroup() as tasks:
        answers = tasks.create_task(answering(one))
        await one.until(lambda: one.counts.free == 4)
        one.nic.elsewhere_put(one.stored.ledger.slots[0].config, OTHERS)
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: bool(one.status.get("excluded")) and one.counts.free == 4)
        await one.until(lambda: (one.status["requested"], one.status["granted"], one.status["target"]) == (5, 5, 4))
        before, writes = one.status["requestID"], one.nic.writes
        await asyncio.sleep(600.0)
        assert (one.status["requestID"], one.nic.writes) == (before, writes)
        answers.cancel()


async def test_of_what_a_hand_attached_only_what_is_managed_is_removed() -> None:
    async with node(policy=Policy(size=2)).running() as one:
        await one.until(lambda: one.counts.free == 2)
        first, second = (slot.config for slot in one.stored.ledger.slots)
        one.nic.elsewhere_put(first, OTHERS, WEB)
        one.nic.elsewhere_put(second, WEB)
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: one.nic.resources == {first: {OTHERS}})


REFUSALS = {
    "missing": RequestRefused(
        f"cannot change NIC vm1-nic: Azure refuses it (InvalidResourceReference): Resource {WEB2.id} referenced by "
        "resource /x was not found.",
        azure_code="InvalidResourceReference",
    ),
    "gone": CloudNotFound(f"cannot change NIC vm1-nic: Azure does not find it: {WEB2.id.lower()} was not found"),
    "denied": AccessDenied(
        "cannot change NIC vm1-nic: the agent's identity lacks an action",
        action="Microsoft.Network/loadBalancers/backendAddressPools/join/action",
        scope=WEB2.id,
        azure_code="LinkedAuthorizationFailed",
    ),
    "unnamed": RequestRefused("cannot change NIC vm1-nic: Azure refuses it (BadThing): no.", azure_code="BadThing"),
}


@pytest.mark.parametrize("why", sorted(REFUSALS))
async def test_one_bad_resource_blocks_neither_other_pods_nor_the_pool(why: str) -> None:
    async with node().running() as one:
        one.nic.refused_resources[WEB2.id] = REFUSALS[why]
        good = await started(one, "good", pools=WEB.id)
        bad = await started(one, "bad", pools=f"{WEB.id},{WEB2.id}")
        await one.until(lambda: one.nic.attached_to(good) == one.nic.attached_to(bad) == {WEB}, within_s=60.0)
        for number in range(6):
            await started(one, f"plain-{number}")
        tries = one.nic.tries
        await asyncio.sleep(600.0)
        assert one.nic.tries - tries < 12  # it is tried again with growing pauses
        del one.nic.refused_resources[WEB2.id]
        await one.until(lambda: one.nic.attached_to(bad) == {WEB, WEB2}, within_s=1800.0)


def takes_away_the_right_to_join(on: SimulatedNode, resource: AttachedResource) -> None:
    action = "Microsoft.Network/loadBalancers/backendAddressPools/join/action"
    on.nic.refused_resources[resource.id] = AccessDenied(
        f"cannot change NIC vm1-nic: the agent's identity lacks {action} on {resource.id}",
        action=action,
        scope=resource.id,
        azure_code="LinkedAuthorizationFailed",
    )


async def started_all(on: SimulatedNode) -> None:
    """Until no address is free."""
    for number in range(on.counts.free):
        await started(on, f"plain-{number}")


async def test_a_right_lost_after_something_was_attached_costs_growth_and_no_traffic() -> None:
    async with node(policy=Policy(min_free=2, max_free=8, batch=2)).running() as one:
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB} and one.counts.free >= 2)
        takes_away_the_right_to_join(one, WEB)
        await started_all(one)
        late = holder("late")
        show(one, "late", ip="", pools=WEB2.id)
        await one.until(lambda: one.condition("PermissionMissing")["status"] == "True")
        said = one.condition("PermissionMissing")["message"]
        assert "no write of the NIC succeeds" in said
        assert "the node gets no more addresses" in said
        assert f'az role assignment create --assignee OBJECT-ID --role "azure-cni agent" --scope {WEB.id}' in said
        assert "podNetworking.allowed detaches it" in said
        assert said.count("lacks") == 1
        tries = one.nic.tries
        await asyncio.sleep(1800.0)
        assert one.nic.attached_to(web) == {WEB}
        assert one.nic.tries - tries < 12
        one.nic.refused_resources.clear()
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: one.counts.free >= 1)
        assert (await one.sandboxes.add(late)).addresses
        await one.until(lambda: one.condition("PermissionMissing")["status"] == "False")


@pytest.mark.parametrize("wanted", [WEB, WEB2], ids=["the same", "another"])
async def test_what_others_ask_for_meanwhile_is_not_blamed(wanted: AttachedResource) -> None:
    async with node(policy=Policy(size=2)).running() as one:
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
        takes_away_the_right_to_join(one, WEB)
        second = await started(one, "second", pools=wanted.id)
        words = "Azure refuses every write of the node's NIC"
        await one.until(lambda: any(words in event.message for event in one.events.published), within_s=60.0)
        one.nic.refused_resources.clear()
        await one.until(lambda: one.nic.attached_to(second) == {wanted}, within_s=1800.0)


async def test_when_its_last_pod_ends_the_pool_grows_at_once() -> None:
    async with node(policy=Policy(min_free=2, max_free=8, batch=2)).running() as one:
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB} and one.counts.free >= 2)
        takes_away_the_right_to_join(one, WEB)
        await started_all(one)
        await asyncio.sleep(1200.0)  # by now it is tried seldom
        assert one.counts.free == 0
        show(one, "web", pools=WEB.id, ending=True)
        await one.until(lambda: one.counts.free >= 1, within_s=60.0)
        assert one.nic.attached_to(web) == NONE


async def test_what_the_values_list_no_more_is_detached_and_the_pool_grows() -> None:
    one = node(policy=Policy(min_free=2, max_free=8, batch=2))
    async with one.running():
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB} and one.counts.free >= 2)
        takes_away_the_right_to_join(one, WEB)
        await started_all(one)
        await one.until(lambda: one.condition("PermissionMissing")["status"] == "True")
    unlisted = (Allowance(frozenset({"default"}), frozenset({WEB2})),)
    after = node(before=one, attachable=unlisted, policy=Policy(min_free=2, max_free=8, batch=2))
    async with after.running():
        show(after, "web", pools=WEB.id)
        await after.until(lambda: after.counts.free >= 2)
        assert after.nic.attached_to(web) == NONE
        await after.until(lambda: after.condition("PermissionMissing")["status"] == "False")


async def test_a_missing_right_to_write_is_not_blamed_on_a_resource() -> None:
    async with node().running() as one:
        web = await started(one, "web")
        one.nic.fail_next = AccessDenied("cannot change the NIC", action="Microsoft.Network/networkInterfaces/write")
        show(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB}, within_s=600.0)


async def test_a_silent_azure_is_tried_again() -> None:
    async with node().running() as one:
        web = await started(one, "web")
        one.nic.fail_next = CloudUnreachable("cannot change the NIC: no answer")
        show(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB}, within_s=600.0)


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


async def test_an_address_that_others_made_gets_nothing() -> None:
    async with node(nic=FakeNic(adopted=["10.240.0.9"]), policy=Policy(size=1)).running() as one:
        assert await started(one, "web", pools=WEB.id) == IPv4Address("10.240.0.9")
        await asyncio.sleep(120.0)
        assert one.nic.resources == {}


async def answering(on: SimulatedNode, *, most: int = 250, delay_s: float = 1.0) -> None:
    """A controller that grants up to `most`, and says why it is not more."""
    while True:
        await asyncio.sleep(delay_s)
        status = on.status
        if status.get("requestID", 0) == status.get("grantedFor", 0):
            continue
        count = min(status["requested"], most)
        short = count < status["requested"]
        fields = {
            "granted": count,
            "grantedFor": status["requestID"],
            "grantReason": "QuotaExceeded" if short else None,
        }
        on.reconciler.pool_seen(await on.pools.patch_status(on.pools.shown(), fields))


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
