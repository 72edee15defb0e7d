"""What a Windows node asks of HNS, and how what HNS shows is compared with it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from azure_cni.datapath import hcn_documents as documents
from azure_cni.datapath.hcn_documents import Segment
from azure_cni.datapath.interface import PodOptions, PublishedPort, Resolver
from azure_cni.datapath.leaving import Services, Ways
from azure_cni.datapath.node_table import NodeTable, ruleset

A = IPv4Address("10.240.0.7")
SEGMENT = Segment("Ethernet", IPv4Network("10.240.0.0/22"), IPv4Address("10.240.0.1"), 1500)
TABLE = NodeTable(
    uplink_mac="00:0d:3a:00:00:0a",
    primary=IPv4Address("10.240.0.4"),
    pool=frozenset({A}),
    public=frozenset(),
    routable=frozenset(map(IPv4Network, ("10.240.0.0/16", "10.241.0.0/16", "10.240.8.0/24", "192.168.4.0/24"))),
    imds_allowed=False,
)
EXCEPTIONS = ["10.240.0.0/15", "192.168.4.0/24"]


def nats(table: NodeTable) -> list[Any]:
    return [one["Settings"] for one in documents.policies(A, table) if one["Type"] == "OutBoundNAT"]


def verdict(table: NodeTable, *, to: str, protocol: str, port: int) -> str:
    """As the switch decides: of the rules that match, the one with the lowest priority number."""
    rules = [one["Settings"] for one in documents.policies(A, table) if one["Type"] == "ACL"]
    matching = [
        rule
        for rule in rules
        if rule["Direction"] == "Out"
        and IPv4Address(to) in IPv4Network(rule.get("RemoteAddresses", "0.0.0.0/0"))
        and protocol in rule.get("Protocols", protocol).split(",")
        and str(port) in rule.get("RemotePorts", str(port)).split(",")
    ]
    return str(min(matching, key=lambda rule: rule["Priority"])["Action"])


def test_an_endpoint_says_how_names_are_resolved_where_somebody_asked_for_it():
    def dns(resolver: Resolver | None) -> Any:
        asked = PodOptions(resolver)
        return documents.endpoint_document("acni0", A, SEGMENT, (), network="n", asked=asked).get("Dns")

    assert dns(None) is None
    assert dns(Resolver(("10.0.0.10",), ("svc.cluster.local", "cluster.local"), ("ndots:5",))) == {
        "ServerList": ["10.0.0.10"],
        "Search": ["svc.cluster.local", "cluster.local"],
        "Options": ["ndots:5"],
    }


def test_published_ports_are_policies_that_a_comparison_leaves_alone():
    ports = (PublishedPort(6, 8080, 80), PublishedPort(17, 53, 5353, IPv4Address("10.240.0.4")))
    wanted = documents.policies(A, TABLE)
    endpoint = documents.endpoint_document("acni0", A, SEGMENT, wanted, network="n", asked=PodOptions(ports=ports))
    published = [
        {"Type": "PortMapping", "Settings": {"Protocol": 6, "InternalPort": 80, "ExternalPort": 8080}},
        {
            "Type": "PortMapping",
            "Settings": {"Protocol": 17, "InternalPort": 5353, "ExternalPort": 53, "VIP": "10.240.0.4"},
        },
    ]
    assert endpoint["Policies"] == [*wanted, *published]
    assert documents.policy_faults(wanted, endpoint["Policies"]) == ()
    request = documents.policies_request(wanted, endpoint["Policies"])
    assert [one for one in request["Settings"]["Policies"] if one["Type"] == "PortMapping"] == published


def test_the_network_is_a_bridge_on_the_nics_adapter():
    assert documents.network_document("azure", SEGMENT) == {
        "SchemaVersion": {"Major": 2, "Minor": 0},
        "Name": "azure",
        "Type": "L2Bridge",
        "Flags": 8,
        "Policies": [{"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": "Ethernet"}}],
        "Ipams": [
            {
                "Type": "Static",
                "Subnets": [
                    {
                        "IpAddressPrefix": "10.240.0.0/22",
                        "Routes": [{"NextHop": "10.240.0.1", "DestinationPrefix": "0.0.0.0/0"}],
                    }
                ],
            }
        ],
    }


def test_an_adapter_that_is_the_switchs_already_is_not_named():
    """Another network has made it (Azure's images prepare one): its name is not that of an adapter below the switch."""
    assert documents.network_document("azure", replace(SEGMENT, adapter="vEthernet (Ethernet)"))["Policies"] == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"ID": "x", "Health": {}, "Flags": 0, "Policies": []}, ""),
        ({"Type": "Overlay"}, "it is of type Overlay, not L2Bridge"),
        ({"Ipams": []}, "it has the subnets none, and the NIC is in 10.240.0.0/22"),
        (
            {"Ipams": [{"Subnets": [{"IpAddressPrefix": "10.9.0.0/16"}]}]},
            "it has the subnets 10.9.0.0/16, and the NIC is in 10.240.0.0/22",
        ),
        ({"Ipams": "none"}, "it has the subnets none, and the NIC is in 10.240.0.0/22"),
    ],
)
def test_a_network_that_is_there_is_used_if_pods_can_be_on_it(change: dict[str, Any], fault: str):
    assert documents.network_fault({**documents.network_document("azure", SEGMENT), **change}, SEGMENT) == fault


