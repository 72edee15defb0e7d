"""Whose VM is whose: what a controller believes where nodes need not attest it, and whom it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from azure_cni.api.nic_operation import Identify, ReadNic
from azure_cni.api.node_ip_pool import parse
from azure_cni.cluster.possession import Required
from azure_cni.errors import (
    AccessDenied,
    CloudNotFound,
    Throttled,
)
from azure_cni.kube.delegated_nic import OperationClient
from azure_cni.model.identity import NodeIdentity
from azure_cni.model.nic import NicView
from fakes.cluster import FakeCluster
from fakes.delegation import executing, post_of
from fakes.machines import FakeMachines
from unit.cluster.delegating_nodes import CLAIM, CLAIM2, VM1, VM2, granted

pytestmark = pytest.mark.looptime

believing = partial(executing, required=Required.NEVER)
"""A controller to which a claim that nothing contradicts is enough."""
NOT_ITS_VM = r"^cannot execute a NIC operation of node vm\d: not this node's VM; the controller's log says why$"
"""All that a node reads. What the controller knows of the VM would help who only guesses."""


@pytest.mark.parametrize("wrong", ["unique ID", "MAC", "another's"])
async def test_only_the_controllers_log_says_what_a_vm_is_known_by(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    claim = CLAIM2 if wrong == "another's" else replace(CLAIM, vm_id="a-guess")
    if wrong == "MAC":
        machines.fail_next = CloudNotFound("cannot identify this node's NIC: VM vm1 has 00:0d:3a:00:00:07 in Azure")
    cluster.provider_ids["vm1"] = f"azure://{VM1.vm_resource_id}"
    caplog.set_level("INFO")
    async with believing(cluster, machines):
        with pytest.raises((AccessDenied, CloudNotFound), match=NOT_ITS_VM):
            await post.request(Identify(claim), NodeIdentity, what="x")
    (refused,) = [one for one in caplog.records if one.message == "NIC operation refused"]
    assert {"unique ID": "another VM", "MAC": "00:0d:3a:00:00:07", "another's": "its Node says"}[wrong] in (
        refused.__dict__["error"]
    )


async def test_the_vm_that_another_node_was_found_to_have_is_refused(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with believing(cluster, machines):
        await post_of(cluster, "vm2").request(Identify(CLAIM2), NodeIdentity, what="x")
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        cluster.pools.delete("vm2")
        assert await post.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_what_one_controller_found_the_next_one_knows(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    own = post_of(cluster, "vm2")
    async with believing(cluster, machines):
        await own.request(Identify(CLAIM2), NodeIdentity, what="x")
        await own.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        machines.fail_next = Throttled("cannot: 429")
        with pytest.raises(Throttled):
            await own.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
    async with believing(cluster, machines):
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        assert await own.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_a_node_that_shows_anothers_vm_as_its_own_shuts_nobody_off(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    """Its agent may write what it likes to its own pool."""
    cluster.pools.patch("vm2", {"status": {"vmID": VM1.vm_id}})
    async with believing(cluster, machines):
        assert await post.request(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")


async def test_of_two_that_claim_one_vm_at_once_one_is_served(cluster: FakeCluster, machines: FakeMachines) -> None:
    machines.latency_s = 5.0
    async with believing(cluster, machines):
        asking = [post_of(cluster, name).request(Identify(CLAIM2), NodeIdentity, what="x") for name in ("vm1", "vm2")]
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(answer) for answer in answers} == {AccessDenied, NodeIdentity}


async def test_who_came_first_does_not_keep_a_vm_that_its_own_node_object_denies(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    own = post_of(cluster, "vm2")
    async with believing(cluster, machines):
        await post.request(Identify(CLAIM2), NodeIdentity, what="x")
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await own.request(Identify(CLAIM2), NodeIdentity, what="x")
        cluster.provider_ids["vm1"] = f"azure://{VM1.vm_resource_id}"
        assert await own.request(Identify(CLAIM2), NodeIdentity, what="x") == VM2
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_a_node_object_that_names_anothers_vm_takes_it_from_nobody(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    """A kubelet may write it once, where there is no cloud provider."""
    cluster.provider_ids["vm2"] = f"azure://{VM1.vm_resource_id}"
    async with believing(cluster, machines):
        await post.request(Identify(CLAIM), NodeIdentity, what="x")
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post_of(cluster, "vm2").request(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")
        assert await post.request(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")


async def test_another_vm_than_its_node_object_names_is_refused(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    cluster.provider_ids["vm1"] = f"azure://{VM1.vm_resource_id.lower()}"
    async with believing(cluster, machines):
        assert await post.request(ReadNic(CLAIM, VM1.nic_id), NicView, what="x")
        asked = machines.asked
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
    assert machines.asked == asked
    assert cluster.calls.count("nodes.read") == 1  # it cannot change while there is that Node


async def test_a_node_object_is_read_again_when_its_machine_asks_who_it_is(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    cluster.provider_ids["vm1"] = f"azure://{VM2.vm_resource_id}"
    async with believing(cluster, machines):
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post.request(Identify(CLAIM), NodeIdentity, what="x")
        cluster.provider_ids["vm1"] = f"azure://{VM1.vm_resource_id}"
        assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1


@pytest.mark.parametrize("provider_id", ["kind://docker/kind/vm1", "k3s://vm1", "azure://elsewhere"])
async def test_what_names_no_vm_of_azure_proves_nothing(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient, provider_id: str
) -> None:
    cluster.provider_ids["vm1"] = provider_id
    async with believing(cluster, machines):
        assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1


async def test_a_former_pool_that_is_reported_gone_late_takes_nothing_from_the_one_after_it(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    async with believing(cluster, machines) as executor:
        await post_of(cluster, "vm2").request(Identify(CLAIM2), NodeIdentity, what="x")
        executor.forget("vm2", "the UID of the former")
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post.request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")


async def test_a_pool_that_is_recreated_is_another_nodes(cluster: FakeCluster, machines: FakeMachines) -> None:
    async with believing(cluster, machines) as executor:
        await post_of(cluster, "vm2").request(Identify(CLAIM2), NodeIdentity, what="x")
        old = cluster.pools.objects["vm2"]
        watcher = cluster.pools.watchers.pop(0)  # the watch is late
        cluster.pools.delete("vm2")
        granted(cluster, "vm2")
        cluster.pools.watchers.append(watcher)
        executor.see(parse(cluster.pools.objects["vm2"]))
        assert await post_of(cluster, "vm1").request(ReadNic(CLAIM2, VM2.nic_id), NicView, what="x")
        executor.forget("vm2", old["metadata"]["uid"])
        assert "vm2" in executor._nodes
        with pytest.raises(AccessDenied, match=NOT_ITS_VM):
            await post_of(cluster, "vm2").request(Identify(CLAIM2), NodeIdentity, what="x")
