"""Objects of the Kubernetes API as hands, old definitions and bugs leave them: nobody's work ends by one of them.

Seeded and bounded, in `make test`; `ODD_OBJECTS=N` multiplies the counts. Each test prints how many it tried.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from azure_cni.api import nic_operation, nic_operation_codec, operation_result_codec, vnet_quota
from azure_cni.api.conditions import QuotaKind
from azure_cni.api.node_ip_pool import parse
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.errors import AzureCniError
from azure_cni.ipam.grants import QuotaEntry, decide
from azure_cni.node.pods.demand import Demand, pod_of
from azure_cni.node.pool.taint import has_taint, with_taint
from azure_cni.quota import ledger_changes, quota_status
from azure_cni.quota.messages import NOTHING
from fakes.cluster import VNET, FakeCluster, FakeLease
from fakes.machines import FakeMachines
from fakes.simulated_node import SimulatedNode, pod_body
from property.mutations import mutated
from unit.cluster.test_election import Candidate
from unit.cluster.worlds import SimulatedCluster

TIMES = int(os.environ.get("ODD_OBJECTS", "1"))
NOW = "2026-11-24T12:00:00Z"
VM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"
NIC = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/vm1-nic"

CONDITION = {
    "type": "Ready", "status": "True", "reason": "PodsCanStart", "message": "8 addresses are free",
    "lastTransitionTime": NOW, "observedGeneration": 1,
}  # fmt: skip
POOL: dict[str, Any] = {
    "apiVersion": "azure-cni.io/v1alpha1",
    "kind": "NodeIPPool",
    "metadata": {"name": "vm1", "uid": "u-1", "resourceVersion": "7", "generation": 1, "labels": {"a": "b"}},
    "spec": {"minFree": 8, "maxFree": 24, "batch": 16, "max": 250, "mode": "transparent", "paused": False},
    "status": {
        "vmID": "v-1", "nicID": NIC, "subnetID": f"{VNET}/subnets/nodes", "vnetID": VNET,
        "macAddress": "00:0d:3a:00:00:04", "primaryIP": "10.240.0.4",
        "requested": 16, "requestID": 12, "writeIntent": "Grow", "waiting": 2,
        "granted": 16, "grantedFor": 12, "grantReason": "", "grantMessage": "",
        "grantNotBefore": "2026-11-01T10:00:30Z",
        "allocated": 16, "assigned": 8, "free": 8, "cooling": 0, "target": 16,
        "vnetAddresses": ["10.240.0.5 azure-cni-00000001"],
        "throttledUntil": NOW,
        "nicOperation": {"id": 3, "kind": "read", "vm": VM, "vmID": "v-1", "macs": [], "nic": NIC},
        "nicOperationResult": {"id": 2, "identity": {"vmId": "v-1", "vm": VM, "nic": NIC, "subnet": "s", "vnet": VNET,
                                         "mac": "00:0d:3a:00:00:04", "primaryIp": "10.240.0.4"}},
        "lastWrite": {"time": NOW, "reason": "1 pod waits", "added": 16, "removed": 0, "result": "Succeeded",
                      "etag": "W/1"},
        "conditions": [CONDITION], "observedGeneration": 1,
    },
}  # fmt: skip
QUOTA: dict[str, Any] = {
    "metadata": {"name": "vnet", "uid": "q-1", "resourceVersion": "9", "generation": 1},
    "spec": {"vnetID": VNET, "limit": 1000, "perNodeLimit": 250, "writesPerMinute": 100, "reserved": 0},
    "status": {
        "grants": {"vm1": {"count": 16, "requestID": 12, "nic": "g/vm1-nic"}, "vm2": {"count": 1, "requestID": 1}},
        "granted": 17, "assigned": 8, "nodes": 2,
        "azure": {"used": 30, "outside": 4, "readTime": NOW},
        "budget": {"tokens": 4.5, "time": "2026-11-24T12:00:00.000000Z", "pace": 1.0},
        "throttledUntil": NOW,
        "conditions": [{**CONDITION, "type": "Exhausted", "status": "False"}], "observedGeneration": 1,
    },
}  # fmt: skip
NODE: dict[str, Any] = {
    "metadata": {"name": "vm1", "uid": "n-1", "resourceVersion": "5"},
    "spec": {"providerID": f"azure://{VM}", "taints": [{"key": "dedicated", "value": "a", "effect": "NoSchedule"}]},
    "status": {"nodeInfo": {"containerRuntimeVersion": "containerd://2.1.0"}},
}
LEASE: dict[str, Any] = {
    "metadata": {"name": "azure-cni-controller", "uid": "l-1", "resourceVersion": "3"},
    "spec": {"holderIdentity": "pod_1", "leaseDurationSeconds": 15, "renewTime": NOW, "acquireTime": NOW,
             "leaseTransitions": 4},
}  # fmt: skip


def odd(document: dict[str, Any], chance: Random, *, kept: bool = False) -> tuple[dict[str, Any], str]:
    """An odd version of an object, and which of its fields are odd; `kept`: what the API server itself makes is not."""
    body = mutated(document, chance)
    body = body if isinstance(body, dict) else {}
    if kept:
        known, metadata = document["metadata"], body.get("metadata")
        own = {key: known[key] for key in ("name", "uid", "resourceVersion") if key in known}
        body["metadata"] = {**(metadata if isinstance(metadata, dict) else {}), **own}
    return body, ", ".join(differences(document, body))


def differences(one: Any, other: Any, at: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{at}.{key}")
    elif one != other:
        yield f"{at} = {str(other)[:60]!r}"


def index_takes(body: dict[str, Any]) -> None:
    node_index = NodeIndex()
    node_index.see(parse(body), now_s=0.0)
    for node in node_index:
        decide(node.view, QuotaEntry(4, 2), ceiling=100)
        list(ledger_changes.corrections(vnet_quota.parse(QUOTA), [node], {}))


def pool_reads(body: dict[str, Any]) -> None:
    pool = parse(body)
    seen = pool.view
    assert 0 <= seen.request.number <= 2**53 - 1
    assert max(seen.request.count, seen.allocated, seen.granted) <= 256
    started = pool.last_request(vm_id="v-1")
    assert 0 <= started.number + 2**20 <= 2**53 - 1
    answers = (
        operation_result_codec.read_identified,
        operation_result_codec.read_used_grant,
        operation_result_codec.read_challenge,
        operation_result_codec.read_pod_subnet,
    )
    for read in (nic_operation.last_number, nic_operation.pending, *answers):
        read(pool)
    pool.spec_overrides()


def order_reads(body: dict[str, Any]) -> None:
    status = body.get("status")
    if isinstance(status, dict):
        nic_operation_codec.read_operation(status.get("nicOperation"))
        operation_result_codec.read_result(status.get("nicOperationResult"))


def quota_reads(body: dict[str, Any]) -> None:
    quota = vnet_quota.parse(body)
    fields = quota_status.status_fields(quota, [], silence=NOTHING, now_s=1_800_000_000.0)
    assert fields["granted"] == quota.granted <= 250 * 8192
    if quota.tokens:
        vnet_quota.tokens_document(quota.tokens, capacity=5.0)
    quota.holds(QuotaKind.EXHAUSTED)
    quota_status.is_due(quota, vnet_quota.Draft(fields=fields), calm=True)


def node_reads(body: dict[str, Any]) -> None:
    has_taint(body)
    with_taint(body, tainted=True)


def pod_reads(body: dict[str, Any]) -> None:
    pod_of(body)
    demand = Demand()
    demand.observe_pod(body)
    demand.replace([body, pod_body("good")])
    assert demand.pod("default", "good") is not None


@pytest.mark.parametrize(
    ("document", "read", "count"),
    [
        (POOL, pool_reads, 6000),
        (POOL, index_takes, 3000),
        (POOL, order_reads, 3000),
        (QUOTA, quota_reads, 6000),
        (NODE, node_reads, 2000),
        (pod_body("p", ip="10.240.0.5"), pod_reads, 2000),
    ],
    ids=["pools", "records", "operations", "quotas", "nodes", "pods"],
)
def test_an_odd_object_is_read_or_refused_in_words(
    document: dict[str, Any], read: Callable[[dict[str, Any]], None], count: int
):
    chance, refusals = Random(20261128), []
    for _ in range(count * TIMES):
        body, change = odd(document, chance)
        try:
            read(body)
        except AzureCniError as error:
            refusals.append(str(error))
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}, for: {change}") from error
    assert all(refusals)
    print(f"\n  {read.__name__}: {count * TIMES:,} odd objects, {len(refusals):,} refused in words, 0 other exceptions")


def faults_of(reported: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [one for one in reported if one[0] == "internal_error"]


@pytest.mark.looptime
async def test_an_agent_goes_on_whatever_its_pool_shows():
    chance, count = Random(1), 150 * TIMES
    async with SimulatedNode().running() as node:
        await node.until(lambda: node.counts.free == 16)
        for number in range(count):
            assert node.pools.pool is not None
            before = copy.deepcopy(node.pools.pool)
            body, change = odd({**POOL, **before}, chance, kept=True)
            body["metadata"]["resourceVersion"] = str(10**6 + 1000 * number)
            node.pools.pool = body
            node.reconciler.pool_seen(parse(body))
            node.reconciler.pool_seen(node.pools.shown())
            await asyncio.sleep(3)
            node.pools.pool = before | {
                "metadata": {**before["metadata"], "resourceVersion": f"{10**6 + 1000 * number + 500}"}
            }
            node.reconciler.pool_seen(node.pools.shown())
            await asyncio.sleep(8)
            assert faults_of(node.observer.recorded) == [], change
        await node.add("p")
        await node.until(lambda: node.condition("Ready")["status"] == "True", within_s=300)
    print(f"\n  a running agent: {count:,} odd versions of its pool, 0 faults, 0 dead tasks")


async def starts_and_serves(first: SimulatedNode, change: str) -> None:
    node = SimulatedNode(before=first)
    async with node.running():
        await node.until(lambda: node.state.ready and node.reconciler.pool_known.is_set(), within_s=60)
        await node.add("p")
        await node.delete("p")
        await asyncio.sleep(20)
        assert faults_of(node.observer.recorded) == [], change
        assert 0 < node.status["requestID"] < 2**53, change


@pytest.mark.looptime
async def test_an_agent_that_starts_on_an_odd_pool_comes_to_serve():
    chance, count = Random(2), 80 * TIMES
    async with SimulatedNode().running() as first:
        await first.until(lambda: first.counts.free == 16)
        await asyncio.sleep(10)
    good = copy.deepcopy(first.pools.pool)
    assert good is not None
    for _ in range(count):
        first.pools.pool, change = odd(good, chance, kept=True)
        await starts_and_serves(first, change)
    print(f"\n  agents: {count:,} starts on an odd pool, all serve, 0 faults")


@pytest.mark.looptime
async def test_one_nodes_odd_pool_keeps_no_other_node_from_its_grant_or_its_operations():
    chance, count = Random(3), 120 * TIMES
    world = SimulatedCluster(reclaim_s=30)
    async with world.controller(machines=FakeMachines("odd", "good")):
        world.cluster.node("odd", requested=4)
        for number in range(count):
            world.cluster.node("good", requested=1 + number % 16, number=number + 1)
            body, change = odd(
                {**POOL, "metadata": world.cluster.pools.objects["odd"]["metadata"]},
                chance,
                kept=True,
            )
            world.cluster.pools.replace("odd", body)
            await world.until(lambda number=number: world.cluster.granted_of("good")[1] == number + 1, within_s=90)
            assert faults_of(world.observer.recorded) == [], change
    print(f"\n  a controller: {count:,} odd pools of one node, each request of the other answered, 0 faults")


@pytest.mark.looptime
async def test_one_odd_quota_keeps_no_other_vnet_from_its_grants():
    chance, count = Random(4), 100 * TIMES
    world, other = SimulatedCluster(reclaim_s=30), f"{VNET}-two"
    world.cluster.quotas.watchers.clear()  # it judges sums, of quotas that have some
    async with world.controller():
        world.cluster.node("odd", requested=4, vnetID=other)
        await world.until(lambda: "vnet-two" in world.cluster.quotas.objects)
        good = copy.deepcopy(world.cluster.quotas.objects["vnet-two"])
        for number in range(count):
            world.cluster.node("good", requested=1 + number % 16, number=number + 1)
            body = {"spec": {**QUOTA["spec"], "vnetID": other}, "status": QUOTA["status"], "metadata": good["metadata"]}
            body, change = odd(body, chance, kept=True)
            world.cluster.quotas.replace("vnet-two", body)
            await world.until(lambda number=number: world.cluster.granted_of("good")[1] == number + 1, within_s=90)
            assert faults_of(world.observer.recorded) == [], change
    print(f"\n  a controller: {count:,} odd quotas of one VNet, each request in the other answered, 0 faults")


@pytest.mark.looptime
async def test_an_odd_lease_is_taken_in_the_end():
    chance, count = Random(5), 60 * TIMES
    for _ in range(count):
        cluster = FakeCluster()
        cluster.leases.create(FakeLease.NAME, {"spec": {}})
        body, change = odd(
            {**LEASE, "metadata": cluster.leases.objects[FakeLease.NAME]["metadata"]},
            chance,
            kept=True,
        )
        cluster.leases.replace(FakeLease.NAME, body)
        async with Candidate(cluster, "a").running() as candidate:
            await asyncio.sleep(200)
            assert candidate.works, change
    print(f"\n  candidates: {count:,} odd leases, all taken within 200 s")
