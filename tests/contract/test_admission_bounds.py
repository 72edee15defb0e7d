"""What the chart's policies refuse of an agent because it has no end, on a real API server."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator, Collection
from typing import Any

import aiohttp
import pytest

from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED
from azure_cni.kube.pools import COLLECTION, GROUP_VERSION
from contract.kube_world import Place
from contract.test_admission_events import ADMISSION, AS_AGENT, MAY_ALL, event
from contract.test_pod_condition import pod
from fakes.waiting import PATIENCE_S
from unit.chart.helm import of_kind

POLICIES = ("azure-cni-own-node", "azure-cni-pod-condition", "azure-cni-events")
EVENTS = "/api/v1/namespaces/default/events"
PODS = "/api/v1/namespaces/default/pods"
APPLY = {"Content-Type": "application/apply-patch+yaml"}
MERGE = {"Content-Type": "application/merge-patch+json"}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
MADE = (200, 201)
LONG = "x" * 100_000
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
OBJECTS: list[tuple[str, dict[str, Any]]] = [
    (f"{BINDINGS}/{MAY_ALL['metadata']['name']}", MAY_ALL),  # type: ignore[index]
    *(
        (f"{ADMISSION}/validatingadmission{resource}/{name}", of_kind(f"ValidatingAdmission{kind}", name=name))
        for name in POLICIES
        for resource, kind in (("policies", "Policy"), ("policybindings", "PolicyBinding"))
    ),
]


class Server:
    """A real one with the policies; the agent is that of node vm1, and may do all that they let pass."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def send(self, verb: str, path: str, body: Any, headers: dict[str, str] | None = None) -> int:
        """As the administrator, unless the headers say as whom."""
        async with self._session.request(verb, self._url + path, json=body, headers=headers or {}) as response:
            return response.status

    async def agent(self, verb: str, path: str, body: Any, headers: dict[str, str] | None = None) -> int:
        """As the agent of vm1."""
        return await self.send(verb, path, body, AS_AGENT | (headers or {}))

    async def settled(self, *, gone: Collection[str] = ()) -> None:
        """Wait until the policies refuse what they are for, and those that are gone do not: either takes a moment."""
        out_of_force = [path.rpartition("/")[2] for path in gone]
        asked = {
            "": (EVENTS, event("Pod", "web-1")),  # without the agent's rights all is refused
            "azure-cni-events": (EVENTS, event("Secret", "vm1")),
            "azure-cni-own-node": (COLLECTION, pool("vm2")),
        }
        async with asyncio.timeout(PATIENCE_S):
            for policy, (path, body) in asked.items():
                wanted = 201 if policy in {"", *out_of_force} else 403
                while await self.agent("POST", f"{path}?dryRun=All", body) != wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)


@pytest.fixture
async def server(apiserver: Place) -> AsyncIterator[Server]:
    endpoint = apiserver.real
    assert endpoint is not None
    trust = ssl.create_default_context(cafile=endpoint.ca_file)
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust), headers=headers) as session:
        found = Server(session, endpoint.url)
        made = [path for path, body in OBJECTS if await found.send("POST", path.rpartition("/")[0], body) in MADE]
        await found.settled()
        yield found
        for path in (*made[::-1], f"{COLLECTION}/vm1"):
            if path.startswith(BINDINGS):  # the agent's rights go last
                await found.settled(gone=made)
            await found.send("DELETE", path, None)


def pool(name: str, **metadata: Any) -> dict[str, Any]:
    meta = {"name": name, **metadata}
    return {"apiVersion": GROUP_VERSION, "kind": "NodeIPPool", "metadata": meta, "spec": {}}


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
async def test_a_new_pool_has_a_name_and_an_owner(server: Server, metadata: dict[str, Any]) -> None:
    assert await server.agent("POST", COLLECTION, pool("vm1", **metadata)) == 403
    owner = {"apiVersion": "v1", "kind": "Node", "name": "vm1", "uid": "1"}
    assert await server.agent("POST", COLLECTION, pool("vm1", ownerReferences=[owner])) in MADE


async def test_managed_fields_have_an_end_and_nobody_is_refused_for_those_of_others(server: Server) -> None:
    """Each server-side apply under a new name adds an entry: without an end, up to the megabyte that etcd takes."""
    assert await server.agent("POST", COLLECTION, pool("vm1")) in MADE

    async def applied(by: str, headers: dict[str, str]) -> int:
        body = pool("vm1") | {"status": {"waiting": 3}}
        path = f"{COLLECTION}/vm1/status?fieldManager={by}&force=true"
        return await server.send("PATCH", path, body, APPLY | headers)

    async def written(waiting: int) -> int:
        """As the agent itself does."""
        return await server.agent("PATCH", f"{COLLECTION}/vm1/status", {"status": {"waiting": waiting}}, MERGE)

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
async def test_an_event_is_short(server: Server, more: dict[str, Any]) -> None:
    assert await server.agent("POST", EVENTS, event("Pod", "web-1") | more) in {403, 422}
    assert await server.agent("POST", EVENTS, event("Pod", "web-1") | {"message": "x" * 1024}) in MADE


async def test_a_pods_condition_is_short(server: Server) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await server.send("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    name = f"web-{uuid.uuid4().hex[:8]}"
    assert await server.send("POST", PODS, pod(name)) in MADE

    async def said(reason: str, message: str) -> int:
        condition = {"type": LOAD_BALANCER_ATTACHED, "status": "False", "reason": reason, "message": message}
        body = {"status": {"conditions": [condition]}}
        return await server.agent("PATCH", f"{PODS}/{name}/status", body, STRATEGIC)

    assert await said("R" * 128, "x" * 2048) == 200
    assert [await said("R" * 129, "x"), await said("R", "x" * 2049)] == [403, 403]
