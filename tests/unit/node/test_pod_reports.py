"""What a pod's owner reads of its load balancer pools and public IP address: a condition, and events."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from azure_cni.errors import AccessDenied, CloudError, KubeDenied, KubeError, KubeUnreachable, RequestRefused
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import NicView
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode
from unit.node.attaching import ADDRESS, NONE, OTHERS, POOLS, PUBLIC_IP, WEB, WEB2, node
from unit.node.gated_pods import problems, said, show

pytestmark = pytest.mark.looptime

JOIN = "Microsoft.Network/loadBalancers/backendAddressPools/join/action"


async def test_a_gated_pod_becomes_ready_when_the_nic_shows_what_it_asks_for() -> None:
    async with node().running() as one:
        show(one, "web", ip="", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (False, "AttachmentPending"))
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        one.nic.hold()
        show(one, "web", **{POOLS: WEB.id})
        await asyncio.sleep(30.0)
        assert said(one) == (False, "AttachmentPending")
        one.nic.finish()
        await one.until(lambda: said(one) == (True, "Attached"))
        assert one.pod_conditions.written["web"].message == "load balancer pool lb/web attached"
        assert problems(one) == {}
        await one.until(lambda: one.status["lastWrite"]["reason"] == "a change in what 1 pod may have attached")


async def test_a_condition_that_the_pod_has_is_not_written_again() -> None:
    async with node().running() as one:
        show(one, "web", ip="", **{POOLS: WEB.id})
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (True, "Attached"))
        writes = one.pod_conditions.writes
        for _ in range(5):
            show(one, "web", **{POOLS: WEB.id})
            await asyncio.sleep(60.0)
        assert one.pod_conditions.writes == writes


async def test_a_pod_without_the_gate_gets_no_condition() -> None:
    async with node().running() as one:
        show(one, "web", ip="", gated=False, **{POOLS: WEB.id})
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        show(one, "web", gated=False, **{POOLS: WEB.id})
        await one.until(lambda: {WEB} in one.nic.resources.values())
        await asyncio.sleep(5.0)
        assert one.pod_conditions.writes == 0


async def test_a_gate_without_an_annotation_says_so() -> None:
    async with node().running() as one:
        show(one, "web")
        await one.until(lambda: said(one) == (False, "AttachmentNotAsked"))
        words = one.pod_conditions.written["web"].message
        assert "so it never becomes ready: remove the gate, or name what it shall have" in words
        await one.until(lambda: problems(one) == {"AttachmentNotAsked": words})


async def test_where_nothing_is_allowed_a_gate_alone_is_an_event_too() -> None:
    async with SimulatedNode().running() as one:
        show(one, "web")
        await one.until(lambda: "AttachmentNotAsked" in problems(one))
        assert one.pod_conditions.tries == 0


async def test_while_the_pool_is_paused_it_says_so_and_how_to_end_it() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        one.pools.edit_spec(paused=True)
        one.reconciler.pool_seen(one.pools.shown())
        await one.add("web")
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (False, "PoolPaused"))
        assert one.pod_conditions.written["web"].message == (
            "load balancer pool lb/web not attached yet: the pool of the node is paused; end it: azure-cni resume vm1"
        )
        one.pools.edit_spec(paused=None)
        one.reconciler.pool_seen(one.pools.shown())
        await one.until(lambda: said(one) == (True, "Attached"))


@pytest.mark.parametrize(
    ("annotation", "value", "reason", "words"),
    [
        (POOLS, "web", "AttachmentInvalid", "azure-cni.io/load-balancer-pools has 'web', which is not the resource ID"),
        (
            POOLS,
            OTHERS.id,
            "AttachmentNotAllowed",
            "namespace default may not use the load balancer pool lb/others: an administrator can allow it, by ",
        ),
        (PUBLIC_IP, WEB.id, "AttachmentInvalid", "which is not the resource ID of a public IP address"),
    ],
)
async def test_what_cannot_be_used_is_said_on_the_pod_which_runs(
    annotation: str, value: str, reason: str, words: str
) -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        show(one, "web", **{annotation: value})
        await one.until(lambda: said(one) == (False, reason))
        assert words in problems(one)[reason]


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (
            RequestRefused(f"Resource {WEB2.id} was not found.", azure_code="InvalidResourceReference"),
            "AttachmentNotFound",
            "Azure does not find the load balancer pool lb/web2",
        ),
        (
            AccessDenied("secret identity lacks it", action=JOIN, scope=WEB2.id, azure_code="Linked"),
            "AttachmentDenied",
            f"the identity that writes the NIC lacks {JOIN} on the load balancer pool lb/web2",
        ),
        (
            RequestRefused(f"the secret NIC and {WEB2.id} do not fit", azure_code="DifferentSku"),
            "AttachmentRefused",
            "Azure refuses to attach the load balancer pool lb/web2 (DifferentSku)",
        ),
    ],
    ids=["missing", "denied", "refused"],
)
async def test_what_azure_refuses_is_said_on_the_pod_without_azures_words(
    error: CloudError, reason: str, words: str
) -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        one.nic.refused_resources[WEB2.id] = error
        await one.add("web")
        show(one, "web", **{POOLS: f"{WEB.id},{WEB2.id}"})
        await one.until(lambda: said(one) == (False, reason))
        assert words in problems(one)[reason]
        assert "secret" not in problems(one)[reason]
        await one.until(lambda: {WEB} in one.nic.resources.values())


async def test_an_event_of_a_problem_that_lasts_is_published_rarely() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        for _ in range(20):
            show(one, "web", **{POOLS: "web"})
            await asyncio.sleep(60.0)
        (event,) = [it for it in one.events.published if it.regarding["kind"] == "Pod"]
        assert event.count in {2, 3}


async def test_an_address_that_others_made_is_named() -> None:
    async with node(nic=FakeNic(adopted=["10.240.0.9"]), policy=Policy(size=1)).running() as one:
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (False, "AttachmentImpossible"))
        assert "others made the ipConfiguration of 10.240.0.9" in problems(one)["AttachmentImpossible"]


async def test_an_address_of_a_block_is_named() -> None:
    """The first one of it, by which the NIC shows the block, and another."""
    async with node(policy=Policy(blocks=28)).running() as one:
        await one.until(lambda: one.counts.free > 1)
        addresses = {name: (await one.add(name)).addresses[0] for name in ("web", "second")}
        for name in addresses:
            show(one, name, **{POOLS: WEB.id})
        await one.until(lambda: len(one.pod_conditions.written) == len(addresses))
        await asyncio.sleep(10.0)
        assert [said(one, name) for name in addresses] == [(False, "AttachmentImpossible")] * 2
        words = {one.pod_conditions.written[name].message.partition(",")[0] for name in addresses}
        assert words == {f"{address} is in a block of 16 addresses" for address in addresses.values()}


class InstanceNic(FakeNic):
    """The NIC of an instance of a Uniform scale set, as far as attachments go."""

    def _view(self) -> NicView:
        view = super()._view()
        return replace(view, configs=tuple(replace(config, attachable=False) for config in view.configs))


async def test_on_an_instance_of_a_uniform_scale_set_a_pod_is_told_and_the_pool_grows() -> None:
    async with node(nic=InstanceNic()).running() as one:
        await one.until(lambda: one.counts.free > 0)
        before = one.counts.free
        await one.add("web")
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (False, "AttachmentImpossible"))
        assert "is an instance of a Uniform scale set" in problems(one)["AttachmentImpossible"]
        for number in range(before):
            await one.add(f"other-{number}")
        await one.until(lambda: one.counts.free > 0)
        assert not any(one.nic.resources.values())


async def test_a_public_address_that_another_pod_has_is_named() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 1)
        for name in ("web", "second"):
            await one.add(name)
            show(one, name, **{PUBLIC_IP: ADDRESS.id})
            await asyncio.sleep(5.0)
        await one.until(lambda: said(one) == (True, "Attached"))
        await one.until(lambda: said(one, "second") == (False, "AttachmentInUse"))


async def test_where_nobody_writes_the_nic_a_pod_is_told() -> None:
    async with node(nic=FakeNic(adopted=["10.240.0.9"]), nic_read_only=True).running() as one:
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (False, "AttachmentImpossible"))
        assert one.nic.tries == 0


async def test_an_api_server_that_is_away_is_tried_again() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        one.pod_conditions.fail_next = KubeUnreachable("cannot patch: no answer")
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (True, "Attached"))


async def test_a_condition_ends_when_somebody_takes_the_pool_away() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        address = (await one.add("web")).addresses[0]
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (True, "Attached"))
        (config,) = one.nic.resources
        one.nic.elsewhere_put(config)
        one.nic.hold()
        one.pools.annotate(**{"azure-cni.io/read-now": "1"})
        one.reconciler.pool_seen(one.pools.shown())
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (False, "AttachmentPending"))
        one.nic.finish()
        await one.until(lambda: one.nic.attached_to(address) != NONE)


async def test_a_missing_permission_is_in_the_pools_condition_with_its_cost() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        one.nic.refused_resources[WEB2.id] = AccessDenied(
            f"cannot change the NIC: it lacks {JOIN} on {WEB2.id}", action=JOIN, scope=WEB2.id, azure_code="Linked"
        )
        await one.add("web")
        show(one, "web", **{POOLS: WEB2.id})
        await one.until(lambda: one.condition("PermissionMissing")["status"] == "True")
        words = one.condition("PermissionMissing")["message"]
        assert JOIN in words
        assert "is free; pods do not get what they ask to have attached by annotation; az role assignment" in words
        one.demand.forget_pod("uid-web")
        one.reconciler.wake()
        await one.until(lambda: one.condition("PermissionMissing")["status"] == "False")


async def test_what_the_controllers_values_do_not_list_is_no_missing_permission() -> None:
    async with node().running() as one:
        await one.until(lambda: one.counts.free > 0)
        one.nic.refused_resources[WEB2.id] = AccessDenied("podNetworking.allowed does not list it", scope=WEB2.id)
        await one.add("web")
        show(one, "web", **{POOLS: WEB2.id})
        await one.until(lambda: said(one) == (False, "AttachmentNotAllowed"))
        assert one.condition("PermissionMissing")["status"] == "False"


@pytest.mark.parametrize("error", [KubeDenied, KubeUnreachable])
async def test_a_pod_whose_condition_is_refused_holds_up_no_other(error: type[KubeError]) -> None:
    """A policy of somebody else's may refuse any change of one pod."""
    async with node().running() as one:
        one.pod_conditions.refused["first"] = error("cannot patch pod first: admission webhook x denied it")
        for name in ("first", "web"):
            show(one, name, ip="", **{POOLS: WEB.id})
            await one.until(lambda: one.counts.free > 0)
            await one.add(name)
            show(one, name, **{POOLS: WEB.id})
        await one.until(lambda: said(one) == (True, "Attached"))
        assert said(one, "first") == (False, "")
        show(one, "web", **{POOLS: WEB.id})
        tries = one.pod_conditions.tries
        await asyncio.sleep(600.0)
        assert one.pod_conditions.tries - tries <= 61


