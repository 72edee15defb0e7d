"""What the chart's policy on an agent's events refuses, on a real API server."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from typing import Any

import aiohttp

from contract.kube_world import Place
from fakes.waiting import PATIENCE_S
from unit.chart.helm import of_kind

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
AGENT = "system:serviceaccount:kube-system:azure-cni-agent"
AS_AGENT = {"Impersonate-User": AGENT, "Impersonate-Extra-authentication.kubernetes.io%2fnode-name": "vm1"}
NAME = "azure-cni-events"
MAY_ALL = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "test-admission-events"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": AGENT}],
}
"""So that nothing but the policy refuses."""


def event(kind: str, name: str) -> dict[str, Any]:
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


async def test_an_agents_events_are_about_pods_its_node_and_its_pool(apiserver: Place) -> None:
    server = apiserver.real
    assert server is not None
    trust = ssl.create_default_context(cafile=server.ca_file)
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust), headers=headers) as session:

        async def create(path: str, body: dict[str, Any], *, more: dict[str, str] | None = None) -> int:
            async with session.post(server.url + path, json=body, headers=more) as response:
                return response.status

        async def reported(kind: str, name: str) -> int:
            return await create("/api/v1/namespaces/default/events", event(kind, name), more=AS_AGENT)

        for resource, kind in (("policies", "Policy"), ("policybindings", "PolicyBinding")):
            made = of_kind(f"ValidatingAdmission{kind}", name=NAME)
            assert await create(f"{ADMISSION}/validatingadmission{resource}", made) == 201
        assert await create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", MAY_ALL) == 201
        async with asyncio.timeout(PATIENCE_S):
            for about, answer in ((("Pod", "web-1"), 201), (("Secret", "vm1"), 403)):  # rights first, they refuse too
                while await reported(*about) != answer:  # noqa: ASYNC110  # in force a moment after it was made
                    await asyncio.sleep(0.2)
        mine = [("Pod", "web-1"), ("Node", "vm1"), ("NodeIPPool", "vm1")]
        others = [("Node", "vm2"), ("NodeIPPool", "vm2"), ("Secret", "vm1"), ("", "")]
        assert [await reported(*about) for about in mine] == [201] * len(mine)
        assert [await reported(*about) for about in others] == [403] * len(others)
