"""Agents that delegate and controllers that execute, joined by the API server in memory."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from azure_cni.api import vnet_quota
from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.api.vnet_quota import Draft, LedgerEntry, Limits
from azure_cni.cluster import ports
from azure_cni.cluster.node_allowance import Pace
from azure_cni.cluster.operation_executor import OperationExecutor
from azure_cni.cluster.pod_subnet_claims import PodSubnetClaims
from azure_cni.cluster.ports import Machines
from azure_cni.cluster.possession import Required
from azure_cni.cluster.quota_cache import KnownReservations
from azure_cni.cluster.vm_claims import VMClaims
from azure_cni.faults import Faults
from azure_cni.kube.delegated_nic import Attest, OperationClient
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.nic import VNetID
from azure_cni.model.pod_subnets import PodSubnetRule
from fakes.attestations import FakeAttestations, attesting
from fakes.cluster import GROUP_VERSION, VNET, FakeCluster, FakeMemberNodes, FakeMemberPools, FakeQuotas
from fakes.faults import NO_FAULTS

UNPACED = Pace(spacing_s=0.0, refill_s=0.0)


def reserve(cluster: FakeCluster, name: str, entry: LedgerEntry, *, vnet_id: VNetID = VNET) -> None:
    """What a controller has written to the ledger of that VNet for one node, a token included."""
    quota = vnet_quota.quota_name(vnet_id)
    if quota not in cluster.quotas.objects:
        body = vnet_quota.new_body(quota, vnet_id=vnet_id, limits=Limits(), api_version=GROUP_VERSION)
        cluster.quotas.create(quota, body)
    cluster.quotas.patch(quota, {"status": Draft({name: entry}).status()})


class OwnPool:
    """Implements `azure_cni.node.ports.Pools` for one node of the cluster."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self._cluster, self._name = cluster, name

    async def read(self) -> NodeIPPool | None:
        body = await self._cluster.call("own.read", lambda: self._cluster.pools.get(self._name))
        return None if body is None else parse(body)

    async def create(self, node: Mapping[str, Any]) -> NodeIPPool:
        body = {"kind": "NodeIPPool", "spec": {}}
        return parse(await self._cluster.call("own.create", lambda: self._cluster.pools.create(self._name, body)))

    async def patch_status(self, pool: NodeIPPool, status: Mapping[str, Any], *, guarded: bool = False) -> NodeIPPool:
        version = pool.version.number if guarded else None
        patch = copy.deepcopy({"status": dict(status)})
        return parse(
            await self._cluster.call("own.write", lambda: self._cluster.pools.patch(self._name, patch, version=version))
        )


def post_of(
    cluster: FakeCluster, name: str, *, watched: bool = True, attest: Attest | None = None, **patience: float
) -> OperationClient:
    """An agent's side, its watch at work. Without `attest` its VM is the one of its name."""
    post = OperationClient(OwnPool(cluster, name), attest=attest or attesting(name), **patience)

    def see(_: Any, after: dict[str, Any] | None) -> None:
        if after is not None and after["metadata"]["name"] == name:
            post.see(parse(after))

    if watched:
        cluster.pools.watchers.append(see)
    return post


def executor_of(
    cluster: FakeCluster,
    machines: Machines,
    *,
    reservations: ports.Reservations | None = None,
    attestations: ports.Attestations | None = None,
    required: Required = Required.WITHOUT_PROVIDER_ID,
    attachable: frozenset[AttachedResource] = frozenset(),
    rules: Sequence[PodSubnetRule] = (),
    pod_subnets: PodSubnetClaims | None = None,
    faults: Faults = NO_FAULTS,
    pace: Pace = UNPACED,
) -> OperationExecutor:
    """A controller's side."""
    claims = VMClaims(
        nodes=FakeMemberNodes(cluster),
        machines=machines,
        attestations=attestations or FakeAttestations(),
        required=required,
    )
    return OperationExecutor(
        pools=FakeMemberPools(cluster),
        reservations=reservations or KnownReservations(FakeQuotas(cluster), known=lambda _: None),
        machines=machines,
        claims=claims,
        pod_subnets=pod_subnets or PodSubnetClaims(nodes=FakeMemberNodes(cluster), rules=rules),
        attachable=attachable,
        faults=faults,
        pace=pace,
    )


@asynccontextmanager
async def executing(cluster: FakeCluster, machines: Machines, **options: Any) -> AsyncIterator[OperationExecutor]:
    """A controller at work: it sees all pools, as a leader's watch would show them. Options as of `executor_of`."""
    executor = executor_of(cluster, machines, **options)

    def see(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        if after is not None:
            executor.see(parse(after))
        elif before is not None:
            executor.forget(before["metadata"]["name"], before["metadata"]["uid"])

    for body in cluster.pools.objects.values():
        executor.see(parse(body))
    cluster.pools.watchers.append(see)
    task = asyncio.create_task(executor.run())
    try:
        yield executor
        assert not task.done(), task
    finally:
        cluster.pools.watchers.remove(see)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
