"""Discovery, lists and watches as kopf meets them: the small API server is held to what the real one sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from azure_cni.kube.client import KubeClient
from contract.kube_world import Place
from fakes.kubeapi import PODS, POOLS
from fakes.waiting import PATIENCE_S

DEFAULT_PODS = "/api/v1/namespaces/default/pods"
SPEC = {"containers": [{"name": "c", "image": "i"}]}
Event = tuple[str, str]


@dataclass
class ServedWatches:
    """A server, with pods of names that no other test has."""

    client: KubeClient
    session: aiohttp.ClientSession
    name: str = field(default_factory=lambda: f"contract-{uuid.uuid4().hex[:8]}")

    async def start(self, name: str) -> None:
        metadata = {"name": name, "namespace": "default"}
        await self.client.create(DEFAULT_PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": SPEC})

    async def assign(self, name: str, phase: str) -> None:
        await self.client.merge_patch(f"{DEFAULT_PODS}/{name}/status", {"status": {"phase": phase}})

    async def make_pool(self, name: str) -> dict[str, Any]:
        body = {"apiVersion": "azure-cni.io/v1alpha1", "kind": "NodeIPPool", "metadata": {"name": name}, "spec": {}}
        return await self.client.create(POOLS, body)

    async def version(self) -> str:
        """That of the list, which begins a watch without a gap."""
        return str((await self.client.get(f"{PODS}?limit=1"))["metadata"]["resourceVersion"])

    @contextlib.asynccontextmanager
    async def watch(self, path: str = PODS, **query: str) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
        seen: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        async with self.session.get(path, params={"watch": "true", **query}) as response:
            assert response.status == 200

            async def read() -> None:
                async for line in response.content:
                    seen.put_nowait(json.loads(line))

            task = asyncio.create_task(read())
            try:
                yield seen
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def reported(seen: asyncio.Queue[dict[str, Any]], count: int) -> list[Event]:
    """The next events: what happened, and to which object."""
    async with asyncio.timeout(PATIENCE_S):
        events = [await seen.get() for _ in range(count)]
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


@pytest.fixture
async def world(server: Place) -> AsyncIterator[ServedWatches]:
    async with server.endpoint() as endpoint, KubeClient(endpoint) as client:
        trust = ssl.create_default_context(cafile=endpoint.ca_file)
        async with aiohttp.ClientSession(
            endpoint.url,
            headers={"Authorization": f"Bearer {endpoint.token}"},
            connector=aiohttp.TCPConnector(ssl=trust),
        ) as session:
            yield ServedWatches(client, session)


async def test_our_kinds_are_discovered(world: ServedWatches) -> None:
    found = {
        resource["name"]: (resource["kind"], resource["namespaced"])
        for path in (PODS, POOLS)
        for resource in (await world.client.get(path.rpartition("/")[0]))["resources"]
    }
    assert found["pods"] == ("Pod", True)
    assert found["nodes"] == ("Node", False)
    assert found["nodeippools"] == ("NodeIPPool", False)
    assert "azure-cni.io" in {group["name"] for group in (await world.client.get("/apis"))["groups"]}


async def test_a_watch_shows_each_change_after_its_version_once_and_in_order(world: ServedWatches) -> None:
    since = await world.version()
    names = [f"{world.name}-{number}" for number in range(2)]
    await world.make_pool(names[0])
    async with world.watch(POOLS, resourceVersion=since) as seen:
        made = await world.make_pool(names[1])
        for _ in range(2):  # the second changes nothing, and is no event
            await world.client.merge_patch(f"{POOLS}/{names[0]}/status", {"status": {"allocated": 16}})
        uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
        await world.client.delete(f"{POOLS}/{names[1]}", uid=uid, version=version)
        events = [("ADDED", names[0]), ("ADDED", names[1]), ("MODIFIED", names[0]), ("DELETED", names[1])]
        assert await reported(seen, len(events)) == events
        assert seen.empty()


async def test_a_watch_without_a_version_begins_with_what_there_is(world: ServedWatches) -> None:
    await world.start(world.name)
    async with world.watch(fieldSelector=f"metadata.name={world.name}") as seen:
        await world.assign(world.name, "Running")
        assert await reported(seen, 2) == [("ADDED", world.name), ("MODIFIED", world.name)]


async def test_an_object_that_a_selector_no_longer_takes_is_deleted_for_its_watch(world: ServedWatches) -> None:
    since = await world.version()
    selector = f"metadata.name={world.name},status.phase!=Failed"
    await world.start(f"{world.name}-other")
    await world.start(world.name)
    async with world.watch(resourceVersion=since, fieldSelector=selector) as seen:
        for phase in ("Failed", "Running"):
            await world.assign(world.name, phase)
        assert await reported(seen, 3) == [("ADDED", world.name), ("DELETED", world.name), ("ADDED", world.name)]


async def test_a_list_takes_the_same_selectors(world: ServedWatches) -> None:
    for name in (world.name, f"{world.name}-other"):
        await world.start(name)
    listed = await world.client.get(f"{PODS}?fieldSelector=metadata.name={world.name},status.phase!=Failed")
    assert [item["metadata"]["name"] for item in listed["items"]] == [world.name]


async def test_a_watch_of_a_namespace_leaves_the_others_out(world: ServedWatches) -> None:
    since = await world.version()
    await world.start(world.name)
    async with world.watch(DEFAULT_PODS, resourceVersion=since) as seen:
        assert await reported(seen, 1) == [("ADDED", world.name)]
    async with world.watch("/api/v1/namespaces/kube-system/pods", resourceVersion=since) as seen:
        await world.assign(world.name, "Running")
        await asyncio.sleep(0.2)
        assert seen.empty()


async def test_what_is_not_served_is_not_found(world: ServedWatches) -> None:
    for path in (f"{PODS}s", f"{POOLS}/{world.name}", f"{DEFAULT_PODS}/{world.name}/nothing"):
        async with world.session.get(path) as response:
            assert response.status == 404


async def test_a_token_that_nobody_knows_is_refused(world: ServedWatches) -> None:
    async with world.session.get(PODS, headers={"Authorization": "Bearer stranger"}) as response:
        assert response.status == 401
        assert (await response.json())["reason"] == "Unauthorized"
