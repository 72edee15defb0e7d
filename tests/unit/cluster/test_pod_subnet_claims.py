"""Which pod subnets a node may name in its operations: those that people chose for it, whatever its agent writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from azure_cni.api.nic_operation import Identify, ReadVNet
from azure_cni.cluster.possession import Required
from azure_cni.errors import AccessDenied
from azure_cni.kube.delegated_nic import OperationClient
from azure_cni.model.identity import NodeIdentity, VNetView
from azure_cni.model.nic import NicID, SubnetID
from azure_cni.model.pod_subnets import PodSubnetRule
from fakes.cloud import VNET_ID
from fakes.cluster import FakeCluster
from fakes.delegation import executing
from fakes.machines import FakeMachines
from unit.cluster.delegating_nodes import CLAIM, VM1, granted

pytestmark = pytest.mark.looptime

PODS, OTHERS = SubnetID(f"{VNET_ID}/subnets/pods"), SubnetID(f"{VNET_ID}/subnets/others")
RULES = (PodSubnetRule({"pool": "blue"}, PODS), PodSubnetRule({"pool": "red"}, OTHERS))
BY_NOBODY = r"claims the pod subnet \S+/pods, and by spec\.nic of its NodeIPPool and the chart's pool\.subnets "


@pytest.fixture
def machines() -> FakeMachines:
    """The VM has a NIC in both subnets."""
    made = FakeMachines("vm1", "vm2")
    made.pod_nics = {
        subnet: replace(VM1, nic_id=NicID(f"{VM1.nic_id}-{number}"), subnet_id=subnet)
        for number, subnet in enumerate((PODS, OTHERS), start=2)
    }
    return made


@asynccontextmanager
async def controller(
    cluster: FakeCluster, machines: FakeMachines, rules: tuple[PodSubnetRule, ...] = ()
) -> AsyncIterator[None]:
    async with executing(cluster, machines, required=Required.NEVER, rules=rules):
        yield


def choose(cluster: FakeCluster, subnet: SubnetID | None) -> None:
    """A person writes it into the pool's spec, or takes it out."""
    cluster.pools.patch("vm1", {"spec": {"nic": None if subnet is None else {"subnet": subnet}}})


async def identified(post: OperationClient, subnet: SubnetID) -> NodeIdentity:
    return await post.request(Identify(replace(CLAIM, pod_subnet=subnet)), NodeIdentity, what="x")


async def read(post: OperationClient, subnet: SubnetID) -> VNetView:
    return await post.request(ReadVNet(replace(CLAIM, pod_subnet=subnet), VM1.vnet_id), VNetView, what="x")


@pytest.mark.parametrize("spelt", [PODS, PODS.upper()])
async def test_a_subnet_in_the_pools_spec_is_served(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient, spelt: str
) -> None:
    choose(cluster, SubnetID(spelt))
    async with controller(cluster, machines):
        assert (await identified(post, PODS)).subnet_id == PODS
        assert (await read(post, PODS)).prefixes


async def test_the_subnet_of_a_rule_is_served_on_nodes_with_its_labels(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    cluster.labels["vm1"] = {"pool": "blue", "zone": "1"}
    async with controller(cluster, machines, RULES):
        assert (await identified(post, PODS)).subnet_id == PODS


@pytest.mark.parametrize(
    ("rules", "labels", "spec", "instead"),
    [
        ((), {}, None, "there is none"),
        (RULES, {}, None, "there is none"),
        (RULES, {"pool": "red"}, None, f"it is {OTHERS}"),
        (RULES, {"pool": "blue"}, OTHERS, f"it is {OTHERS}"),
        ((), {}, "/no/subnet", "there is none"),
    ],
)
async def test_what_nobody_chose_is_refused_in_words_and_nothing_is_asked_of_azure(
    cluster: FakeCluster,
    machines: FakeMachines,
    post: OperationClient,
    rules: Any,
    labels: dict[str, str],
    spec: Any,
    instead: str,
) -> None:
    cluster.labels["vm1"] = labels
    choose(cluster, spec)
    async with controller(cluster, machines, rules):
        for operation in (identified, read):
            with pytest.raises(AccessDenied, match=BY_NOBODY + instead):
                await operation(post, PODS)
        assert machines.asked == 0
        assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1


async def test_a_pool_that_stays_because_pods_run_may_stay_for_the_next_controller_too(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    choose(cluster, PODS)
    async with controller(cluster, machines):
        await identified(post, PODS)
    choose(cluster, None)
    async with controller(cluster, machines):
        assert (await read(post, PODS)).prefixes


async def test_it_may_be_claimed_while_the_node_looks_at_the_nic_that_is_wanted_next(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    """A pod came meanwhile that has an address of the NIC of before."""
    choose(cluster, PODS)
    async with controller(cluster, machines):
        await identified(post, PODS)
        choose(cluster, OTHERS)
        await identified(post, OTHERS)
        assert (await read(post, PODS)).prefixes


async def test_a_pool_that_was_deleted_stays_where_it_was_chosen_to_be(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    """For as long as this controller leads; the next one wants the spec to say it again."""
    choose(cluster, PODS)
    async with controller(cluster, machines):
        await identified(post, PODS)
        cluster.pools.delete("vm1")
        granted(cluster, "vm1")
        assert (await read(post, PODS)).prefixes
    cluster.pools.delete("vm1")
    granted(cluster, "vm1")
    async with controller(cluster, machines):
        with pytest.raises(AccessDenied, match=BY_NOBODY):
            await read(post, PODS)
        choose(cluster, PODS)
        assert (await read(post, PODS)).prefixes


async def test_what_its_agent_writes_of_itself_is_no_choice(
    cluster: FakeCluster, machines: FakeMachines, post: OperationClient
) -> None:
    cluster.pools.patch("vm1", {"status": {"subnetID": PODS, "nodeIP": "10.240.0.4"}})
    async with controller(cluster, machines):
        with pytest.raises(AccessDenied, match=BY_NOBODY):
            await identified(post, PODS)
