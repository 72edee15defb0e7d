"""The lease's port: one suite for the memory that unit tests use, and for the client over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from azure_cni.cluster.ports import Leases
from azure_cni.errors import KubeConflict
from azure_cni.kube.client import KubeClient
from azure_cni.kube.lease import KubeLease
from contract.kube_world import MEMORY, Place
from fakes.cluster import FakeCluster, FakeLease

SPEC = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-11-24T09:00:00.000000Z"}


@pytest.fixture
async def lease(place: Place) -> AsyncIterator[Leases]:
    if place == MEMORY:
        yield FakeLease(FakeCluster())
        return
    name = f"contract-{uuid.uuid4().hex[:8]}"
    async with place.endpoint() as endpoint, KubeClient(endpoint) as client:
        yield KubeLease(client, namespace="kube-system", name=name)


async def test_there_is_none_at_first(lease: Leases) -> None:
    assert await lease.read() is None


async def test_it_is_made_once(lease: Leases) -> None:
    made = await lease.create(SPEC)
    assert made["spec"] == SPEC
    with pytest.raises(KubeConflict):
        await lease.create({**SPEC, "holderIdentity": "b"})
    assert (await lease.read() or {})["spec"]["holderIdentity"] == "a"


async def test_a_change_is_a_compare_and_swap_that_leaves_the_rest(lease: Leases) -> None:
    made = await lease.create(SPEC)
    changed = await lease.write(made, {"holderIdentity": "b"})
    assert changed["spec"] == {**SPEC, "holderIdentity": "b"}
    with pytest.raises(KubeConflict):
        await lease.write(made, {"holderIdentity": "c"})


async def test_a_holder_may_be_nobody(lease: Leases) -> None:
    made = await lease.create(SPEC)
    released = await lease.write(made, {"holderIdentity": "", "leaseDurationSeconds": 1})
    assert not released["spec"].get("holderIdentity")
