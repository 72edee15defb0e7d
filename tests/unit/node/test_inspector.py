"""What an agent says of its node when it is asked: the state of this moment, and the write that comes next."""

from __future__ import annotations

import pytest

from azure_cni.api.introspection import NodeReport, SlotReport, decode_node_report, encode_report
from azure_cni.errors import DatapathError, DecodeFailed, RequestRefused, SubnetFull
from azure_cni.ipam.limits import ATTACH_WRITES_AT_ONCE
from azure_cni.ipam.plan import AwaitGrant, Grow, NoOp, Rewrite, Shrink, WaitForAzure
from azure_cni.ipam.sizing import Policy
from azure_cni.model.attachments import Allowance, AttachedResource
from azure_cni.model.nic import ConfigName
from azure_cni.node.pool.described_steps import describe_step
from azure_cni.node.pool.reservation_request import ControllerGrants
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode, pod_body

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/web"


async def ask(node: SimulatedNode) -> NodeReport:
    return await node.reconciler.inspector.describe(node="vm1")


async def test_slots_kernel_nic_and_pool_as_they_are():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free > 0)
        wiring = await node.add("web")
        report = await ask(node)
    (address,) = wiring.addresses
    (slot,) = [one for one in report.slots if one.state == "assigned"]
    assert (slot.address, slot.holder, slot.uid, slot.container) == (
        *(str(address), "default/web", "uid-web"),
        "container-web",
    )
    assert slot.since <= report.time
    (link,) = report.kernel.links
    assert (link.addresses, link.container) == ([str(address)], "container-web")
    assert report.nic is not None
    assert report.nic.held == len(report.slots) == report.pool.held
    assert report.nic.age_s is not None
    assert {one.name for one in report.nic.configurations if not one.primary} == {one.config for one in report.slots}
    assert report.failures == []
    assert report.last_write is not None
    assert (report.last_write.result, report.last_write.added) == ("Succeeded", 16)


async def test_a_node_that_has_read_nothing_yet_answers_too():
    report = await ask(SimulatedNode())
    assert (report.slots, report.nic) == ([], None)
    assert report.next_write.kind == "None"
    assert "before the NIC and the pool have been read" in report.next_write.why


async def test_a_write_that_azure_refuses_shows_with_its_next_try():
    async with SimulatedNode(nic=FakeNic(room=0)).running() as node:
        await node.until(lambda: node.state.forecast.reason == SubnetFull.reason)
        report = await ask(node)
    (failure,) = report.failures
    assert (failure.activity, failure.reason) == ("grow", "SubnetFull")
    assert failure.retry_at > failure.failed_at
    assert report.next_write.kind == "Grow"
    assert any("SubnetFull" in words for words in report.next_write.waits)


async def test_a_request_without_an_answer_is_what_the_write_waits_for():
    async with SimulatedNode(grants=ControllerGrants()).running() as node:
        await node.until(lambda: node.status.get("requested", 0) > 0)
        report = await ask(node)
    assert (report.next_write.kind, report.next_write.add) == ("Grow", 16)
    (words,) = report.next_write.waits
    assert words.startswith("an answer to request ")
    assert words.endswith(", to hold 16 addresses")


async def test_a_surplus_shows_as_the_write_to_come_with_its_time_and_its_addresses():
    async with SimulatedNode(policy=Policy(min_free=8, max_free=24, batch=16)).running() as node:
        await node.until(lambda: node.counts.free > 0)
        node.pools.edit_spec(minFree=40, maxFree=56)
        node.reconciler.pool_seen(await _seen(node))
        await node.until(lambda: node.counts.free >= 48)
        node.pools.edit_spec(minFree=8, maxFree=24)
        node.reconciler.pool_seen(await _seen(node))
        await node.until(lambda: node.reconciler.inspector._pool_state.plan.surplus_since_s is not None)  # type: ignore[union-attr]
        report = await ask(node)
    write = report.next_write
    assert write.kind == "Shrink"
    assert write.not_before > report.time
    assert len(write.remove) == 32
    assert {one.address for one in write.remove} <= {slot.address for slot in report.slots if slot.state == "free"}


async def test_a_pool_that_is_paused_says_so():
    async with SimulatedNode(policy=Policy(paused=True)).running() as node:
        await node.until(lambda: node.state.ready)
        report = await ask(node)
    assert report.pool.paused
    assert report.next_write.waits == ["the pool is paused (spec.paused)"]


async def test_a_kernel_that_cannot_be_read_is_part_of_the_answer():
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free > 0)

        async def refuse() -> tuple[()]:
            raise DatapathError("cannot list the links: no")

        node.datapath.sandboxes = refuse  # type: ignore[method-assign]
        report = await ask(node)
    assert report.kernel.error == "cannot list the links: no"
    assert report.slots


async def _seen(node: SimulatedNode):
    found = await node.pools.read()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("step", "kind", "add", "removed"),
    [
        (NoOp(), "None", 0, []),
        (WaitForAzure(), "None", 0, []),
        (AwaitGrant(32), "Grow", 16, []),
        (Grow(16), "Grow", 16, []),
        (Rewrite(), "Rewrite", 0, []),
        (Shrink((ConfigName("azure-cni-0a"),), ("10.0.0.4",)), "Shrink", 0, ["10.0.0.4"]),  # type: ignore[arg-type]
    ],
)
async def test_each_step_is_described_as_a_difference(step, kind: str, add: int, removed: list[str]):
    found = describe_step(step, held=16, target=32)
    assert (found.kind, found.add, [one.address for one in found.remove]) == (kind, add, removed)
    assert found.why


