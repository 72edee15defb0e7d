"""Where the contract of the Kubernetes ports is tried: in memory, on the small API server, and on a real one.

The fixtures `place` and `server` (conftest) name the places one after the other; the real server is that of the
simulation, with our definitions, started when the first test asks for it.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.nodes import KubeNode
from azure_cni.kube.pools import COLLECTION, KubePools
from fakes.kubeapi import TOKEN, FakeKubeAPI
from fakes.pools import FakePools


@dataclass(frozen=True)
class Place:
    """One of them; `real` is where the real server is, None elsewhere."""

    kind: str
    real: KubeEndpoint | None = None

    @contextlib.asynccontextmanager
    async def endpoint(self, api: FakeKubeAPI | None = None) -> AsyncIterator[KubeEndpoint]:
        """A server: the real one, or the small one, `api` or a fresh one."""
        if self.real is not None:
            yield self.real
            return
        async with (api or FakeKubeAPI()).serve() as url:
            yield KubeEndpoint(url, token=TOKEN)


MEMORY = Place("memory")
HTTP = Place("http")


@dataclass
class PoolsUnderTest:
    """The ports, and what an administrator may do behind their back."""

    pools: Any
    node: Any
    node_name: str
    client: KubeClient | None = None

    async def raw(self) -> Any:
        """The pool object as the API server has it."""
        if isinstance(self.pools, FakePools):
            return self.pools.pool
        assert self.client is not None
        return await self.client.get(f"{COLLECTION}/{self.node_name}")

    async def edit_spec(self, **fields: Any) -> None:
        if isinstance(self.pools, FakePools):
            self.pools.edit_spec(**fields)
        else:
            assert self.client is not None
            await self.client.merge_patch(f"{COLLECTION}/{self.node_name}", {"spec": fields})


@contextlib.asynccontextmanager
async def open_world(place: Place) -> AsyncIterator[PoolsUnderTest]:
    """One fresh node without a pool."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    if place == MEMORY:
        fake = FakePools(name)
        yield PoolsUnderTest(fake, fake, name)
        return
    async with place.endpoint() as endpoint, KubeClient(endpoint) as client:
        await client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        yield PoolsUnderTest(KubePools(client, node_name=name), KubeNode(client, node_name=name), name, client)
