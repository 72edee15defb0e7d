"""A node's application security groups, by its NodeIPPool: set in one write, and never in the way of pods."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from azure_cni.errors import AccessDenied
from azure_cni.ipam.sizing import Policy
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode
from unit.node.attaching import answering

pytestmark = pytest.mark.looptime

GROUPS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups"
WEB, DB = f"{GROUPS}/web", f"{GROUPS}/db"
SMALL = Policy(min_free=4, max_free=8, batch=4)


def want(node: SimulatedNode, groups: Any) -> None:
    """A person edits the spec."""
    node.pools.edit_spec(applicationSecurityGroups=groups)
    node.node.pool_seen(node.pools.shown())


async def groups_of(node: SimulatedNode) -> tuple[str, ...]:
    return (await node.nic.read()).security_groups


async def test_the_nic_is_put_into_them_in_one_write_and_stays_in_them() -> None:
    async with SimulatedNode(policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        writes = node.nic.writes
        want(node, [WEB, DB, WEB.upper()])
        await node.until(lambda: node.nic.writes == writes + 1)
        assert await groups_of(node) == (WEB.upper(), DB)
        await asyncio.sleep(700)  # also past the next read of the NIC
        assert node.nic.writes == writes + 1
        said = [event.message for event in node.events.published if event.reason == "NicRewritten"]
        why = "the application security groups that the pool's spec wants: WEB, db"
        assert said == [f"wrote the NIC once more ({why}); 4 on the NIC"]


async def test_left_out_they_are_as_somebody_made_them_and_empty_they_are_none() -> None:
    nic = FakeNic(groups=(WEB,))
    async with SimulatedNode(nic=nic, policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        want(node, None)
        await asyncio.sleep(100)
        assert (nic.writes, await groups_of(node)) == (1, (WEB,))
        want(node, [])
        await node.until(lambda: nic.writes == 2)
        assert await groups_of(node) == ()


async def test_what_another_tool_changed_is_changed_back() -> None:
    async with SimulatedNode(policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        want(node, [WEB])
        await node.until(lambda: node.nic.writes == 2)
        node.nic.elsewhere_regroup(())
        await node.until(lambda: node.nic.writes == 3, within_s=700)
        assert await groups_of(node) == (WEB,)


async def test_a_group_that_is_not_there_is_said_and_keeps_no_pod_waiting() -> None:
    nic = FakeNic()
    nic.no_such_groups = {WEB}
    async with SimulatedNode(nic=nic, policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        want(node, [WEB])
        await node.until(lambda: node.condition("Ready")["reason"] == "RequestRefused")
        ready = node.condition("Ready")
        assert ready["status"] == "True"
        assert "InvalidResourceReference" in ready["message"]
        assert "this must be changed first" in ready["message"]
        for number in range(6):
            await node.add(f"p{number}")  # the pool grows, and nobody waits
        tries = nic.tries
        await asyncio.sleep(120)
        assert nic.tries - tries <= 7  # with growing pauses
        want(node, [DB])
        await node.until(lambda: node.condition("Ready")["reason"] == "PodsCanStart")
        assert await groups_of(node) == (DB,)


async def test_a_pool_shrinks_while_the_groups_are_refused() -> None:
    nic = FakeNic()
    nic.no_such_groups = {WEB}
    async with SimulatedNode(nic=nic, policy=SMALL, shrink_delay_s=10.0).running() as node:
        await node.until(lambda: node.counts.free == 4)
        for number in range(8):
            await node.add(f"p{number}")
        want(node, [WEB])
        await node.until(lambda: node.condition("Ready")["reason"] == "RequestRefused")
        held = node.counts.allocated
        for number in range(8):
            await node.delete(f"p{number}")
        await node.until(lambda: node.counts.allocated < held, within_s=400)


async def test_a_permission_that_lacks_is_named_with_its_cost() -> None:
    action = "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action"
    async with SimulatedNode(policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        node.nic.fail_next = AccessDenied(f"cannot write NIC: the identity lacks {action} on {WEB}", action=action)
        want(node, [WEB])
        await node.until(lambda: node.condition("PermissionMissing")["status"] == "True")
        said = node.condition("PermissionMissing")["message"]
        assert action in said
        assert "the NIC stays in the application security groups that it is in" in said


async def test_a_node_whose_subnet_is_full_is_put_into_them_while_pods_wait() -> None:
    async with SimulatedNode(nic=FakeNic(room=4), policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        waits = [asyncio.create_task(node.add(f"p{number}")) for number in range(8)]
        await node.until(lambda: node.condition("SubnetFull")["status"] == "True")
        want(node, [WEB])
        await node.until(lambda: node.nic.writes == 2, within_s=60)
        assert await groups_of(node) == (WEB,)
        assert node.condition("SubnetFull")["status"] == "True"
        node.nic.room = 100
        await node.until(lambda: node.counts.allocated == 8, within_s=300)
        await asyncio.gather(*waits, return_exceptions=True)


@pytest.mark.parametrize("exist", [True, False], ids=["that_exist", "that_azure_refuses"])
async def test_a_node_without_a_grant_is_put_into_them_and_goes_on_asking(exist: bool) -> None:  # noqa: FBT001
    nic = FakeNic()
    nic.no_such_groups = set() if exist else {WEB}
    async with SimulatedNode(nic=nic, policy=SMALL, grants=ControllerGrants()).running() as node:
        controller = asyncio.create_task(answering(node, most=4))
        await node.until(lambda: node.counts.free == 4)
        waits = [asyncio.create_task(node.add(f"p{number}")) for number in range(8)]
        await node.until(lambda: node.condition("QuotaExceeded")["status"] == "True")
        want(node, [WEB])
        await asyncio.sleep(60)
        assert await groups_of(node) == ((WEB,) if exist else ())
        assert node.status["writeIntent"] == "Grow"
        controller.cancel()
        controller = asyncio.create_task(answering(node))
        waits.append(asyncio.create_task(node.add("p8")))
        await node.until(lambda: node.counts.allocated >= 8, within_s=60)
        controller.cancel()
        await asyncio.gather(controller, *waits, return_exceptions=True)


@pytest.mark.parametrize("groups", ["web", [7], ["web"], [f"{GROUPS}/a/b"], [WEB.replace("applicationS", "networkS")]])
async def test_what_is_no_group_is_said_and_the_pool_works(groups: Any) -> None:
    async with SimulatedNode(policy=SMALL).running() as node:
        await node.until(lambda: node.counts.free == 4)
        want(node, groups)
        await node.until(lambda: node.condition("Ready")["reason"] == "InvalidConfig")
        assert "cannot use spec.applicationSecurityGroups of NodeIPPool vm1" in node.condition("Ready")["message"]
        assert node.condition("Ready")["status"] == "True"
        assert node.nic.writes == 1
