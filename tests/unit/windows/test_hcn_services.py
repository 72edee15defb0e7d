"""How pods on Windows resolve names and reach Services: what endpoints have, and what becomes of pods that run."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from azure_cni.datapath.interface import PodOptions, PublishedPort, Resolver
from azure_cni.datapath.leaving import NO_SERVICES, Services
from unit.windows.hns_node import TABLE, A, B, HnsNode, prepared

PREFIX = IPv4Network("10.0.0.0/16")
DSR, ROUTED = Services(frozenset({PREFIX})), Services(frozenset({PREFIX}), dsr=False)
RESOLVER = Resolver(("10.0.0.10",), ("default.svc.cluster.local", "cluster.local"), ("ndots:5",))
ASKED = PodOptions(RESOLVER, (PublishedPort(6, 8080, 80),))


PORT = {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}


def policies(endpoint: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["Settings"] for one in endpoint["Policies"] if one["Type"] == kind]


async def test_an_endpoint_has_resolver_and_ports_from_its_start_and_keeps_them() -> None:
    async with prepared() as (node, agent):
        spec, silent = node.spec("one", A), node.spec("two", B)
        first = await agent.attach(replace(spec, asked=ASKED))
        await agent.attach(silent)
        (endpoint,), (other,) = node.endpoints(spec), node.endpoints(silent)
        assert endpoint["Dns"] == {
            "ServerList": ["10.0.0.10"],
            "Search": ["default.svc.cluster.local", "cluster.local"],
            "Options": ["ndots:5"],
        }
        assert "Dns" not in other
        assert await agent.check(spec) == ()
        assert await agent.attach(replace(spec, asked=ASKED)) == first
        await agent.apply_node(replace(TABLE, routable=TABLE.routable | {IPv4Network("192.168.0.0/16")}))
        (later,) = node.endpoints(spec)
        assert later["Dns"] == endpoint["Dns"]
        assert policies(later, "PortMapping") == policies(endpoint, "PortMapping") == [PORT]
        assert policies(other, "PortMapping") == []


@pytest.mark.parametrize("services", [DSR, ROUTED], ids=["dsr", "routed"])
async def test_a_pod_is_led_to_services_as_kube_proxy_balances(services: Services) -> None:
    node = HnsNode()
    agent = node.agent(services=services)
    await agent.apply_node(TABLE)
    spec = node.spec("one", A)
    await agent.attach(spec)
    (endpoint,) = node.endpoints(spec)
    exceptions = [one["Exceptions"] for one in policies(endpoint, "OutBoundNAT") if "Exceptions" in one]
    assert exceptions == [["10.0.0.0/16", "10.240.0.0/16"]]
    itself = {"Destinations": [str(A)]} in policies(endpoint, "OutBoundNAT")
    routes = policies(endpoint, "SDNRoute")
    assert (itself, len(routes)) == ((True, 0) if services.dsr else (False, 1))
    assert await agent.check(spec) == ()
    assert (await agent.apply_node(TABLE)).repaired == ()
    await node.close()


@pytest.mark.parametrize(("before", "after"), [(NO_SERVICES, DSR), (DSR, ROUTED), (ROUTED, NO_SERVICES)])
async def test_the_next_agent_leads_running_pods_by_its_own_settings(before: Services, after: Services) -> None:
    node = HnsNode()
    first, second = node.agent(services=before), node.agent(services=after)
    await first.apply_node(TABLE)
    spec = node.spec("one", A)
    await first.attach(spec)
    identifier = node.endpoints(spec)[0]["ID"]
    assert (await second.apply_node(TABLE)).repaired
    assert await second.check(spec) == ()
    assert await first.check(spec) != ()
    assert node.endpoints(spec)[0]["ID"] == identifier, "the pod keeps its interface"
    await node.close()
