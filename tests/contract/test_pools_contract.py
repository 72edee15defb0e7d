"""The pool's port: one suite for the memory that unit tests use, and for the client over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from azure_cni.errors import KubeConflict
from contract.kube_world import Place, PoolsUnderTest, open_world


@pytest.fixture
async def world(place: Place) -> AsyncIterator[PoolsUnderTest]:
    async with open_world(place) as opened:
        yield opened


async def make(world: PoolsUnderTest):
    return await world.pools.create(await world.node.read_node())


async def test_the_node_is_read(world: PoolsUnderTest) -> None:
    node = await world.node.read_node()
    assert node["metadata"]["name"] == world.node_name
    assert node["metadata"]["uid"]


async def test_there_is_no_pool_at_first(world: PoolsUnderTest) -> None:
    assert await world.pools.read() is None
    await make(world)


async def test_a_pool_is_named_as_its_node_and_owned_by_it(world: PoolsUnderTest) -> None:
    node = await world.node.read_node()
    assert (await world.pools.create(node)).name == world.node_name
    pool = await world.raw()
    owner = pool["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Node", world.node_name, node["metadata"]["uid"])
    assert pool["kind"] == "NodeIPPool"


async def test_creating_again_gives_the_one_that_exists(world: PoolsUnderTest) -> None:
    first = await make(world)
    await world.edit_spec(minFree=4)
    second = await make(world)
    assert second.version.uid == first.version.uid
    assert second.spec_overrides() == {"min_free": 4}


async def test_a_status_patch_merges_and_none_removes(world: PoolsUnderTest) -> None:
    pool = await make(world)
    addresses = [f"10.240.0.{last} azure-cni-{last}" for last in (5, 6)]
    await world.pools.patch_status(pool, {"allocated": 2, "free": 2, "vnetAddresses": addresses})
    pool = await world.pools.patch_status(pool, {"free": None, "vnetAddresses": addresses[:1]})
    assert pool.status == {"allocated": 2, "vnetAddresses": addresses[:1]}
    assert (await world.pools.read()).status == pool.status


async def test_a_status_patch_leaves_peoples_edits_alone(world: PoolsUnderTest) -> None:
    seen = await make(world)
    await world.edit_spec(minFree=4)
    pool = await world.pools.patch_status(seen, {"allocated": 16})
    assert pool.spec_overrides() == {"min_free": 4}


async def test_a_guarded_patch_is_a_compare_and_swap(world: PoolsUnderTest) -> None:
    seen = await make(world)
    newer = await world.pools.patch_status(seen, {"requested": 16})
    with pytest.raises(KubeConflict):
        await world.pools.patch_status(seen, {"requested": 32}, guarded=True)
    pool = await world.pools.patch_status(newer, {"requested": 32}, guarded=True)
    assert pool.view.request.count == 32


async def test_a_patch_that_changes_nothing_is_not_a_new_version(world: PoolsUnderTest) -> None:
    first = await world.pools.patch_status(await make(world), {"allocated": 16})
    second = await world.pools.patch_status(first, {"allocated": 16})
    assert second.version == first.version
