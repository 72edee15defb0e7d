"""The controller's ports to Kubernetes' objects: one suite for the memory that unit tests use, and for the client."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from azure_cni.api.node_ip_pool import UNREAD
from azure_cni.api.quota_usage import AzureUse, azure_document
from azure_cni.api.vnet_quota import (
    Draft,
    LedgerEntry,
    Limits,
    Tokens,
    VNetQuota,
    tokens_document,
)
from azure_cni.cluster.ports import MemberPools, Nodes, Quotas
from azure_cni.errors import KubeConflict, KubeInvalid, KubeNotFound
from azure_cni.kube.client import KubeClient
from azure_cni.kube.nodes import KubeMemberNodes
from azure_cni.kube.pools import COLLECTION, GROUP_VERSION, KubeMemberPools
from azure_cni.kube.quotas import QUOTAS, KubeQuotas
from azure_cni.model.nic import VNetID
from contract.kube_world import MEMORY, Place
from fakes.cluster import FakeCluster, FakeMemberNodes, FakeMemberPools, FakeQuotas

VNET = VNetID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/Prod")
LIMITS = Limits(limit=40, per_node=30, writes_per_minute=60, reserved=2)


@dataclass
class QuotasUnderTest:
    quotas: Quotas
    pools: MemberPools
    nodes: Nodes
    name: str
    cluster: FakeCluster | None = None
    client: KubeClient | None = None

    async def make(self) -> VNetQuota:
        return await self.quotas.create(self.name, vnet_id=VNET, limits=LIMITS)

    async def make_pool(self, name: str) -> None:
        if self.client is None:
            assert self.cluster is not None
            self.cluster.pools.create(name, {"spec": {}})
        else:
            body = {"apiVersion": GROUP_VERSION, "kind": "NodeIPPool", "metadata": {"name": name}, "spec": {}}
            await self.client.create(COLLECTION, body)

    async def judge_node(self, name: str, ready: str) -> None:
        """The kubelet says that it is ready or not, or nobody has heard from it."""
        if self.client is None:
            assert self.cluster is not None
            self.cluster.silent = self.cluster.silent | {name} if ready == "Unknown" else self.cluster.silent - {name}
        else:
            status = {"conditions": [{"type": "Ready", "status": ready}]}
            await self.client.merge_patch(f"/api/v1/nodes/{name}/status", {"status": status})

    async def make_node(self, name: str, *, provider_id: str, **labels: str) -> None:
        if self.client is None:
            assert self.cluster is not None
            self.cluster.provider_ids[name], self.cluster.labels[name] = provider_id, labels
        else:
            spec = {"providerID": provider_id} if provider_id else {}
            await self.client.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}, "spec": spec})

    async def edit_limit(self, limit: int) -> None:
        if self.client is None:
            assert self.cluster is not None
            self.cluster.edit_quota(self.name, limit=limit)
        else:
            await self.client.merge_patch(f"{QUOTAS}/{self.name}", {"spec": {"limit": limit}})


@pytest.fixture
async def world(place: Place) -> AsyncIterator[QuotasUnderTest]:
    name = f"contract-{uuid.uuid4().hex[:8]}"
    if place == MEMORY:
        cluster = FakeCluster()
        yield QuotasUnderTest(
            FakeQuotas(cluster), FakeMemberPools(cluster), FakeMemberNodes(cluster), name, cluster=cluster
        )
        return
    async with place.endpoint() as endpoint, KubeClient(endpoint) as client:
        yield QuotasUnderTest(KubeQuotas(client), KubeMemberPools(client), KubeMemberNodes(client), name, client=client)


async def test_a_new_quota_has_its_limits_and_no_ledger(world: QuotasUnderTest) -> None:
    assert await world.quotas.read(world.name) is None
    quota = await world.make()
    assert (quota.vnet_id, quota.limits) == (VNET, LIMITS)
    assert (quota.is_new, quota.granted, quota.grantable) == (True, 0, 38)
    assert world.name in [one.name for one in await world.quotas.list()]


async def test_it_is_made_once(world: QuotasUnderTest) -> None:
    await world.make()
    with pytest.raises(KubeConflict):
        await world.make()


async def test_it_goes_only_as_it_was_seen(world: QuotasUnderTest) -> None:
    seen = await world.make()
    assert seen.is_untouched
    newer = await world.quotas.write(seen, Draft(fields={"granted": 0}))
    with pytest.raises(KubeConflict):
        await world.quotas.delete(seen)
    await world.quotas.delete(newer)
    assert await world.quotas.read(world.name) is None
    with pytest.raises(KubeNotFound):
        await world.quotas.delete(newer)


async def test_one_that_people_edit_is_no_longer_untouched(world: QuotasUnderTest) -> None:
    await world.make()
    await world.edit_limit(50)
    quota = await world.quotas.read(world.name)
    assert quota is not None
    assert not quota.is_untouched


async def test_a_draft_changes_what_it_names_and_nothing_else(world: QuotasUnderTest) -> None:
    quota = await world.make()
    first = {"a": LedgerEntry(16, 3, "g/a-nic"), "b": LedgerEntry(8, 1, "g/b-nic")}
    quota = await world.quotas.write(quota, Draft(entries=first, fields={"granted": 24}))
    changed = {"a": LedgerEntry(20, 4, "g/a-nic"), "b": None}
    quota = await world.quotas.write(quota, Draft(entries=changed))
    assert quota.entries == {"a": LedgerEntry(20, 4, "g/a-nic")}
    assert quota.status["granted"] == 24
    assert not quota.is_new
    assert await world.quotas.read(world.name) == quota


async def test_an_entry_that_moves_leaves_nothing_of_the_one_before(world: QuotasUnderTest) -> None:
    quota = await world.quotas.write(await world.make(), Draft(entries={"a": LedgerEntry(16, 3, "g/old")}))
    moved = {"a": LedgerEntry(4, 1, "g/new"), "a~old": LedgerEntry(16, 3, "g/old")}
    quota = await world.quotas.write(quota, Draft(entries=moved))
    assert quota.entries == moved


async def test_an_empty_ledger_is_a_ledger(world: QuotasUnderTest) -> None:
    quota = await world.quotas.write(await world.make(), Draft(entries={"a": LedgerEntry(1, 1, "g/a")}))
    quota = await world.quotas.write(quota, Draft(entries={"a": None}))
    assert quota.entries == {}
    assert not quota.is_new


async def test_tokens_and_azures_use_come_back_as_written(world: QuotasUnderTest) -> None:
    tokens, use = Tokens(2.5, 1_800_000_000.25, 0.5), AzureUse(120, 7, 1_800_000_000.0)
    fields = {"budget": tokens_document(tokens, capacity=5.0), "azure": azure_document(use)}
    quota = await world.quotas.write(await world.make(), Draft(fields=fields))
    assert (quota.tokens, quota.azure) == (tokens, use)
    assert quota.grantable == 40 - 2 - 7


async def test_a_write_is_a_compare_and_swap(world: QuotasUnderTest) -> None:
    seen = await world.make()
    await world.quotas.write(seen, Draft(entries={"a": LedgerEntry(1, 1)}))
    with pytest.raises(KubeConflict):
        await world.quotas.write(seen, Draft(entries={"b": LedgerEntry(1, 1)}))


async def test_a_sum_over_the_limit_is_refused(world: QuotasUnderTest) -> None:
    quota = await world.quotas.write(await world.make(), Draft(entries={"a": LedgerEntry(30, 1)}))
    with pytest.raises(KubeInvalid, match="40"):
        await world.quotas.write(quota, Draft(entries={"b": LedgerEntry(11, 1)}))
    await world.quotas.write(quota, Draft(entries={"b": LedgerEntry(10, 1)}))


async def test_a_limit_below_what_is_granted_is_refused(world: QuotasUnderTest) -> None:
    await world.quotas.write(await world.make(), Draft(entries={"a": LedgerEntry(30, 1)}))
    with pytest.raises(KubeInvalid):
        await world.edit_limit(29)
    await world.edit_limit(30)


async def test_an_entry_over_what_one_node_may_hold_is_refused(world: QuotasUnderTest) -> None:
    quota = await world.make()
    await world.edit_limit(1000)
    quota = await world.quotas.read(world.name) or quota
    with pytest.raises(KubeInvalid, match="250"):
        await world.quotas.write(quota, Draft(entries={"a": LedgerEntry(251, 1)}))


async def test_a_write_to_a_quota_that_is_gone_says_so(world: QuotasUnderTest) -> None:
    seen = replace(await world.make(), name=f"{world.name}-gone")
    with pytest.raises(KubeNotFound):
        await world.quotas.write(seen, Draft(fields={"granted": 0}))


async def test_pools_are_walked_and_answered_by_compare_and_swap(world: QuotasUnderTest) -> None:
    names = [world.name, f"{world.name}-b"]
    assert await world.pools.read(world.name) is None
    for name in names:
        await world.make_pool(name)
    walked = {pool.name: pool async for pool in world.pools.walk()}
    assert walked.keys() >= set(names)
    version = walked[world.name].version.number
    answered = await world.pools.write(world.name, version=version, status={"granted": 8, "grantedFor": 1})
    assert answered.status == {"granted": 8, "grantedFor": 1}
    with pytest.raises(KubeConflict):
        await world.pools.write(world.name, version=version, status={"granted": 9})
    removed = await world.pools.write(world.name, version=answered.version.number, status={"grantedFor": None})
    assert removed.status == {"granted": 8}
    assert (await world.pools.read(world.name) or UNREAD).status == {"granted": 8}


async def test_a_write_that_changes_nothing_still_needs_the_newest_version(world: QuotasUnderTest) -> None:
    await world.make_pool(world.name)
    first = await world.pools.read(world.name) or UNREAD
    version = first.version.number
    second = await world.pools.write(world.name, version=version, status={"granted": 8})
    with pytest.raises(KubeConflict):
        await world.pools.write(world.name, version=version, status={"granted": 8})
    same = await world.pools.write(world.name, version=second.version.number, status={"granted": 8})
    assert same.version == second.version


async def test_a_write_to_a_pool_that_is_gone_says_so(world: QuotasUnderTest) -> None:
    with pytest.raises(KubeNotFound):
        await world.pools.write(world.name, version="1", status={"granted": 8})


async def test_a_node_says_which_machine_it_is_or_nothing(world: QuotasUnderTest) -> None:
    assert await world.nodes.provider_id(world.name) == ""
    await world.make_node(world.name, provider_id="azure:///subscriptions/s/x")
    await world.make_node(f"{world.name}-b", provider_id="")
    assert await world.nodes.provider_id(world.name) == "azure:///subscriptions/s/x"
    assert await world.nodes.provider_id(f"{world.name}-b") == ""


async def test_a_node_has_its_labels_or_none(world: QuotasUnderTest) -> None:
    assert await world.nodes.labels(world.name) == {}
    await world.make_node(world.name, provider_id="", pool="blue")
    assert (await world.nodes.labels(world.name))["pool"] == "blue"


async def test_a_node_is_silent_when_nobody_hears_from_its_kubelet_and_not_when_that_says_no(
    world: QuotasUnderTest,
) -> None:
    assert not await world.nodes.is_silent(world.name)
    await world.make_node(world.name, provider_id="")
    assert not await world.nodes.is_silent(world.name)
    for ready, silent in (("True", False), ("False", False), ("Unknown", True), ("True", False)):
        await world.judge_node(world.name, ready)
        assert await world.nodes.is_silent(world.name) is silent
