"""NIC operations through a real client, on the small API server and on a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from azure_cni.api.nic_operation import Identify, ReadVNet
from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.vnet_quota import LedgerEntry, nic_label
from azure_cni.cluster.operation_executor import OperationExecutor
from azure_cni.cluster.pod_subnet_claims import PodSubnetClaims
from azure_cni.cluster.possession import Required
from azure_cni.cluster.quota_cache import KnownReservations
from azure_cni.cluster.vm_claims import VMClaims
from azure_cni.errors import AccessDenied, NotAttested
from azure_cni.kube.delegated_nic import DelegatedNic, OperationClient
from azure_cni.kube.nodes import KubeMemberNodes
from azure_cni.kube.pools import KubeMemberPools
from azure_cni.model.identity import IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.nic import NicView
from contract.kube_world import Place, open_world
from fakes.attestations import FakeAttestations, attesting
from fakes.cluster import FakeCluster, FakeQuotas
from fakes.delegation import UNPACED, reserve
from fakes.faults import NO_FAULTS
from fakes.machines import FakeMachines, identity_of

VM1 = identity_of("vm1")
CLAIM = IdentityClaim(VM1.vm_id, VM1.vm_resource_id, macs=(VM1.mac,))


@pytest.fixture
async def post(server: Place) -> AsyncIterator[OperationClient]:
    """An agent and a controller; both see each version of the pool soon."""
    async with open_world(server) as world:
        assert world.client is not None
        pool = await world.pools.create(await world.node.read_node())
        grant = {"requested": 250, "requestID": 1, "granted": 250, "grantedFor": 1}
        await world.pools.patch_status(pool, grant)
        opened, ledgers = OperationClient(world.pools, attest=attesting("vm1")), FakeCluster()
        reserve(ledgers, world.node_name, LedgerEntry(250, 1, nic_label(VM1.nic_id), write_intent=WriteIntent.GROW))
        machines = FakeMachines("vm1")
        claims = VMClaims(
            nodes=KubeMemberNodes(world.client),
            machines=machines,
            attestations=FakeAttestations(),
            required=Required.ALWAYS,
        )
        executor = OperationExecutor(
            pools=KubeMemberPools(world.client),
            reservations=KnownReservations(FakeQuotas(ledgers), known=lambda _: None),
            machines=machines,
            claims=claims,
            pod_subnets=PodSubnetClaims(nodes=KubeMemberNodes(world.client)),
            faults=NO_FAULTS,
            pace=UNPACED,
        )

        async def watch() -> None:
            while True:
                seen = await world.pools.read()
                opened.see(seen)
                executor.see(seen)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(watch()), asyncio.create_task(executor.run())]
        yield opened
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome


async def test_every_kind_of_answer_arrives_whole_over_the_one_before(post: OperationClient) -> None:
    assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1
    assert (await post.request(ReadVNet(CLAIM, VM1.vnet_id), VNetView, what="x")).prefixes
    nic = DelegatedNic(VM1, post)
    full: NicView = await nic.write(await nic.read(), add=250)
    assert len(full.secondaries) == 250
    with pytest.raises(AccessDenied, match="already"):
        await nic.write(full, remove=[full.secondaries[0].name])
    with pytest.raises(NotAttested, match="is of VM guid-of-vm1, and the node claims other"):
        await post.request(Identify(IdentityClaim("other", VM1.vm_resource_id, macs=())), NodeIdentity, what="x")
    assert await post.request(Identify(CLAIM), NodeIdentity, what="x") == VM1
    assert await nic.read() == full
