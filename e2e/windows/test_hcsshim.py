"""Microsoft's own library for HNS as the other side: it reads each of our documents, and we read what it makes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from azure_cni.datapath import hcn_documents as documents
from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.datapath.hcn_documents import Segment
from azure_cni.datapath.node_table import NodeTable
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.node.ports import SandboxSpec
from azure_cni.windows.datapath import HcnDatapath
from fakehns.server import HnsServer
from fakehns.service import FakeHns
from windows.library import FakeAdapters, stand_in_hcn
from windows.world import World

MAC, PRIMARY, MTU = "00:0d:3a:00:00:0a", IPv4Address("10.240.0.4"), 1500
POD, OTHER = IPv4Address("10.240.0.7"), IPv4Address("10.240.0.8")
SEGMENT = Segment("Ethernet", IPv4Network("10.240.0.0/22"), IPv4Address("10.240.0.1"), MTU)
GUID = "12345678-1234-1234-1234-123456789abc"
TABLE = NodeTable(
    uplink_mac=MAC,
    primary=PRIMARY,
    pool=frozenset({POD, OTHER}),
    public=frozenset(),
    routable=frozenset({IPv4Network("10.240.0.0/16"), IPv4Network("192.168.0.0/16")}),
    imds_allowed=False,
)
TABLES = {
    "usual": TABLE,
    "metadata allowed": replace(TABLE, imds_allowed=True),
    "nothing routable": replace(TABLE, routable=frozenset()),
    "an own way out": replace(TABLE, own_egress=frozenset({POD})),
}


def ours() -> Iterator[tuple[str, Any]]:
    """Every kind of document that the product sends."""
    for segment in (SEGMENT, replace(SEGMENT, adapter="vEthernet (Ethernet)")):
        yield "network", documents.network_document("azure", segment)
    for table in TABLES.values():
        policies = documents.policies(POD, table)
        yield "endpoint", documents.endpoint_document("acni0", POD, SEGMENT, policies, network=GUID)
        yield "endpoint request", documents.policies_request(policies, [])
    for attach in (True, False):
        yield "namespace request", documents.attachment_request(GUID, attach=attach)
    yield "query", documents.query_document()
    yield "query", documents.query_document(Name="azure")


def faults(world: World, given: list[tuple[str, Any]]) -> list[str]:
    asked = json.dumps([{"kind": kind, "document": document} for kind, document in given])
    found: list[str] = json.loads(world.node.run(world.node.ground.oracle, "decode", stdin=asked))
    return found


def test_each_document_decodes_into_its_types(world: World) -> None:
    given = list(ours())
    assert faults(world, given) == [""] * len(given)


def test_it_refuses_what_its_types_have_not(world: World) -> None:
    endpoint = documents.endpoint_document("acni0", POD, SEGMENT, documents.policies(POD, TABLE), network=GUID)
    misspelt = [{"Type": "ACL", "Settings": {"Action": "Allow", "Direction": "In", "RemoteAddress": "10.0.0.0/8"}}]
    given = [
        ("endpoint", {**endpoint, "IpConfiguration": []}),
        ("endpoint", {**endpoint, "Policies": misspelt}),
        ("endpoint", {**endpoint, "Policies": [{"Type": "OutboundNat", "Settings": {}}]}),
        ("query", {**documents.query_document(), "Filters": ""}),
    ]
    said = faults(world, given)
    for text, wanted in zip(said, ("IpConfiguration", "RemoteAddress", "OutboundNat", "Filters"), strict=True):
        assert wanted in text


@pytest.fixture
def other() -> Iterator[tuple[FakeHns, HnsServer]]:
    """A node's HNS for this test alone."""
    hns = FakeHns()
    with HnsServer(hns) as server:
        yield hns, server


def test_each_understands_what_the_other_has_made(world: World, other: tuple[FakeHns, HnsServer]) -> None:
    hns, server = other

    def oracle(*arguments: str) -> str:
        return world.node.run(world.node.ground.oracle, *arguments, FAKEHNS_PORT=str(server.port)).strip()

    async def live() -> None:
        datapath = HcnDatapath(stand_in_hcn(hns), FakeAdapters(hns, mac=MAC, primary=PRIMARY, mtu=MTU))
        oracle("network", "azure", "Ethernet", str(SEGMENT.subnet), str(SEGMENT.gateway))
        assert await datapath.apply_node(TABLE) == await datapath.apply_node(TABLE)
        assert [one["Name"] for one in hns.objects["Network"].values()] == ["azure"], "theirs is used"
        theirs, pod = oracle("namespace"), oracle("namespace")
        spec = SandboxSpec(Sandbox("azure-cni", "p1", "eth0"), pod, (POD,), LinkParameters(MTU, PRIMARY))
        await datapath.attach(spec)
        shown = json.loads(oracle("show"))
        (endpoint,) = shown["endpoints"]
        assert (endpoint["Name"], endpoint["HostComputeNamespace"]) == (datapath.key(spec.sandbox), pod.lower())
        assert endpoint["IpConfigurations"] == [{"IpAddress": str(POD), "PrefixLength": 22}]
        assert len(endpoint["Policies"]) == len(documents.policies(POD, TABLE))

        oracle("endpoint", "azure", "theirs", str(OTHER), "22", str(SEGMENT.gateway), theirs)
        (conflict,) = (await datapath.apply_node(TABLE)).conflicts
        assert (conflict.reason, "theirs" in conflict.message) == (ConflictReason.ADDRESS_ELSEWHERE, True)
        oracle("remove", pod)
        (words,) = await datapath.check(spec)
        assert pod in words
        await datapath.detach(spec.sandbox)
        assert [one["Name"] for one in json.loads(oracle("show"))["endpoints"]] == ["theirs"]
        await datapath.close()

    asyncio.run(live())
