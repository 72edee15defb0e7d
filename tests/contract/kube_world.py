"""Where the contract of the Kubernetes ports is tried: in memory, on the small API server, and on a real one.

The real one is named by AZURE_CNI_TEST_APISERVER (its URL), AZURE_CNI_TEST_APISERVER_TOKEN (an administrator's) and
AZURE_CNI_TEST_APISERVER_CA (a file), and must hold the NodeIPPool's definition. The end-to-end run sets them.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure_cni.errors import KubeNotFound
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.node import KubeNode
from azure_cni.kube.pools import COLLECTION, KubePools
from fakes.kubeapi import TOKEN, FakeKubeAPI
from fakes.pools import FakePools

REAL = os.environ.get("AZURE_CNI_TEST_APISERVER", "")
WORLDS = ["memory", "http", *(["apiserver"] if REAL else [])]


@dataclass
class World:
    """The ports, and what an administrator may do behind their back."""

    pools: Any
    node: Any
    node_name: str
    client: KubeClient | None = None

    async def edit_spec(self, **fields: Any) -> None:
        if isinstance(self.pools, FakePools):
            self.pools.edit_spec(**fields)
        else:
            assert self.client is not None
            await self.client.merge_patch(f"{COLLECTION}/{self.node_name}", {"spec": fields})


@contextlib.asynccontextmanager
async def open_world(kind: str) -> AsyncIterator[World]:
    """One fresh node without a pool."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    if kind == "memory":
        fake = FakePools(name)
        yield World(fake, fake, name)
        return
    async with open_endpoint(kind) as endpoint, KubeClient(endpoint) as client:
        await client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        try:
            yield World(KubePools(client, node_name=name), KubeNode(client, node_name=name), name, client)
        finally:
            if kind == "apiserver":
                for path in (f"{COLLECTION}/{name}", f"/api/v1/nodes/{name}"):
                    with contextlib.suppress(KubeNotFound):
                        await client._call("DELETE", path)


@contextlib.asynccontextmanager
async def open_endpoint(kind: str, *, api: FakeKubeAPI | None = None) -> AsyncIterator[KubeEndpoint]:
    """`http` (the small server, `api` or a fresh one) or `apiserver`."""
    if kind == "apiserver":
        ca_file = Path(os.environ["AZURE_CNI_TEST_APISERVER_CA"])
        yield KubeEndpoint(REAL, token=os.environ["AZURE_CNI_TEST_APISERVER_TOKEN"], ca_file=ca_file)
        return
    async with (api or FakeKubeAPI()).serve() as url:
        yield KubeEndpoint(url, token=TOKEN)