def test_what_sees_pods_by_their_own_address_is_excepted_as_it_is_for_nftables():
    assert nats(TABLE)[0] == {"Exceptions": EXCEPTIONS}
    assert ", ".join(EXCEPTIONS) in ruleset(TABLE, ways=Ways("eth0"), pods=TABLE.pods)


@pytest.mark.parametrize("field", ["public", "own_egress"])
def test_a_pod_that_leaves_as_itself_is_translated_for_the_platform_alone(field: str):
    platform = {"Destinations": ["168.63.129.16", "169.254.169.254"]}
    assert nats(TABLE)[1:] == [platform]
    assert nats(replace(TABLE, **{field: frozenset({A})})) == [platform]
    assert nats(replace(TABLE, **{field: frozenset({IPv4Address("10.240.0.8")})}))[0] == {"Exceptions": EXCEPTIONS}


SERVICES = frozenset({IPv4Network("10.0.0.0/16")})


@pytest.mark.parametrize("field", ["", "own_egress"])
def test_pods_reach_services_as_themselves_and_are_balanced_back_to_themselves(field: str):
    table = replace(TABLE, own_egress=frozenset({A})) if field else TABLE
    policies = documents.policies(A, table, Services(SERVICES, dsr=True))
    found = [one["Settings"] for one in policies if one["Type"] == "OutBoundNAT"]
    assert {"Destinations": [str(A)]} in found
    if not field:
        assert found[0] == {"Exceptions": ["10.0.0.0/16", *EXCEPTIONS]}
    assert [one for one in policies if one["Type"] == "SDNRoute"] == []


def test_without_direct_server_return_a_route_leads_to_services():
    services = Services(SERVICES | {IPv4Network("10.0.4.0/24")}, dsr=False)
    policies = documents.policies(A, TABLE, services)
    assert [one["Settings"] for one in policies if one["Type"] == "SDNRoute"] == [
        {"DestinationPrefix": "10.0.0.0/16", "NeedEncap": True}
    ]
    assert {"Destinations": [str(A)]} not in [one["Settings"] for one in policies]


def test_where_services_are_no_longer_led_to_what_led_there_is_surplus():
    before = documents.policies(A, TABLE, Services(SERVICES, dsr=False))
    faults = documents.policy_faults(documents.policies(A, TABLE), before)
    assert [fault for fault in faults if "SDNRoute" in fault] == [
        'has policy SDNRoute {"DestinationPrefix": "10.0.0.0/16", "NeedEncap": true}'
    ]


@pytest.mark.parametrize(
    ("to", "protocol", "port", "wanted"),
    [
        ("168.63.129.16", "6", 80, "Block"),
        ("168.63.129.16", "6", 32526, "Block"),
        ("168.63.129.16", "1", 0, "Block"),
        ("168.63.129.16", "17", 53, "Allow"),
        ("168.63.129.16", "6", 53, "Allow"),
        ("169.254.169.254", "6", 80, "Block"),
        ("169.254.0.9", "17", 53, "Block"),
        ("10.240.0.9", "6", 80, "Allow"),
        ("203.0.113.1", "17", 443, "Allow"),
    ],
)
def test_pods_reach_neither_wireserver_nor_metadata_service(to: str, protocol: str, port: int, wanted: str):
    assert verdict(TABLE, to=to, protocol=protocol, port=port) == wanted


def test_the_metadata_service_may_be_allowed_and_nothing_else_with_it():
    allowed = replace(TABLE, imds_allowed=True)
    assert verdict(allowed, to="169.254.169.254", protocol="6", port=80) == "Allow"
    assert verdict(allowed, to="169.254.169.253", protocol="6", port=80) == "Block"
    assert verdict(allowed, to="168.63.129.16", protocol="6", port=80) == "Block"


