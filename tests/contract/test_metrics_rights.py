"""Metrics of an agent and a controller with the rights that the chart gives them, judged by a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from azure_cni.entrypoints import web
from azure_cni.entrypoints.web import Bind, Shown, TlsSettings, WebSettings
from azure_cni.faults import Faults
from azure_cni.kube.client import KubeClient, KubeEndpoint
from contract.kube_world import Place
from fakes.waiting import PATIENCE_S, background
from simulation.ports import free_ports
from unit.chart.helm import of_kind

OUTSIDE = "127.0.0.2"
"""Stands for the node's address."""
AUDIENCE = "azure-cni-metrics"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
VALUES = "metrics.tls.enabled=true,metrics.auth=token"


async def account(client: KubeClient, *, role: str = "", audience: str = "") -> str:
    """A token of a new service account that has the chart's ClusterRole of that name, or none."""
    name = f"account-{uuid.uuid4().hex[:8]}"
    await client.create(ACCOUNTS, {"metadata": {"name": name}})
    if role:
        rules = of_kind("ClusterRole", VALUES, name=role)["rules"]
        await client.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]
        binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}
        await client.create(f"{RBAC}/clusterrolebindings", binding)
    spec: dict[str, Any] = {"audiences": [audience]} if audience else {}
    made = await client.create(f"{ACCOUNTS}/{name}/token", {"spec": spec})
    return str(made["status"]["token"])


@contextlib.asynccontextmanager
async def serving(api_server: KubeEndpoint) -> AsyncIterator[int]:
    """The port, as agents and controllers open it with these values."""
    (port,) = free_ports(1, addresses=(web.LOOPBACK, OUTSIDE))
    settings = WebSettings(port, Bind.NODE, OUTSIDE, tls=TlsSettings(), tokens=True, audience=AUDIENCE)
    shown = Shown(registry=CollectorRegistry(), healthy=lambda: "", ready=lambda: "")
    async with background(web.serve_in_cluster(settings, shown, api_server, faults=Faults(lambda _: None))):
        yield port


async def scrape(port: int, token: str) -> int:
    """The status of one scrape. The certificate is made while the first one waits."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(OUTSIDE, port, ssl=context)
                break
            await asyncio.sleep(0.05)
        writer.write(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    return int(answer.split()[1])


@pytest.mark.parametrize("process", ["agent", "controller"])
async def test_the_charts_rights_are_enough_to_judge_and_to_scrape(apiserver: Place, process: str):
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        own = await account(admin, role=f"azure-cni-{process}")
        scraper = await account(admin, role="azure-cni-metrics-reader", audience=AUDIENCE)
        elsewhere = await account(admin, role="azure-cni-metrics-reader")
        other = await account(admin, audience=AUDIENCE)
        async with serving(KubeEndpoint(endpoint.url, token=own, ca_file=endpoint.ca_file)) as port:
            assert await scrape(port, scraper) == 200
            assert await scrape(port, other) == 403
            assert await scrape(port, elsewhere) == 401
            assert await scrape(port, "invented") == 401


async def test_an_agent_that_lost_its_rights_shows_nothing(apiserver: Place):
    async with apiserver.endpoint() as endpoint, KubeClient(endpoint) as admin:
        own = await account(admin)
        scraper = await account(admin, role="azure-cni-metrics-reader", audience=AUDIENCE)
        async with serving(KubeEndpoint(endpoint.url, token=own, ca_file=endpoint.ca_file)) as port:
            assert await scrape(port, scraper) == 503
