"""Orders by way of a real client, on the small API server and on a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import NicView
from azure_cni.api.orders import Identify, ReadVNet
from azure_cni.cluster.orders import OrderDesk
from azure_cni.errors import AccessDenied, CloudNotFound
from azure_cni.kube.member_nodes import KubeMemberNodes
from azure_cni.kube.member_pools import KubeMemberPools
from azure_cni.node.ordered import OrderedNic, OrderPost
from contract.kube_world import Place, open_world
from fakes.faults import NO_FAULTS
from fakes.machines import FakeMachines, identity_of

VM1 = identity_of("vm1")
CLAIM = MachineClaim(VM1.vm_id, VM1.vm_resource_id, macs=(VM1.mac,))


@pytest.fixture
async def post(server: Place) -> AsyncIterator[OrderPost]:
    """An agent and a controller; both see each version of the pool soon."""
    async with open_world(server) as world:
        assert world.client is not None
        pool = await world.pools.create(await world.node.read_node())
        grant = {"requested": 250, "requestID": 1, "granted": 250, "grantedFor": 1}
        await world.pools.patch_status(pool, grant)
        opened = OrderPost(world.pools)
        desk = OrderDesk(
            pools=KubeMemberPools(world.client),
            nodes=KubeMemberNodes(world.client),
            machines=FakeMachines("vm1"),
            faults=NO_FAULTS,
            spacing_s=0.0,
        )

        async def watch() -> None:
            while True:
                body = await world.pools.read()
                opened.see(body)
                desk.see(body)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(watch()), asyncio.create_task(desk.run())]
        yield opened
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome


async def test_every_kind_of_answer_arrives_whole_over_the_one_before(post: OrderPost) -> None:
    assert await post.ask(Identify(CLAIM), NodeIdentity, what="x") == VM1
    assert (await post.ask(ReadVNet(CLAIM, VM1.vnet_id), VNetView, what="x")).prefixes
    nic = OrderedNic(VM1, post)
    full: NicView = await nic.write(await nic.read(), add=250)
    assert len(full.secondaries) == 250
    with pytest.raises(AccessDenied, match="already"):
        await nic.write(full, remove=[full.secondaries[0].name])
    with pytest.raises(CloudNotFound):
        await post.ask(Identify(MachineClaim("other", VM1.vm_resource_id, macs=())), NodeIdentity, what="x")
    assert await post.ask(Identify(CLAIM), NodeIdentity, what="x") == VM1
    assert await nic.read() == full
