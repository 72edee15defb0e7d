"""The C interface: what is handed out is freed and closed whatever happens, and HRESULTs become errors with words."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import pytest

from azure_cni.datapath.hcn_documents import query_document
from azure_cni.windows.computenetwork import ComputeNetwork
from azure_cni.windows.hcn import HcnError, HcnKind
from fakehns.service import CALL_FAILED, Call, FakeHns
from windows.library import StandInLibrary

V2 = {"Major": 2, "Minor": 0}
NETWORK: dict[str, Any] = {
    "SchemaVersion": V2,
    "Name": "azure",
    "Type": "L2Bridge",
    "Ipams": [{"Type": "Static", "Subnets": [{"IpAddressPrefix": "10.240.0.0/22"}]}],
}
ENDPOINT: dict[str, Any] = {"SchemaVersion": V2, "Name": "ü✓", "IpConfigurations": [{"IpAddress": "10.240.0.7"}]}
QUERY = json.dumps(query_document())


class Node:
    def __init__(self) -> None:
        self.hns = FakeHns()
        self.library = StandInLibrary(self.hns)
        self.hcn = ComputeNetwork(self.library, self.library.free)

    def network(self) -> str:
        return str(json.loads(self.hcn.create(HcnKind.NETWORK, json.dumps(NETWORK)))["ID"])


@pytest.fixture
def node() -> Node:
    return Node()


def test_objects_are_made_read_changed_and_deleted_and_nothing_stays_open(node: Node) -> None:
    network = node.network()
    made = json.loads(node.hcn.create(HcnKind.ENDPOINT, json.dumps(ENDPOINT), network=network.upper()))
    assert (made["HostComputeNetwork"], made["Name"]) == (network, "ü✓")
    assert json.loads(node.hcn.query(HcnKind.ENDPOINT, made["ID"], QUERY)) == made
    named = json.dumps(query_document(Name="ü✓"))
    assert json.loads(node.hcn.enumerate(HcnKind.ENDPOINT, named)) == [made["ID"].upper()]
    request = {"ResourceType": "Policy", "RequestType": "Update", "Settings": {"Policies": []}}
    node.hcn.modify(HcnKind.ENDPOINT, made["ID"], json.dumps(request))
    node.hcn.delete(HcnKind.ENDPOINT, made["ID"])
    node.hcn.delete(HcnKind.NETWORK, network)
    assert json.loads(node.hcn.enumerate(HcnKind.ENDPOINT, QUERY)) == []
    assert (node.library.texts, node.library.handles) == ({}, {})


@pytest.mark.parametrize("verb", ["enumerate", "query", "create", "modify", "delete"])
def test_what_fails_leaves_nothing_open_either(node: Node, verb: str) -> None:
    network = node.network()
    endpoint = json.loads(node.hcn.create(HcnKind.ENDPOINT, json.dumps(ENDPOINT), network=network))["ID"]
    node.hns.after_call = lambda call: CALL_FAILED if call.verb == verb else 0
    another = ENDPOINT | {"IpConfigurations": [{"IpAddress": "10.240.0.8"}]}
    request = {"ResourceType": "Policy", "RequestType": "Update", "Settings": {"Policies": []}}
    calls = {
        "enumerate": lambda: node.hcn.enumerate(HcnKind.ENDPOINT, QUERY),
        "query": lambda: node.hcn.create(HcnKind.ENDPOINT, json.dumps(another), network=network),
        "create": lambda: node.hcn.create(HcnKind.ENDPOINT, json.dumps(another), network=network),
        "modify": lambda: node.hcn.modify(HcnKind.ENDPOINT, endpoint, json.dumps(request)),
        "delete": lambda: node.hcn.delete(HcnKind.ENDPOINT, endpoint),
    }
    with pytest.raises(HcnError, match=r"RPC_S_CALL_FAILED 0x800706be \(as the test wants it\); is the service hns"):
        calls[verb]()
    assert Call(verb, "Endpoint") in node.hns.calls
    assert (node.library.texts, node.library.handles) == ({}, {})


def test_what_does_not_exist_is_absent(node: Node) -> None:
    nowhere = "0f8c6f3e-1d2b-4c5a-9e7f-a1b2c3d4e5f6"
    for kind in HcnKind:
        for call in (
            lambda kind=kind: node.hcn.query(kind, nowhere, QUERY),
            lambda kind=kind: node.hcn.modify(kind, nowhere, "{}"),
            lambda kind=kind: node.hcn.delete(kind, nowhere),
        ):
            with pytest.raises(HcnError) as refused:
                call()
            assert refused.value.absent
    with pytest.raises(HcnError, match="cannot read the HCN network: HCN_E_NETWORK_NOT_FOUND"):
        node.hcn.create(HcnKind.ENDPOINT, json.dumps(ENDPOINT), network=nowhere)
    assert (node.library.texts, node.library.handles) == ({}, {})


def test_a_text_that_is_no_guid_is_refused_before_hns_hears_of_it(node: Node) -> None:
    with pytest.raises(HcnError, match=r"0x803b0019 \(/run/netns/a is no GUID\)"):
        node.hcn.query(HcnKind.NAMESPACE, "/run/netns/a", QUERY)
    assert node.hns.calls == []


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("", "cannot list the HCN endpoint: HRESULT 0x80070005"),
        ('{"Error": "Zugriff verweigert"}', r"HRESULT 0x80070005 \(Zugriff verweigert\)"),
        ('{"Success": false}', r'\(\{"Success": false\}\)'),
        ("[7]", r"\(\[7\]\)"),
        ("no JSON", r"\(no JSON\)"),
    ],
)
def test_an_error_says_what_hns_says_whatever_its_form(record: str, words: str) -> None:
    kept = ctypes.create_unicode_buffer(record)
    freed: list[int | None] = []

    class Library:
        @staticmethod
        @ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3)
        def HcnEnumerateEndpoints(query: int, answer: int, out: int) -> int:  # noqa: N802
            del query, answer
            if record:
                ctypes.c_void_p.from_address(out).value = ctypes.addressof(kept)
            return 0x80070005

    with pytest.raises(HcnError, match=words):
        ComputeNetwork(Library, lambda text: freed.append(text.value)).enumerate(HcnKind.ENDPOINT, QUERY)
    assert freed == ([ctypes.addressof(kept)] if record else [])
