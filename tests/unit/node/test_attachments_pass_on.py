"""What becomes of attachments where pods share, outlive or leave an address: no pod pays for another one's wish."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.errors import NoAddress, RequestRefused
from azure_cni.ipam.address_state import Sandbox
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from azure_cni.ipam.sizing import Policy
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, holder
from unit.node.attaching import ADDRESS, NONE, WEB, ended, node, show, started

pytestmark = pytest.mark.looptime

ADOPTED = IPv4Address("10.240.0.9")


async def test_an_address_cools_from_when_its_pool_stopped_sending_to_it() -> None:
    """Until then the load balancer sent clients there, whose attempts last as long as any other's."""
    async with node(policy=Policy(size=1)).running() as one:
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
        one.nic.hold()
        await ended(one, "web", pools=WEB.id)
        await asyncio.sleep(2 * COOLING_S)
        one.nic.finish()
        await one.until(lambda: one.nic.attached_to(web) == NONE and not one.stored.ledger.slots[0].attached)
        await asyncio.sleep(COOLING_S - 20.0)
        assert one.counts.free == 0
        await one.until(lambda: one.counts.free == 1, within_s=40.0)


async def test_a_node_at_its_limit_shortens_that_time_and_does_not_skip_it() -> None:
    async with node(policy=Policy(min_free=0, max_free=1, batch=1, maximum=1)).running() as one:
        web = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(web) == {WEB})
        one.nic.hold()
        await ended(one, "web", pools=WEB.id)
        await asyncio.sleep(2 * COOLING_S)
        one.nic.finish()
        await one.until(lambda: not one.stored.ledger.slots[0].attached)
        off_s = one.clock.boottime_s()
        show(one, "next", ip="")
        for _ in range(int(COOLING_S)):  # as the kubelet tries
            if (wired := await _add_or_none(one, "next")) is not None:
                break
            await asyncio.sleep(1.0)
        assert wired == web
        assert COOLING_AT_LIMIT_S <= one.clock.boottime_s() - off_s < COOLING_S


async def _add_or_none(on: SimulatedNode, name: str) -> IPv4Address | None:
    try:
        return (await on.add(name)).addresses[0]
    except NoAddress:
        return None


async def test_a_pod_that_can_never_have_a_public_address_keeps_it_from_no_other() -> None:
    """Its own address was made by others, so nothing is attached there."""
    async with node(nic=FakeNic(adopted=[str(ADOPTED)]), policy=Policy(size=1)).running() as one:
        first = await started(one, "first", public_ip=ADDRESS.id)
        assert first == ADOPTED
        one.pools.edit_spec(size=3)
        one.reconciler.pool_seen(one.pools.shown())
        second = await started(one, "second", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(second) == {ADDRESS})
        assert one.nic.attached_to(first) == NONE
        await one.until(lambda: "AttachmentImpossible" in reasons(one, "first"))
        assert reasons(one, "first") | reasons(one, "second") == {"AttachmentImpossible"}


def reasons(on: SimulatedNode, name: str) -> set[str]:
    """Of the events of a pod."""
    return {it.reason for it in on.events.published if it.regarding.get("uid") == f"uid-{name}"}


async def test_a_pod_whose_address_is_lost_keeps_a_public_address_from_no_other() -> None:
    async with node(policy=Policy(size=3)).running() as one:
        first = await started(one, "first", public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(first) == {ADDRESS})
        await asyncio.sleep(5.0)
        second = await started(one, "second", public_ip=ADDRESS.id)
        config = next(slot.config for slot in one.stored.ledger.slots if slot.address == first)
        one.nic.elsewhere_give(config)
        await one.until(lambda: one.nic.attached_to(second) == {ADDRESS}, within_s=900.0)


async def test_of_a_pod_with_two_interfaces_its_first_address_has_it() -> None:
    """By which Kubernetes and its clients know it: the second is of a further network (Multus)."""
    async with node(policy=Policy(size=3)).running() as one:
        await one.until(lambda: one.counts.free == 3)
        first = (await one.add("web")).addresses[0]
        await asyncio.sleep(1.0)
        further = replace(holder("web"), sandbox=Sandbox("further", "container-web", "net1"))
        second = (await one.sandboxes.add(further)).addresses[0]
        show(one, "web", ip=str(first), pools=WEB.id, public_ip=ADDRESS.id)
        await one.until(lambda: one.nic.attached_to(first) == {WEB, ADDRESS})
        assert one.nic.attached_to(second) == NONE


async def test_of_a_pod_with_a_newer_sandbox_the_first_address_of_that_one_has_it() -> None:
    async with node(policy=Policy(size=4)).running() as one:
        old = await started(one, "web", pools=WEB.id)
        await one.until(lambda: one.nic.attached_to(old) == {WEB})
        newer = replace(
            holder("web"), sandbox=Sandbox("azure-cni", "container-web-again", "eth0"), netns="/run/netns/n"
        )
        further = replace(newer, sandbox=Sandbox("further", "container-web-again", "net1"))
        await asyncio.sleep(1.0)
        new = (await one.sandboxes.add(newer)).addresses[0]
        await asyncio.sleep(1.0)
        await one.sandboxes.add(further)
        one.reconciler.wake()
        await one.until(lambda: one.nic.attached_to(new) == {WEB} and one.nic.attached_to(old) == NONE)


async def test_what_is_impossible_is_not_tried_again_because_azure_refuses_it_to_another_pod() -> None:
    async with node(nic=FakeNic(adopted=[str(ADOPTED)]), policy=Policy(size=1)).running() as one:
        await started(one, "first", pools=WEB.id)
        one.nic.refused_resources[WEB.id] = RequestRefused("cannot write", azure_code="InvalidResourceReference")
        one.pools.edit_spec(size=2)
        one.reconciler.pool_seen(one.pools.shown())
        await started(one, "second", pools=WEB.id)
        await one.until(lambda: reasons(one, "second") == {"AttachmentNotFound"})
        await asyncio.sleep(30.0)
        report = await one.reconciler.inspector.describe(node="vm1")
    assert {each.pod: (each.reason, bool(each.retry_at)) for each in report.attachments} == {
        "first": ("AttachmentImpossible", False),
        "second": ("AttachmentNotFound", True),
    }