async def test_an_annotation_that_changes_without_end_costs_two_conditions_a_second() -> None:
    async with node().running() as one:
        show(one, "web")
        await one.until(lambda: said(one) == (False, "AttachmentNotAsked"))
        writes = one.pod_conditions.writes
        for turn in range(500):
            show(one, "web", **{POOLS: OTHERS.id if turn % 2 else ""})
            await asyncio.sleep(0.0217)
        assert one.pod_conditions.writes - writes <= 2 * 500 * 0.0217 + 1


async def test_what_azure_still_works_on_is_not_attached_yet_for_the_next_agent() -> None:
    """A NIC that is being updated shows what it shall have. What was attached before stays so meanwhile."""
    one = node()
    async with one.running():
        await one.until(lambda: one.counts.free > 0)
        await one.add("web")
        one.nic.hold()
        show(one, "web", **{POOLS: WEB.id})
        await one.until(lambda: {WEB} in one.nic.resources.values())
    after = node(before=one)
    async with after.running():
        show(after, "web", **{POOLS: WEB.id})
        await asyncio.sleep(60.0)
        assert said(after) != (True, "Attached")
        after.nic.finish()
        await after.until(lambda: said(after) == (True, "Attached"))
        show(after, "web", **{POOLS: WEB.id})
        after.nic.hold()
        show(after, "other", ip="10.0.0.9", gated=False, **{POOLS: WEB2.id})
        await after.add("other")
        await asyncio.sleep(60.0)
        assert said(after) == (True, "Attached")
