"""What a controller carries out for a node, what it refuses, and what becomes of an order when controllers die."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import ConfigName, NicID, NicView, VNetID
from azure_cni.api.order_documents import order_document
from azure_cni.api.orders import Identify, ReadNic, ReadVNet, WriteNic
from azure_cni.cluster.orders import OrderDesk
from azure_cni.errors import (
    AccessDenied,
    CloudNotFound,
    KubeUnreachable,
    PreconditionFailed,
    RequestRefused,
    Throttled,
)
from azure_cni.node.ordered import OrderedNic, OrderPost
from fakes.cluster import FakeCluster, FakeMemberNodes, FakeMemberPools
from fakes.machines import FakeMachines, identity_of
from fakes.ordering import carrying_out, post_of

pytestmark = pytest.mark.looptime

VM1, VM2 = identity_of("vm1"), identity_of("vm2")
CLAIM, CLAIM2 = (MachineClaim(vm.vm_id, vm.vm_resource_id, macs=(vm.mac,)) for vm in (VM1, VM2))


def granted(cluster: FakeCluster, name: str = "vm1", count: int = 16, *, number: int = 1, **status: Any) -> None:
    """A node whose request is answered."""
    status = {"granted": count, "grantedFor": number, "requested": count, "vmID": f"guid-of-{name}", **status}
    cluster.node(name, number=number, **status)


@pytest.fixture
def machines() -> FakeMachines:
    return FakeMachines("vm1", "vm2")


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    granted(made, "vm1")
    granted(made, "vm2")
    return made


@pytest.fixture
def post(cluster: FakeCluster) -> OrderPost:
    return post_of(cluster, "vm1")


async def write(post: OrderPost, *, etag: str, add: int = 0, remove: tuple[ConfigName, ...] = ()) -> NicView:
    order = WriteNic(CLAIM, VM1.nic_id, etag, add=add, remove=remove, permit=0)
    return await post.ask(order, NicView, what="change the NIC")


async def test_a_node_finds_out_who_it_is_and_grows(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    async with carrying_out(cluster, machines):
        assert await post.ask(Identify(CLAIM), NodeIdentity, what="x") == VM1
        view = await post.ask(ReadVNet(CLAIM, VM1.vnet_id), VNetView, what="x")
        assert [str(prefix) for prefix in view.prefixes] == ["10.240.0.0/16"]
        nic = OrderedNic(VM1, post)
        assert len((await nic.write(await nic.read(), add=16)).secondaries) == 16


async def test_a_vm_of_another_guid_is_not_asked_about(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    claim = replace(CLAIM, vm_id="guid-of-nobody")
    async with carrying_out(cluster, machines):
        with pytest.raises(CloudNotFound, match="another VM"):
            await post.ask(Identify(claim), NodeIdentity, what="x")


# Whose VM it is.


async def test_the_vm_that_another_node_was_found_to_have_is_refused(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    async with carrying_out(cluster, machines):
        await post_of(cluster, "vm2").ask(Identify(CLAIM2), NodeIdentity, what="x")
        with pytest.raises(AccessDenied, match=r"found to be the VM of node vm2.*kubectl delete node vm2"):
            await post.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        cluster.pools.delete("vm2")
        assert await post.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_what_one_controller_found_the_next_one_knows(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    own = post_of(cluster, "vm2")
    async with carrying_out(cluster, machines):
        await own.ask(Identify(CLAIM2), NodeIdentity, what="x")
        await own.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        machines.fail_next = Throttled("cannot: 429")
        with pytest.raises(Throttled):
            await own.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
    async with carrying_out(cluster, machines):
        with pytest.raises(AccessDenied, match="found to be the VM of node vm2"):
            await post.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        assert await own.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_a_node_that_shows_anothers_vm_as_its_own_shuts_nobody_off(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    """Its agent may write what it likes to its own pool."""
    cluster.pools.patch("vm2", {"status": {"vmID": VM1.vm_id}})
    async with carrying_out(cluster, machines):
        assert await post.ask(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")


async def test_of_two_that_claim_one_vm_at_once_one_is_served(cluster: FakeCluster, machines: FakeMachines) -> None:
    machines.latency_s = 5.0
    async with carrying_out(cluster, machines):
        asking = [post_of(cluster, name).ask(Identify(CLAIM2), NodeIdentity, what="x") for name in ("vm1", "vm2")]
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in answers} == {AccessDenied, NodeIdentity}


async def test_who_came_first_does_not_keep_a_vm_that_its_own_node_object_denies(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    own = post_of(cluster, "vm2")
    async with carrying_out(cluster, machines):
        await post.ask(Identify(CLAIM2), NodeIdentity, what="x")
        with pytest.raises(AccessDenied, match="found to be the VM of node vm1"):
            await own.ask(Identify(CLAIM2), NodeIdentity, what="x")
        cluster.provider_ids["vm1"] = f"azure://{VM1.vm_resource_id}"
        assert await own.ask(Identify(CLAIM2), NodeIdentity, what="x") == VM2
        with pytest.raises(AccessDenied, match="its Node says"):
            await post.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_a_node_object_that_names_anothers_vm_takes_it_from_nobody(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    """A kubelet may write it once, where there is no cloud provider."""
    cluster.provider_ids["vm2"] = f"azure://{VM1.vm_resource_id}"
    async with carrying_out(cluster, machines):
        await post.ask(Identify(CLAIM), NodeIdentity, what="x")
        with pytest.raises(AccessDenied, match="found to be the VM of node vm1"):
            await post_of(cluster, "vm2").ask(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")
        assert await post.ask(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")


async def test_another_vm_than_its_node_object_names_is_refused(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    cluster.provider_ids["vm1"] = f"azure://{VM1.vm_resource_id.lower()}"
    async with carrying_out(cluster, machines):
        assert await post.ask(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")
        asked = machines.asked
        with pytest.raises(AccessDenied, match=r"virtualMachines/vm2: its Node says .*virtualmachines/vm1 "):
            await post.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
    assert machines.asked == asked
    assert cluster.calls.count("nodes.read") == 1  # it cannot change while there is that Node


async def test_a_node_object_is_looked_at_anew_when_its_machine_asks_who_it_is(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    cluster.provider_ids["vm1"] = f"azure://{VM2.vm_resource_id}"
    async with carrying_out(cluster, machines):
        with pytest.raises(AccessDenied, match="its Node says"):
            await post.ask(Identify(CLAIM), NodeIdentity, what="x")
        cluster.provider_ids["vm1"] = f"azure://{VM1.vm_resource_id}"
        assert await post.ask(Identify(CLAIM), NodeIdentity, what="x") == VM1


@pytest.mark.parametrize("provider_id", ["kind://docker/kind/vm1", "k3s://vm1", "azure://elsewhere"])
async def test_what_names_no_vm_of_azure_proves_nothing(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost, provider_id: str
) -> None:
    cluster.provider_ids["vm1"] = provider_id
    async with carrying_out(cluster, machines):
        assert await post.ask(Identify(CLAIM), NodeIdentity, what="x") == VM1


# What it may do there.


async def test_a_former_pool_that_is_told_gone_late_takes_nothing_from_the_one_after_it(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    async with carrying_out(cluster, machines) as desk:
        await post_of(cluster, "vm2").ask(Identify(CLAIM2), NodeIdentity, what="x")
        desk.forget("vm2", "the UID of the former")
        with pytest.raises(AccessDenied, match="found to be the VM of node vm2"):
            await post.ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_another_nic_or_vnet_is_refused(cluster: FakeCluster, machines: FakeMachines, post: OrderPost) -> None:
    seen = await machines.read(VM2.nic_id)
    async with carrying_out(cluster, machines):
        with pytest.raises(AccessDenied, match=r"vm2-nic for node vm1: its VM has .*vm1-nic"):
            await post.ask(ReadNic(CLAIM, VM2.nic_id), NicView, what="x")
        order = WriteNic(CLAIM, VM2.nic_id, seen.etag, add=1, remove=(), permit=0)
        with pytest.raises(AccessDenied, match="vm2-nic for node vm1"):
            await post.ask(order, NicView, what="x")
        with pytest.raises(AccessDenied, match="elsewhere for node vm1"):
            await post.ask(ReadVNet(CLAIM, VNetID("elsewhere")), VNetView, what="x")
    assert machines.nics["vm2"].writes == 0


@pytest.mark.parametrize(
    ("status", "add"),
    [({}, 17), ({"requested": 8}, 9), ({"granted": 3}, 4), ({"granted": None}, 1)],
)
async def test_growth_over_the_grant_is_refused(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost, status: dict[str, Any], add: int
) -> None:
    cluster.pools.patch("vm1", {"status": status})
    etag = (await machines.read(VM1.nic_id)).etag
    async with carrying_out(cluster, machines):
        with pytest.raises(AccessDenied, match=f"would hold {add} addresses and may hold {add - 1}"):
            await write(post, etag=etag, add=add)
    assert machines.nics["vm1"].writes == 0


async def test_what_leaves_makes_room_for_what_comes(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    async with carrying_out(cluster, machines):
        full = await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=16)
        granted(cluster, number=2)
        after = await write(post, etag=full.etag, add=2, remove=tuple(it.name for it in full.secondaries[:2]))
    assert len(after.secondaries) == 16


@pytest.mark.parametrize("add", [0, 1])
async def test_a_permit_that_is_not_answered_allows_nothing(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost, add: int
) -> None:
    cluster.pools.patch("vm1", {"status": {"requestID": 2}})
    etag = (await machines.read(VM1.nic_id)).etag
    async with carrying_out(cluster, machines):
        with pytest.raises(AccessDenied, match=r"under request 2; the newest is 2, and the last .* answered 1"):
            await write(post, etag=etag, add=add)


async def test_a_permit_is_good_for_one_order(cluster: FakeCluster, machines: FakeMachines, post: OrderPost) -> None:
    async with carrying_out(cluster, machines):
        first = await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=1)
        with pytest.raises(AccessDenied, match="has used the permit 1 already"):
            await write(post, etag=first.etag, add=1)
        granted(cluster, number=2)
        assert len((await write(post, etag=first.etag, add=1)).secondaries) == 2


async def test_an_error_of_azure_reaches_the_node_as_it_is(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    machines.fail_next = Throttled("cannot: 429", retry_after_s=30.0)
    async with carrying_out(cluster, machines):
        with pytest.raises(Throttled, match="cannot: 429") as caught:
            await post.ask(Identify(CLAIM), NodeIdentity, what="x")
    assert caught.value.retry_after_s == 30.0


async def test_what_is_not_an_order_is_answered_and_stops_nobody(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    async with carrying_out(cluster, machines):
        cluster.pools.patch("vm2", {"status": {"order": {"id": 5, "verb": "rm -rf"}}})
        assert await post.ask(Identify(CLAIM), NodeIdentity, what="x") == VM1
    answer = cluster.status("vm2")["answer"]
    assert (answer["id"], answer["error"]["reason"]) == (5, RequestRefused.reason)


# Controllers die.


async def test_a_controller_that_died_while_it_wrote_is_followed_by_one_that_does_no_harm(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    nic, before = machines.nics["vm1"], await machines.read(VM1.nic_id)
    nic.hold()
    writing = asyncio.create_task(write(post, etag=before.etag, add=16))
    async with carrying_out(cluster, machines):
        await asyncio.sleep(1)
        assert nic.writes == 1
    assert not writing.done()
    nic.finish()
    async with carrying_out(cluster, machines):
        with pytest.raises(PreconditionFailed):
            await writing
    assert nic.writes == 1
    assert len((await machines.read(VM1.nic_id)).secondaries) == 16


async def test_an_answer_that_cannot_be_written_is_not_work_done_twice(
    cluster: FakeCluster, machines: FakeMachines, post: OrderPost
) -> None:
    failures = iter(range(3))

    def fail(call: str) -> None:
        if call == "pools.write" and next(failures, None) is not None:
            raise KubeUnreachable("cannot patch: no answer")

    cluster.before_call = fail
    async with carrying_out(cluster, machines):
        after = await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=4)
    assert len(after.secondaries) == 4
    assert machines.nics["vm1"].writes == 1


async def test_two_controllers_write_once(cluster: FakeCluster, machines: FakeMachines, post: OrderPost) -> None:
    async with carrying_out(cluster, machines), carrying_out(cluster, machines):
        with suppress(PreconditionFailed):
            await write(post, etag=(await machines.read(VM1.nic_id)).etag, add=16)
        await asyncio.sleep(10)
    assert machines.nics["vm1"].writes == 1
    assert len((await machines.read(VM1.nic_id)).secondaries) == 16


async def test_a_pool_that_goes_takes_its_order_along(cluster: FakeCluster, machines: FakeMachines) -> None:
    machines.latency_s = 30.0
    async with carrying_out(cluster, machines) as desk:
        post = post_of(cluster, "vm1", read_s=40)
        asking = asyncio.create_task(post.ask(Identify(CLAIM), NodeIdentity, what="x"))
        await asyncio.sleep(10)
        cluster.pools.delete("vm1")
        await asyncio.sleep(0.1)
        assert set(desk._nodes) == {"vm2"}
        assert machines.under_way == 0
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_pool_that_is_made_anew_is_another_nodes(cluster: FakeCluster, machines: FakeMachines) -> None:
    async with carrying_out(cluster, machines) as desk:
        await post_of(cluster, "vm2").ask(Identify(CLAIM2), NodeIdentity, what="x")
        old = cluster.pools.objects["vm2"]
        watcher = cluster.pools.watchers.pop(0)  # the watch is late
        cluster.pools.delete("vm2")
        granted(cluster, "vm2")
        cluster.pools.watchers.append(watcher)
        desk.see(cluster.pools.objects["vm2"])
        assert await post_of(cluster, "vm1").ask(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        desk.forget("vm2", old["metadata"]["uid"])
        assert "vm2" in desk._nodes
        with pytest.raises(AccessDenied, match="found to be the VM of node vm1"):
            await post_of(cluster, "vm2").ask(Identify(CLAIM2), NodeIdentity, what="x")


# Many at once.


async def test_a_newer_order_makes_the_one_before_void(cluster: FakeCluster, machines: FakeMachines) -> None:
    machines.latency_s = 30.0
    dead = post_of(cluster, "vm1", watched=False)
    async with carrying_out(cluster, machines):
        asking = asyncio.create_task(dead.ask(Identify(CLAIM), NodeIdentity, what="x"))
        await asyncio.sleep(10)
        asking.cancel()
        began_s = asyncio.get_running_loop().time()
        assert await post_of(cluster, "vm1").ask(Identify(CLAIM), NodeIdentity, what="x") == VM1
        assert asyncio.get_running_loop().time() - began_s < 31
        assert machines.asked == 2


async def test_a_watch_that_is_late_does_not_stop_the_order_under_way(
    cluster: FakeCluster, machines: FakeMachines
) -> None:
    nic, etag = machines.nics["vm1"], (await machines.read(VM1.nic_id)).etag
    nic.hold()
    desk = OrderDesk(pools=FakeMemberPools(cluster), nodes=FakeMemberNodes(cluster), machines=machines)
    cluster.pools.patch("vm1", {"status": {"order": order_document(1, Identify(CLAIM))}})
    desk.see(cluster.pools.objects["vm1"])
    order = WriteNic(CLAIM, VM1.nic_id, etag, add=1, remove=(), permit=1)
    cluster.pools.patch("vm1", {"status": {"order": order_document(2, order)}})
    running = asyncio.create_task(desk.run())
    await asyncio.sleep(1)
    desk.see(cluster.pools.objects["vm1"])
    await asyncio.sleep(1)
    nic.finish()
    await asyncio.sleep(1)
    running.cancel()
    answer = cluster.status("vm1")["answer"]
    assert (answer["id"], "nic" in answer, nic.writes) == (2, True, 1)


async def test_a_node_that_orders_without_end_is_slowed(cluster: FakeCluster, machines: FakeMachines) -> None:
    async with carrying_out(cluster, machines, spacing_s=1.0):
        for number in range(1, 1001):
            cluster.pools.patch("vm1", {"status": {"order": order_document(number, Identify(CLAIM))}})
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
    assert machines.asked <= 12
    assert cluster.status("vm1")["answer"]["id"] == 1000


async def test_all_get_their_turn_and_azure_is_not_asked_by_all_at_once() -> None:
    names = [f"n{index}" for index in range(100)]
    cluster, machines = FakeCluster(), FakeMachines(*names)
    machines.latency_s = 1.0
    for name in names:
        granted(cluster, name)
    async with carrying_out(cluster, machines):
        asking = []
        for name in names:
            it = identity_of(name)
            order = Identify(MachineClaim(it.vm_id, it.vm_resource_id, macs=(it.mac,)))
            asking.append(post_of(cluster, name).ask(order, NodeIdentity, what="x"))
        found = await asyncio.gather(*asking)
    assert [identity.nic_id for identity in found] == [identity_of(name).nic_id for name in names]
    assert machines.busiest == 16


async def test_questions_do_not_wait_behind_writes() -> None:
    names = [f"n{index}" for index in range(20)]
    cluster, machines = FakeCluster(), FakeMachines(*names)
    async with carrying_out(cluster, machines), AsyncExitStack() as closing:
        for name in names[:-1]:
            granted(cluster, name)
            machines.nics[name].hold()
            it = identity_of(name)
            etag = (await machines.read(it.nic_id)).etag
            claim = MachineClaim(it.vm_id, it.vm_resource_id, macs=(it.mac,))
            order = WriteNic(claim, NicID(it.nic_id), etag, add=1, remove=(), permit=0)
            writing = asyncio.create_task(post_of(cluster, name).ask(order, NicView, what="x"))
            closing.callback(writing.cancel)
        await asyncio.sleep(1)
        granted(cluster, names[-1])
        last = identity_of(names[-1])
        order = ReadNic(MachineClaim(last.vm_id, last.vm_resource_id, macs=(last.mac,)), last.nic_id)
        assert await post_of(cluster, names[-1], read_s=2).ask(order, NicView, what="x")
