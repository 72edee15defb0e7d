"""Where the chart's policies on agents are tried: a real API server on which they are in force.

They judge by the user, so they stay once they are made: nobody else is refused anything.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from azure_cni.api.pod_annotations import LOAD_BALANCER_ATTACHED
from azure_cni.kube.client import KubeEndpoint
from azure_cni.kube.pools import COLLECTION, GROUP_VERSION
from fakes.waiting import PATIENCE_S
from unit.chart.helm import of_kind

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
AGENT = "system:serviceaccount:kube-system:azure-cni-agent"
AS_AGENT = {"Impersonate-User": AGENT, "Impersonate-Extra-authentication.kubernetes.io%2fnode-name": "vm1"}
MAY_ALL = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "test-admission"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": AGENT}],
}
"""So that nothing but the policies refuses."""
OBJECTS: list[tuple[str, dict[str, Any]]] = [
    ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", MAY_ALL),
    *(
        (f"{ADMISSION}/validatingadmission{resource}", of_kind(f"ValidatingAdmission{kind}", name=name))
        for name in ("azure-cni-own-node", "azure-cni-pod-condition", "azure-cni-events")
        for resource, kind in (("policies", "Policy"), ("policybindings", "PolicyBinding"))
    ),
]
EVENTS = "/api/v1/namespaces/default/events"
PODS = "/api/v1/namespaces/default/pods"
MADE = (200, 201)
IS_THERE = 409
MERGE = {"Content-Type": "application/merge-patch+json"}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}


class Admission:
    """Requests to the server, each answered by its HTTP status; the agent is that of node vm1."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(self, verb: str, path: str, body: Any, headers: dict[str, str] | None = None) -> int:
        """As the administrator, unless the headers say as whom."""
        async with self._session.request(verb, path, json=body, headers=headers or {}) as response:
            return response.status

    async def agent(self, verb: str, path: str, body: Any, headers: dict[str, str] | None = None) -> int:
        """As the agent of vm1, which may do all that the policies let pass."""
        return await self.send(verb, path, body, AS_AGENT | (headers or {}))

    async def come_into_force(self) -> None:
        """Make the rights and the policies, and wait until each refuses what it is for: that takes a moment."""
        for path, body in OBJECTS:
            assert await self.send("POST", path, body) in {*MADE, IS_THERE}
        name = await self.a_pod()
        condition = {"status": {"conditions": [{"type": "example.com/other", "status": "True"}]}}
        asked = [
            (201, "POST", EVENTS, event("Pod", "web-1"), {}),  # first: without rights all is refused
            (403, "POST", EVENTS, event("Secret", "vm1"), {}),
            (403, "POST", COLLECTION, pool("vm2"), {}),
            (403, "PATCH", f"{PODS}/{name}/status", condition, STRATEGIC),
        ]
        async with asyncio.timeout(PATIENCE_S):
            for wanted, verb, path, body, headers in asked:
                while await self.agent(verb, f"{path}?dryRun=All", body, headers) != wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)

    async def a_pod(self, *, node: str = "vm1") -> str:
        """The name of a new pod on the node."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        assert await self.send("POST", "/api/v1/namespaces/default/serviceaccounts", account) in {*MADE, IS_THERE}
        name = f"web-{uuid.uuid4().hex[:8]}"
        assert await self.send("POST", PODS, pod(name, node=node)) in MADE
        return name


@asynccontextmanager
async def admitting(server: KubeEndpoint) -> AsyncIterator[Admission]:
    """That server with the policies in force; afterwards vm1 has no pool."""
    trust = ssl.create_default_context(cafile=server.ca_file)
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {server.token}"}
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(server.url, connector=connector, headers=headers) as session:
        admission = Admission(session)
        await admission.come_into_force()
        yield admission
        await admission.send("DELETE", f"{COLLECTION}/vm1", None)


def event(kind: str, name: str) -> dict[str, Any]:
    """One that the agent of vm1 may report, if it may of that object."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"e-{uuid.uuid4().hex}", "namespace": "default"},
        "involvedObject": {"kind": kind, "name": name, "namespace": "default"},
        "source": {"component": "azure-cni", "host": "vm1"},
        "reason": "Tried",
        "message": "tried",
        "type": "Normal",
    }


def pod(name: str, *, node: str = "vm1") -> dict[str, Any]:
    """One that waits for its load balancer."""
    gates = [{"conditionType": LOAD_BALANCER_ATTACHED}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeName": node,
            "readinessGates": gates,
            "automountServiceAccountToken": False,
            "containers": [{"name": "c", "image": "i"}],
        },
    }


def pool(name: str, **metadata: Any) -> dict[str, Any]:
    """A NodeIPPool with an empty spec."""
    meta = {"name": name, **metadata}
    return {"apiVersion": GROUP_VERSION, "kind": "NodeIPPool", "metadata": meta, "spec": {}}
