"""What the chart's policies refuse of an agent because it has no end, on a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED
from azure_cni.kube.pools import COLLECTION
from contract.admission_world import AS_AGENT, EVENTS, MADE, MERGE, PODS, STRATEGIC, Admission, event, pool

APPLY = {"Content-Type": "application/apply-patch+yaml"}
LONG = "x" * 100_000


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {f"x{number}": "y" for number in range(1000)}},
        {"annotations": {"note": LONG}},
        {"finalizers": ["example.com/mine"]},
        {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": n, "uid": n} for n in ("vm1", "vm2")]},
    ],
    ids=lambda metadata: next(iter(metadata)),
)
async def test_a_new_pool_has_a_name_and_an_owner(admission: Admission, metadata: dict[str, Any]) -> None:
    assert await admission.agent("POST", COLLECTION, pool("vm1", **metadata)) == 403
    owner = {"apiVersion": "v1", "kind": "Node", "name": "vm1", "uid": "1"}
    assert await admission.agent("POST", COLLECTION, pool("vm1", ownerReferences=[owner])) in MADE


async def test_managed_fields_have_an_end_and_nobody_is_refused_for_those_of_others(admission: Admission) -> None:
    """Each server-side apply under a new name adds an entry: without an end, up to the megabyte that etcd takes."""
    assert await admission.agent("POST", COLLECTION, pool("vm1")) in MADE

    async def applied(by: str, headers: dict[str, str]) -> int:
        body = pool("vm1") | {"status": {"waiting": 3}}
        path = f"{COLLECTION}/vm1/status?fieldManager={by}&force=true"
        return await admission.send("PATCH", path, body, APPLY | headers)

    async def written(waiting: int) -> int:
        """As the agent itself does."""
        return await admission.agent("PATCH", f"{COLLECTION}/vm1/status", {"status": {"waiting": waiting}}, MERGE)

    assert await written(4) == 200
    answers = [await applied(f"agent-{number}", AS_AGENT) for number in range(70)]
    assert sorted(set(answers)) == [200, 403]
    assert answers[:25] == [200] * 25
    assert answers[-38:] == [403] * 38
    assert await applied("somebody", {}) == 200
    assert await written(5) == 200


@pytest.mark.parametrize(
    "more",
    [
        {"message": "x" * 1025},
        {"reason": LONG},
        {"action": LONG},
        {"reportingInstance": LONG},
        {"involvedObject": {"kind": "Pod", "name": "web-1", "namespace": "default", "uid": LONG}},
        {"involvedObject": {"kind": "Pod", "name": "web-1", "namespace": "default", "fieldPath": LONG}},
        {"related": {"kind": "Pod", "name": LONG}},
        {"metadata": {"name": "e-1", "namespace": "default", "annotations": {"note": LONG}}},
    ],
    ids=["message", "reason", "action", "reportingInstance", "uid", "fieldPath", "related", "annotations"],
)
async def test_an_event_is_short(admission: Admission, more: dict[str, Any]) -> None:
    assert await admission.agent("POST", EVENTS, event("Pod", "web-1") | more) in {403, 422}
    assert await admission.agent("POST", EVENTS, event("Pod", "web-1") | {"message": "x" * 1024}) in MADE


async def test_a_pods_condition_is_short(admission: Admission) -> None:
    name = await admission.a_pod()

    async def said(reason: str, message: str) -> int:
        condition = {"type": LOAD_BALANCER_ATTACHED, "status": "False", "reason": reason, "message": message}
        body = {"status": {"conditions": [condition]}}
        return await admission.agent("PATCH", f"{PODS}/{name}/status", body, STRATEGIC)

    assert await said("R" * 128, "x" * 2048) == 200
    assert [await said("R" * 129, "x"), await said("R", "x" * 2049)] == [403, 403]
