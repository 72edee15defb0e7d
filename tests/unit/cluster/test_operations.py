"""What a controller executes for a node, what it refuses, and what becomes of an operation when controllers die."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.nic_operation import Identify, ReadNic, ReadVNet, WriteNic
from azure_cni.api.nic_operation_codec import operation_document
from azure_cni.api.node_ip_pool import parse
from azure_cni.cluster.node_allowance import OPERATION_PACE
from azure_cni.cluster.possession import Required
from azure_cni.errors import (
    AccessDenied,
    CloudNotFound,
    KubeUnreachable,
    PreconditionFailed,
    RequestRefused,
    Throttled,
)
from azure_cni.kube.delegated_nic import DelegatedNic, OperationClient
from azure_cni.model.identity import IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.nic import ConfigName, NicID, NicView, VNetID
from azure_cni.model.text import addresses
from fakes.cluster import FakeCluster
from fakes.delegation import executing, executor_of, post_of
from fakes.machines import FakeMachines, identity_of
from unit.cluster.delegating_nodes import CLAIM, VM1, VM2, granted

pytestmark = pytest.mark.looptime


async def write(post: OperationClient, *, etag: str, add: int = 0, remove: tuple[ConfigName, ...] = ()) -> NicView:
    operation = WriteNic(CLAIM, VM1.nic_id, etag, add=add, remove=remove, grant_number=0)
    return await post.request(operation, NicView, what="change the NIC")


async def test_a_node_finds_out_who_it_is_and_grows(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with executing(cluster, machines):
        assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1
        view = await post.request(ReadVNet(CLAIM, VM1.vnet_id), VNetView, what="x")
        assert [str(prefix) for prefix in view.prefixes] == ["10.240.0.0/16"]
        nic = DelegatedNic(VM1, post)
        assert len((await nic.write(await nic.read(), add=16)).secondaries) == 16


async def test_a_vm_of_another_guid_is_not_asked_about(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    claim = replace(CLAIM, vm_id="guid-of-nobody")
    async with executing(cluster, machines, required=Required.NEVER):
        with pytest.raises(CloudNotFound, match="not this node's VM; "):
            await post.request(Identify(claim), NodeIdentity, what="x")


# Whose VM it is.


# What it may do there.


async def test_another_nic_or_vnet_is_refused(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    seen = await machines.read(VM2.nic_id)
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match=r"vm2-nic for node vm1: its VM has .*vm1-nic"):
            await post.request(ReadNic(CLAIM, VM2.nic_id), NicView, what="x")
        operation = WriteNic(CLAIM, VM2.nic_id, seen.etag, add=1, remove=(), grant_number=0)
        with pytest.raises(AccessDenied, match="vm2-nic for node vm1"):
            await post.request(operation, NicView, what="x")
        with pytest.raises(AccessDenied, match="elsewhere for node vm1"):
            await post.request(ReadVNet(CLAIM, VNetID("elsewhere")), VNetView, what="x")
    assert machines.nics["vm2"].writes == 0


@pytest.mark.parametrize(
    ("status", "add"),
    [({}, 17), ({"requested": 8}, 9), ({"granted": 3}, 4), ({"granted": None}, 1)],
)
async def test_growth_over_the_grant_is_refused(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient, status: dict[str, Any], add: int
) -> None:
    cluster.pools.patch("vm1", {"status": status})
    etag = (await machines.read(VM1.nic_id)).etag
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match=f"would hold {addresses(add)} and may hold {add - 1}"):
            await write(post, etag=etag, add=add)
    assert machines.nics["vm1"].writes == 0


async def test_what_leaves_makes_room_for_what_comes(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with executing(cluster, machines):
        full = await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=16)
        granted(cluster, number=2)
        after = await write(post, etag=full.etag, add=2, remove=tuple(it.name for it in full.secondaries[:2]))
    assert len(after.secondaries) == 16


@pytest.mark.parametrize("add", [0, 1])
async def test_a_grant_that_is_not_answered_allows_nothing(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient, add: int
) -> None:
    cluster.pools.patch("vm1", {"status": {"requestID": 2}})
    etag = (await machines.read(VM1.nic_id)).etag
    async with executing(cluster, machines):
        with pytest.raises(AccessDenied, match="names grant 2, the newest request is 2, and the newest grant 1"):
            await write(post, etag=etag, add=add)


async def test_a_grant_is_good_for_one_operation(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with executing(cluster, machines):
        first = await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=1)
        with pytest.raises(AccessDenied, match="an earlier operation has already used grant 1"):
            await write(post, etag=first.etag, add=1)
        granted(cluster, number=2)
        assert len((await write(post, etag=first.etag, add=1)).secondaries) == 2


async def test_an_error_of_azure_reaches_the_node_as_it_is(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    machines.fail_next = Throttled("cannot: 429", retry_after_s=30.0)
    async with executing(cluster, machines):
        with pytest.raises(Throttled, match="cannot: 429") as caught:
            await post.request(Identify(CLAIM), NodeIdentity, what="x")
    assert caught.value.retry_after_s == 30.0


async def test_what_is_not_an_operation_is_answered_and_stops_nobody(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with executing(cluster, machines):
        cluster.pools.patch("vm2", {"status": {"nicOperation": {"id": 5, "kind": "rm -rf"}}})
        assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1
    answer = cluster.status("vm2")["nicOperationResult"]
    assert (answer["id"], answer["error"]["reason"]) == (5, RequestRefused.reason)


# Controllers die.


async def test_a_controller_that_died_while_it_wrote_is_followed_by_one_that_does_no_harm(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    nic, before = machines.nics["vm1"], await machines.read(VM1.nic_id)
    nic.hold()
    writing = asyncio.create_task(write(post, etag=before.etag, add=16))
    async with executing(cluster, machines):
        await asyncio.sleep(1)
        assert nic.writes == 1
    assert not writing.done()
    nic.finish()
    async with executing(cluster, machines):
        with pytest.raises(PreconditionFailed):
            await writing
    assert nic.writes == 1
    assert len((await machines.read(VM1.nic_id)).secondaries) == 16


async def test_an_answer_that_cannot_be_written_is_not_work_done_twice(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    failures = iter(range(3))

    def fail(call: str) -> None:
        if call == "pools.write" and next(failures, None) is not None:
            raise KubeUnreachable("cannot patch: no answer")

    cluster.before_call = fail
    async with executing(cluster, machines):
        after = await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=4)
    assert len(after.secondaries) == 4
    assert machines.nics["vm1"].writes == 1


async def test_two_controllers_write_once(cluster: FakeCluster, machines: FakeMachines, post: OperationClient) -> None:
    async with executing(cluster, machines), executing(cluster, machines):
        with suppress(PreconditionFailed):
            await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=16)
        await asyncio.sleep(10)
    assert machines.nics["vm1"].writes == 1
    assert len((await machines.read(VM1.nic_id)).secondaries) == 16


async def test_a_pool_that_goes_takes_its_operation_along(cluster: FakeCluster, machines: FakeMachines) -> None:
    machines.latency_s = 30.0
    async with executing(cluster, machines) as executor:
        post = post_of(cluster, "vm1", read_s=40)
        asking = asyncio.create_task(post.request(Identify(CLAIM), NodeIdentity, what="x"))
        await asyncio.sleep(10)
        cluster.pools.delete("vm1")
        await asyncio.sleep(0.1)
        assert set(executor._nodes) == {"vm2"}
        assert machines.under_way == 0
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_newer_operation_makes_the_one_before_void(cluster: FakeCluster, machines: FakeMachines) -> None:
    machines.latency_s = 30.0
    dead = post_of(cluster, "vm1", watched=False)
    async with executing(cluster, machines):
        asking = asyncio.create_task(dead.request(Identify(CLAIM), NodeIdentity, what="x"))
        await asyncio.sleep(10)
        asking.cancel()
        began_s = asyncio.get_running_loop().time()
        assert await post_of(cluster, "vm1").request(Identify(CLAIM), NodeIdentity, what="x") == VM1
        assert asyncio.get_running_loop().time() - began_s < 31
        assert machines.asked == 2


async def test_a_watch_that_is_late_does_not_stop_the_operation_under_way(
    cluster: FakeCluster, machines: FakeMachines
) -> None:
    nic, etag = machines.nics["vm1"], (await machines.read(VM1.nic_id)).etag
    nic.hold()
    executor = executor_of(cluster, machines, required=Required.NEVER, pace=OPERATION_PACE)
    cluster.pools.patch("vm1", {"status": {"nicOperation": operation_document(1, Identify(CLAIM))}})
    executor.see(parse(cluster.pools.objects["vm1"]))
    operation = WriteNic(CLAIM, VM1.nic_id, etag, add=1, remove=(), grant_number=1)
    cluster.pools.patch("vm1", {"status": {"nicOperation": operation_document(2, operation)}})
    running = asyncio.create_task(executor.run())
    await asyncio.sleep(1)
    executor.see(parse(cluster.pools.objects["vm1"]))
    await asyncio.sleep(1)
    nic.finish()
    await asyncio.sleep(1)
    running.cancel()
    answer = cluster.status("vm1")["nicOperationResult"]
    assert (answer["id"], "nic" in answer, nic.writes) == (2, True, 1)


async def test_a_node_that_sends_operations_without_end_is_slowed(cluster: FakeCluster, machines: FakeMachines) -> None:
    async with executing(cluster, machines, pace=OPERATION_PACE):
        for number in range(1, 1001):
            cluster.pools.patch("vm1", {"status": {"nicOperation": operation_document(number, Identify(CLAIM))}})
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
    assert machines.asked <= 12
    assert cluster.status("vm1")["nicOperationResult"]["id"] == 1000


async def test_all_get_their_turn_and_azure_is_not_asked_by_all_at_once() -> None:
    names = [f"n{index}" for index in range(100)]
    cluster, machines = FakeCluster(), FakeMachines(*names)
    machines.latency_s = 1.0
    for name in names:
        granted(cluster, name)
    async with executing(cluster, machines):
        asking = []
        for name in names:
            it = identity_of(name)
            operation = Identify(IdentityClaim(it.vm_id, it.vm_resource_id, macs=(it.mac,)))
            asking.append(post_of(cluster, name).request(operation, NodeIdentity, what="x"))
        found = await asyncio.gather(*asking)
    assert [identity.nic_id for identity in found] == [identity_of(name).nic_id for name in names]
    assert machines.busiest == 16


async def test_questions_do_not_wait_behind_writes() -> None:
    names = [f"n{index}" for index in range(20)]
    cluster, machines = FakeCluster(), FakeMachines(*names)
    async with executing(cluster, machines), AsyncExitStack() as closing:
        for name in names[:-1]:
            granted(cluster, name)
            machines.nics[name].hold()
            it = identity_of(name)
            etag = (await machines.read(it.nic_id)).etag
            claim = IdentityClaim(it.vm_id, it.vm_resource_id, macs=(it.mac,))
            operation = WriteNic(claim, NicID(it.nic_id), etag, add=1, remove=(), grant_number=0)
            writing = asyncio.create_task(post_of(cluster, name).request(operation, NicView, what="x"))
            closing.callback(writing.cancel)
        await asyncio.sleep(1)
        granted(cluster, names[-1])
        last = identity_of(names[-1])
        operation = ReadNic(IdentityClaim(last.vm_id, last.vm_resource_id, macs=(last.mac,)), last.nic_id)
        assert await post_of(cluster, names[-1], read_s=2).request(operation, NicView, what="x")