async def test_a_report_survives_the_wire_and_readers_of_another_version():
    report = NodeReport(node="vm1", slots=[SlotReport("10.0.0.4", "azure-cni-0a", "free", "2026-11-28T06:00:00Z")])
    assert decode_node_report(encode_report(report)) == report
    assert decode_node_report(b'{"node": "vm1", "newField": {"x": 1}}').node == "vm1"
    with pytest.raises(DecodeFailed):
        decode_node_report(b"<html>")


WEB, GONE = (
    AttachedResource.parse(
        f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers/lb/backendAddressPools/{name}"
    )
    for name in ("web", "gone")
)
assert WEB is not None
assert GONE is not None
ALLOWED = (Allowance(frozenset({"default"}), frozenset({WEB, GONE})),)


def shows(node: SimulatedNode, name: str, pools: str) -> None:
    annotations = {"azure-cni.io/load-balancer-pools": pools}
    node.demand.observe_pod(pod_body(name, phase="Running", ip="10.0.0.1", annotations=annotations))
    node.reconciler.wake()


async def attaching_node() -> SimulatedNode:
    node = SimulatedNode(policy=Policy(size=4), attachable=ALLOWED)
    node.demand.replace([])
    return node


@pytest.mark.looptime
async def test_what_pods_ask_for_is_told_with_its_next_try():
    node = await attaching_node()
    node.nic.refused_resources[GONE.id] = RequestRefused(
        f"cannot change the NIC: {GONE.id} was not found", azure_code="InvalidResourceReference"
    )
    async with node.running():
        await node.until(lambda: node.counts.free == 4)
        for name, pool in (("web", WEB), ("gone", GONE)):
            await node.add(name)
            shows(node, name, pool.id)
        await node.until(lambda: {WEB} in node.nic.resources.values(), within_s=60.0)
        await node.until(lambda: node.events.reasons.count("AttachmentNotFound") == 1)
        report = decode_node_report(encode_report(await ask(node)))
    told = {one.pod: one for one in report.attachments}
    assert (told["web"].done, told["web"].reason, told["web"].retry_at) == (True, "Attached", "")
    assert (told["gone"].done, told["gone"].problem, told["gone"].reason) == (False, True, "AttachmentNotFound")
    assert told["gone"].retry_at > report.time
    assert report.attachment_pace.at_once == ATTACH_WRITES_AT_ONCE
    assert report.attachment_pace.left < ATTACH_WRITES_AT_ONCE


async def test_security_groups_that_azure_refuses_show_with_their_next_try():
    nic = FakeNic()
    nic.no_such_groups = {GROUP}
    async with SimulatedNode(nic=nic).running() as node:
        await node.until(lambda: node.counts.free > 0)
        node.pools.edit_spec(applicationSecurityGroups=[GROUP])
        node.reconciler.pool_seen(node.pools.shown())
        await node.until(lambda: node.condition("Ready")["reason"] == "RequestRefused")
        report = await ask(node)
    assert report.next_write.why.startswith("the application security groups that the pool's spec wants: web")
    (failure,) = report.failures
    assert report.next_write.waits == [f"groups: RequestRefused, tried again at {failure.retry_at}"]


@pytest.mark.looptime
async def test_what_waits_for_the_pace_is_the_next_write_with_its_time():
    node = await attaching_node()
    async with node.running():
        await node.until(lambda: node.counts.free == 4)
        await node.add("web")
        for number in range(2 * ATTACH_WRITES_AT_ONCE):
            wanted, writes = WEB.id if number % 2 == 0 else "", node.nic.writes
            shows(node, "web", wanted)
            if node.reconciler.inspector._pod_attachments.writes_left:
                await node.until(lambda writes=writes: node.nic.writes > writes)
            else:
                break
        attachments = node.reconciler.inspector._pod_attachments
        await node.until(lambda: attachments.paused_until_s is not None)
        report = await ask(node)
    assert (report.next_write.kind, report.next_write.waits[-1].partition(":")[0]) == (
        "Attach",
        "the node's pace for attachments",
    )
    assert report.next_write.not_before == report.attachment_pace.next_at > report.time
    assert report.attachment_pace.left == 0


async def test_the_write_to_come_says_what_it_attaches_and_where():
    node = await attaching_node()
    async with node.running():
        await node.until(lambda: node.counts.free == 4)
        (address,) = (await node.add("web")).addresses
        node.nic.hold()
        shows(node, "web", WEB.id)
        await node.until(lambda: node.reconciler.inspector._pool_state.writing.value == "Attach")
        report = await ask(node)
        node.nic.finish()
    (change,) = report.next_write.attach
    assert (change.address, change.add, change.remove) == (str(address), ["load balancer pool lb/web"], [])
    assert report.next_write.under_way


async def test_whose_traffic_leaves_with_its_own_address_is_told():
    async with SimulatedNode(egress=["*"]).running() as node:
        node.node.namespace_seen({"metadata": {"name": "default"}})
        for name in ("own", "plain"):
            annotations = {"azure-cni.io/egress": "pod"} if name == "own" else {}
            node.node.pod_seen(pod_body(name, annotations=annotations))
        await node.until(lambda: node.counts.free > 0)
        for name in ("own", "plain"):
            await node.add(name)
        report = await ask(node)
    assert {slot.pod: slot.own_egress for slot in report.slots if slot.pod} == {"own": True, "plain": False}