def test_nothing_differs_where_hns_shows_more_or_writes_it_otherwise():
    wanted = documents.policies(A, TABLE)
    shown = [
        {"Type": one["Type"], "Settings": dict(one["Settings"]) | {"Id": "4711", "VirtualIP": ""}}
        for one in reversed(wanted)
    ]
    for policy in shown:
        if "Exceptions" in policy["Settings"]:
            policy["Settings"]["Exceptions"] = EXCEPTIONS[::-1]
            policy["Settings"]["Destinations"] = []
        if policy["Settings"].get("RemoteAddresses") == "168.63.129.16/32":
            policy["Settings"]["RemoteAddresses"] = "168.63.129.16"
    others = [{"Type": "QOS", "Settings": {}}]
    assert documents.policy_faults(wanted, [*shown, *others]) == ()


def test_what_is_missing_and_what_nobody_wants_is_named():
    wanted = documents.policies(A, TABLE)
    narrower = {"Type": "OutBoundNAT", "Settings": {"Exceptions": ["10.240.0.0/16"]}}
    assert documents.policy_faults(wanted, [narrower, *wanted[1:]]) == (
        'lacks policy OutBoundNAT {"Exceptions": ["10.240.0.0/15", "192.168.4.0/24"]}',
        'has policy OutBoundNAT {"Exceptions": ["10.240.0.0/16"]}',
    )
    assert len(documents.policy_faults(wanted, [])) == len(wanted)


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        ("Protocols", "6", False), ("RemotePorts", "1", False), ("LocalPorts", "80", False),
        ("RemoteAddresses", "10.0.0.0/8", False), ("Protocols", "256", True), ("RemotePorts", "", True),
        ("LocalPorts", None, True), ("RemoteAddresses", "0.0.0.0/0", True), ("Id", "x", True),
    ],
)  # fmt: skip
def test_an_acl_that_somebody_narrowed_is_not_what_is_wanted(field: str, value: str | None, *, same: bool):
    wanted = documents.policies(A, TABLE)
    last = json.loads(json.dumps(wanted[-1]))
    last["Settings"][field] = value
    assert len(documents.policy_faults(wanted, [*wanted[:-1], last])) == (0 if same else 2)


def test_a_translation_of_everything_is_not_taken_for_one_with_destinations():
    everything = {"Type": "OutBoundNAT", "Settings": {}}
    destinations = {"Type": "OutBoundNAT", "Settings": {"Destinations": ["168.63.129.16"]}}
    assert documents.policy_faults([everything], [destinations])
    assert documents.policy_faults([destinations], [everything])


def test_policies_of_others_are_kept_in_a_request():
    wanted = documents.policies(A, TABLE)
    bandwidth = {"Type": "QOS", "Settings": {"MaximumOutgoingBandwidthInBytes": 1}}
    stale = {"Type": "ACL", "Settings": {"Action": "Block", "Direction": "In"}}
    request = documents.policies_request(wanted, [stale, bandwidth])
    assert (request["ResourceType"], request["RequestType"]) == ("Policy", "Update")
    assert request["Settings"]["Policies"] == [bandwidth, *wanted]


def test_an_endpoint_is_read_as_hns_writes_it():
    read = documents.endpoint_of(
        {
            "ID": "4D3C2B1A-0000-0000-0000-00000000000A",
            "Name": "acni1",
            "HostComputeNetwork": "AA",
            "HostComputeNamespace": "00000000-0000-0000-0000-000000000000",
            "IpConfigurations": [
                {"IpAddress": "10.240.0.7", "PrefixLength": 22},
                {"IpAddress": "fd00::7", "PrefixLength": 64},
                {"IpAddress": "?"},
            ],
            "MacAddress": "00-15-5D-00-00-0A",
        }
    )
    assert (read.id, read.network, read.namespace) == ("4d3c2b1a-0000-0000-0000-00000000000a", "aa", "")
    assert (read.addresses, read.mac, read.policies) == ((IPv4Interface("10.240.0.7/22"),), "00:15:5d:00:00:0a", ())


@pytest.mark.parametrize("odd", [None, 7, "x", [7], {"a": 1}])
def test_odd_documents_are_read_without_an_error(odd: object):
    keys = ("ID", "Name", "HostComputeNetwork", "HostComputeNamespace", "IpConfigurations", "MacAddress", "Policies")
    documents.endpoint_of(dict.fromkeys(keys, odd))
    assert documents.endpoints_in({"Resources": odd}) == ()
    assert documents.endpoints_in({"Resources": [{"Type": "Endpoint", "Data": odd}]}) == ()
    assert documents.network_fault({"Type": odd, "Ipams": odd}, SEGMENT)


def test_the_endpoints_of_a_namespace():
    resources = [
        {"Type": "Container", "Data": {"Id": "c"}},
        {"Type": "Endpoint", "Data": {"Id": "AB"}},
        {"Type": "Endpoint", "Data": {"ID": "cd"}},
    ]
    assert documents.endpoints_in({"Resources": resources}) == ("ab", "cd")
