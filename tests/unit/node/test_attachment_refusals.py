"""Resources that Azure does not let the node attach, or no more: what that costs other pods, traffic and growth."""

from __future__ import annotations

import asyncio

import pytest

from azure_cni.errors import AccessDenied, CloudNotFound, CloudUnreachable, RequestRefused
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance, AttachedResource
from fakes.simulated_node import SimulatedNode, holder
from unit.node.attaching import NONE, WEB, WEB2, node, show, started

pytestmark = pytest.mark.looptime

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
