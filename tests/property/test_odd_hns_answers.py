"""What HNS, or whoever is in its place, shows of networks, endpoints and namespaces: read, or refused in words."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Any, Final, cast

import pytest

from azure_cni.datapath import hcn_documents as documents
from azure_cni.datapath.hcn_documents import Segment
from azure_cni.datapath.node_table import NodeTable
from azure_cni.windows.hcn import Hcn, HcnKind, HcnService
from property.odd_bytes import Boundary, walk

A: Final = IPv4Address("10.240.0.7")
SEGMENT: Final = Segment("Ethernet", IPv4Network("10.240.0.0/22"), IPv4Address("10.240.0.1"), 1500)
TABLE: Final = NodeTable(
    uplink_mac="00:0d:3a:00:00:0a",
    primary=IPv4Address("10.240.0.4"),
    pool=frozenset({A}),
    public=frozenset(),
    routable=frozenset({IPv4Network("10.240.0.0/16")}),
    imds_allowed=True,
)
POLICIES: Final = documents.policies(A, TABLE)
GUID: Final = "0f8c6f3e-1d2b-4c5a-9e7f-a1b2c3d4e5f6"
SHOWN: Final = {"ID": GUID, "HostComputeNamespace": GUID, "MacAddress": "00-15-5D-00-00-0A", "Health": {"Extra": {}}}
ENDPOINT: Final = {**documents.endpoint_document("acni1", A, SEGMENT, POLICIES, network=GUID), **SHOWN}
NETWORK: Final = {**documents.network_document("azure", SEGMENT), "ID": GUID}
NAMESPACE: Final = {"ID": GUID, "Resources": [{"Type": "Endpoint", "Data": {"Id": GUID}}]}


class Showing:
    """HCN that answers each query with one text."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def enumerate(self, kind: HcnKind, query: str) -> str:
        del kind, query
        return self._answer

    def query(self, kind: HcnKind, identifier: str, query: str) -> str:
        del kind, identifier, query
        return self._answer


def asked(content: bytes) -> HcnService:
    return HcnService(cast("Hcn", Showing(content.decode(errors="surrogateescape"))))


def endpoint(content: bytes, _: Random) -> None:
    found = asked(content).get(HcnKind.ENDPOINT, GUID)
    assert found is not None
    read = documents.endpoint_of(found)
    faults = documents.policy_faults(POLICIES, read.policies)
    request: dict[str, Any] = dict(documents.policies_request(POLICIES, read.policies))
    assert json.loads(json.dumps(request)) == request
    assert documents.wiring_of(read, "eth0", SEGMENT).node == ()
    assert all(isinstance(fault, str) for fault in faults)


def network(content: bytes, _: Random) -> None:
    found = asked(content).get(HcnKind.NETWORK, GUID)
    assert found is not None
    documents.network_fault(found, SEGMENT)
    assert documents.identifier_of(found) == documents.identifier_of(found).lower()


def namespace(content: bytes, _: Random) -> None:
    found = asked(content).get(HcnKind.NAMESPACE, GUID)
    assert found is not None
    documents.endpoints_in(found)


def identifiers(content: bytes, _: Random) -> None:
    assert all(isinstance(one, str) for one in asked(content).identifiers(HcnKind.ENDPOINT))


BOUNDARIES: Final = {
    "endpoints": Boundary([json.dumps(ENDPOINT).encode()], endpoint),
    "networks": Boundary([json.dumps(NETWORK).encode()], network),
    "namespaces": Boundary([json.dumps(NAMESPACE).encode()], namespace),
    "identifiers": Boundary([json.dumps([GUID, GUID.upper()]).encode()], identifiers),
}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_what_is_odd_is_read_or_refused_in_words(name: str) -> None:
    ends = walk(name, BOUNDARIES[name], 3000, seed=1)
    assert ends.total() == 3000
    assert min(ends["read"], ends["refused"]) > 100
