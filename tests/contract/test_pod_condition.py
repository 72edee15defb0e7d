"""The condition that an agent writes to pods of its node: the port on both servers, and the policy on the real one."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED, PodCondition, attached_condition
from azure_cni.errors import KubeInvalid, KubeNotFound
from azure_cni.kube.client import KubeClient
from azure_cni.kube.nodes import KubePodConditions
from contract.admission_world import MERGE, STRATEGIC, Admission, pod
from contract.kube_world import Place

NOW = "2026-11-28T12:00:00Z"
OTHER = {"type": "example.com/other", "status": "True"}
DONE = PodCondition(LOAD_BALANCER_ATTACHED, holds=True, reason="Attached", message="done")


@pytest.fixture
async def client(server: Place) -> AsyncIterator[KubeClient]:
    async with server.endpoint() as endpoint, KubeClient(endpoint) as opened:
        yield opened


async def made(client: KubeClient, node: str = "vm1") -> dict[str, Any]:
    """A pod on the node, whose kubelet has written a condition."""
    name = f"web-{uuid.uuid4().hex[:8]}"
    if "/" not in node:
        await _account(client)
    created = await client.create("/api/v1/namespaces/default/pods", pod(name, node=node))
    path = f"/api/v1/namespaces/default/pods/{name}"
    await client.merge_patch(f"{path}/status", {"status": {"conditions": [OTHER]}})
    return {"path": path, "namespace": "default", "name": name, "uid": created["metadata"]["uid"]}


async def _account(client: KubeClient) -> None:
    """What a real server wants of each pod: the namespace's service account."""
    try:
        await client.get("/api/v1/namespaces/default/serviceaccounts/default")
    except KubeNotFound:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        try:
            await client.create("/api/v1/namespaces/default/serviceaccounts", account)
        except KubeNotFound:
            return  # the small server knows none


async def test_a_condition_is_set_and_changed_and_others_stay(client: KubeClient) -> None:
    mine = await made(client)
    port = KubePodConditions(client, utc=lambda: NOW)
    waiting = PodCondition(LOAD_BALANCER_ATTACHED, holds=False, reason="AttachmentPending", message="not yet")
    for condition in (waiting, DONE):
        await port.write(mine, condition)
        status = (await client.get(mine["path"]))["status"]
        assert attached_condition(status) == condition
        assert [it["type"] for it in status["conditions"] if it["type"] == OTHER["type"]] == [OTHER["type"]]
        assert len([it for it in status["conditions"] if it["type"] == LOAD_BALANCER_ATTACHED]) == 1


async def test_a_pod_that_came_again_under_its_name_gets_nothing(client: KubeClient) -> None:
    mine = await made(client)
    with pytest.raises(KubeInvalid):
        await KubePodConditions(client, utc=lambda: NOW).write({**mine, "uid": str(uuid.uuid4())}, DONE)
    assert attached_condition((await client.get(mine["path"]))["status"]) is None


async def test_a_pod_that_is_gone_is_not_found(client: KubeClient) -> None:
    gone = {"namespace": "default", "name": "gone", "uid": "u"}
    with pytest.raises(KubeNotFound):
        await KubePodConditions(client, utc=lambda: NOW).write(gone, DONE)


async def test_an_agent_writes_that_condition_of_its_own_nodes_pods_and_nothing_else(
    apiserver: Place, admission: Admission
) -> None:
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as client:
        mine, others = await made(client), await made(client, "vm2")

        async def patched(path: str, body: dict[str, Any], kind: dict[str, str] = STRATEGIC) -> int:
            return await admission.agent("PATCH", path, body, kind)

        def conditions(*types: str, status: str = "True") -> dict[str, Any]:
            return {"status": {"conditions": [{"type": it, "status": status} for it in types]}}

        assert await patched(f"{mine['path']}/status", conditions(LOAD_BALANCER_ATTACHED)) == 200
        assert await patched(f"{mine['path']}/status", conditions(LOAD_BALANCER_ATTACHED, status="False")) == 200
        refused = [
            (f"{others['path']}/status", conditions(LOAD_BALANCER_ATTACHED), STRATEGIC),
            (f"{mine['path']}/status", conditions(LOAD_BALANCER_ATTACHED, "Ready"), STRATEGIC),
            (f"{mine['path']}/status", conditions(OTHER["type"], status="False"), STRATEGIC),
            (f"{mine['path']}/status", conditions(LOAD_BALANCER_ATTACHED), MERGE),  # takes the others away
            (f"{mine['path']}/status", {"status": {"phase": "Failed"}}, MERGE),
            (f"{mine['path']}/status", {"metadata": {"labels": {"a": "b"}}}, MERGE),
            (mine["path"], {"metadata": {"annotations": {"a": "b"}}}, MERGE),
        ]
        assert [await patched(*it) for it in refused] == [403] * len(refused)
