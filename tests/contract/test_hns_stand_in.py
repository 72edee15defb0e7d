"""The stand-in for HNS refuses what the documentation does not have, with the documented codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fakehns import service
from fakehns.service import FakeHns, RefusedCall

V2 = {"Major": 2, "Minor": 0}
SUBNET = {"IpAddressPrefix": "10.240.0.0/22", "Routes": [{"NextHop": "10.240.0.1", "DestinationPrefix": "0.0.0.0/0"}]}
NETWORK: dict[str, Any] = {
    "SchemaVersion": V2,
    "Name": "azure",
    "Type": "L2Bridge",
    "Flags": 8,
    "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "Ethernet"}}],
    "Ipams": [{"Type": "Static", "Subnets": [SUBNET]}],
}
ENDPOINT: dict[str, Any] = {
    "SchemaVersion": V2,
    "Name": "one",
    "IpConfigurations": [{"IpAddress": "10.240.0.7", "PrefixLength": 22}],
}
ACL = {"Action": "Block", "Direction": "Out", "Protocols": "6,17", "RemoteAddresses": "168.63.129.16/32"}


def made(hns: FakeHns, kind: str, document: dict[str, Any], network: str = "") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(hns.create(kind, json.dumps(document), network))
    return answer


@pytest.fixture
def hns() -> FakeHns:
    return FakeHns()


@pytest.fixture
def network(hns: FakeHns) -> str:
    return str(made(hns, "Network", NETWORK)["ID"])


def refused(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(RefusedCall) as refusal:
        call()
    return refusal.value.result, refusal.value.words


@pytest.mark.parametrize(
    ("change", "result", "words"),
    [
        ({"Adapter": "x"}, service.INVALID_NETWORK, "the document has the unknown field Adapter"),
        ({"Type": "l2bridge"}, service.INVALID_NETWORK, "has a field Type that is 'l2bridge', not one of NAT"),
        ({"Flags": "Persistent"}, service.INVALID_NETWORK, "has a field Flags that is 'Persistent'"),
        ({"Name": 7}, service.INVALID_NETWORK, "has a field Name that is not a text"),
        (
            {"Ipams": [{"Subnets": [{"IpAddressPrefix": "10.0.0.1/8"}]}]},
            service.INVALID_NETWORK,
            "not an address prefix",
        ),
        ({"Policies": [{"Type": "Adapter", "Settings": {}}]}, service.INVALID_POLICY_TYPE, "Adapter is unknown"),
        (
            {"Policies": [{"Type": "NetAdapterName", "Settings": {"Name": "Ethernet"}}]},
            service.INVALID_POLICY,
            "the policy NetAdapterName has the unknown field Name",
        ),
        (
            {"Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "eth0"}}]},
            service.ADAPTER_NOT_FOUND,
            "An adapter was not found",
        ),
    ],
)
def test_networks_that_the_schema_has_not(hns: FakeHns, change: dict[str, Any], result: int, words: str) -> None:
    got, said = refused(lambda: made(hns, "Network", NETWORK | change))
    assert (got, words in said) == (result, True), said
    assert hns.objects["Network"] == {}


@pytest.mark.parametrize(
    ("change", "result", "words"),
    [
        ({"IPConfigurations": []}, service.INVALID_ENDPOINT, "the unknown field IPConfigurations"),
        ({"IpConfigurations": [{"IpAddress": "10.9.0.1"}]}, service.INVALID_IP, "10.9.0.1 is invalid or in no subnet"),
        (
            {"Policies": [{"Type": "OutboundNat", "Settings": {}}]},
            service.INVALID_POLICY_TYPE,
            "OutboundNat is unknown",
        ),
        ({"Policies": [{"Type": "ACL", "Settings": ACL | {"Action": "Deny"}}]}, service.INVALID_POLICY, "'Deny'"),
        ({"Policies": [{"Type": "ACL", "Settings": ACL | {"Protocols": "TCP"}}]}, service.INVALID_POLICY, "'TCP'"),
        ({"Policies": [{"Type": "ACL", "Settings": {"Action": "Block"}}]}, service.INVALID_POLICY, "lacks the field"),
        ({"Policies": [{"Type": "ACL", "Settings": ACL | {"Priority": 65536}}]}, service.INVALID_POLICY, "a uint16"),
        ({"Routes": [{"Gateway": "10.240.0.1"}]}, service.INVALID_ENDPOINT, "the unknown field Gateway"),
    ],
)
def test_endpoints_that_the_schema_has_not(
    hns: FakeHns, network: str, change: dict[str, Any], result: int, words: str
) -> None:
    got, said = refused(lambda: made(hns, "Endpoint", ENDPOINT | change, network))
    assert (got, words in said) == (result, True), said
    assert hns.endpoints() == []


def test_what_is_there_already_and_what_is_in_use(hns: FakeHns, network: str) -> None:
    assert refused(lambda: made(hns, "Network", NETWORK))[0] == service.NETWORK_EXISTS
    endpoint = made(hns, "Endpoint", ENDPOINT, network)
    assert refused(lambda: made(hns, "Endpoint", ENDPOINT, network))[0] == service.INVALID_IP
    assert refused(lambda: hns.delete("Network", network))[0] == service.HAS_REFERENCES
    hns.delete("Endpoint", endpoint["ID"])
    hns.delete("Network", network)
    assert refused(lambda: hns.delete("Network", network))[0] == service.NETWORK_NOT_FOUND
    assert refused(lambda: hns.query("Endpoint", endpoint["ID"], "{}"))[0] == service.INVALID_JSON
    query = json.dumps({"SchemaVersion": V2})
    assert refused(lambda: hns.query("Endpoint", endpoint["ID"], query))[0] == service.ENDPOINT_NOT_FOUND


def test_an_endpoint_is_in_one_namespace_at_a_time_and_may_go_without_leaving_it(hns: FakeHns, network: str) -> None:
    one, two = hns.add_namespace(), hns.add_namespace()
    endpoint = made(hns, "Endpoint", ENDPOINT, network)["ID"]

    def ask(namespace: str, what: str, identifier: str = endpoint) -> None:
        request = {"ResourceType": "Endpoint", "RequestType": what, "Settings": {"EndpointId": identifier}}
        hns.modify("Namespace", namespace, json.dumps(request))

    ask(one, "Add")
    assert refused(lambda: ask(two, "Add"))[0] == service.IN_A_NAMESPACE
    assert refused(lambda: ask(two, "Remove"))[0] == service.NOT_FOUND
    assert refused(lambda: ask(one, "Move"))[0] == service.INVALID_JSON
    assert refused(lambda: ask(one, "Refresh"))[0] == service.REQUEST_UNSUPPORTED
    assert refused(lambda: ask(one, "Add", one))[0] == service.ENDPOINT_NOT_FOUND
    ask(one, "Remove")
    ask(two, "Add")
    hns.delete("Endpoint", endpoint)
    assert hns.objects["Namespace"][two]["Resources"] == []


def test_queries_filter_by_documented_properties(hns: FakeHns, network: str) -> None:
    endpoint = made(hns, "Endpoint", ENDPOINT, network)["ID"]

    def found(**wanted: str) -> list[str]:
        query = {"SchemaVersion": V2, "Filter": json.dumps(wanted)}
        return [identifier.lower() for identifier in json.loads(hns.enumerate("Endpoint", json.dumps(query)))]

    assert found() == found(Name="one") == found(VirtualNetwork=network.upper()) == [endpoint]
    assert found(Name="other") == []
    assert refused(lambda: found(IpAddress="10.240.0.7"))[0] == service.INVALID_JSON
    assert refused(lambda: hns.enumerate("Endpoint", "{"))[0] == service.INVALID_JSON


def test_a_restart_forgets_what_is_not_persistent(hns: FakeHns, network: str) -> None:
    endpoint = made(hns, "Endpoint", ENDPOINT, network)["ID"]
    kept = made(hns, "Network", NETWORK | {"Name": "kept", "Flags": 0})["ID"]
    hns.duplicate(endpoint, HostComputeNetwork=kept)
    hns.restart()
    assert list(hns.objects["Network"]) == [kept]
    assert [one["HostComputeNetwork"] for one in hns.endpoints()] == [kept]
    hns.away = True
    assert refused(lambda: hns.delete("Network", kept))[0] == service.SERVER_UNAVAILABLE
