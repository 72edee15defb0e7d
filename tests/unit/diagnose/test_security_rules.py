"""Rules of security groups: the first that matches decides, port by port, and what is in doubt counts for traffic."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.diagnose.security_rules import (
    ALL_PORTS,
    ARM,
    CLOUD,
    INTERNET,
    LAST_PORT,
    Party,
    Ports,
    SecurityGroup,
    judge,
    parse_group,
    port_count,
)
from fakeazure.securitygroups import DEFAULT_RULES

POD, PEER = Party(IPv4Address("10.240.0.36")), Party(IPv4Address("10.240.0.68"), groups=frozenset({"/asg/web"}))
OUTSIDE = Party(None, frozenset({INTERNET}))
AZURE = Party(None, frozenset({INTERNET, CLOUD, ARM}))
SAMPLES = (1, 21, 22, 23, 79, 80, 81, 443, 8080, LAST_PORT)


def rule(name: str = "one", priority: int = 200, **changes: Any) -> dict[str, Any]:
    """Denies TCP from anywhere to anywhere, inbound."""
    given = {
        "priority": priority,
        "direction": "Inbound",
        "access": "Deny",
        "protocol": "Tcp",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    return {"name": name, "properties": given | changes}


def group(*rules: dict[str, Any]) -> SecurityGroup:
    """With Azure's own rules behind, as every group has them."""
    properties = {"securityRules": list(rules), "defaultSecurityRules": list(DEFAULT_RULES)}
    return parse_group({"id": "/subscriptions/s/resourceGroups/g/x/y/z/nsg", "properties": properties})


def open_ports(*groups: SecurityGroup, source: Party = PEER, target: Party = POD, inbound: bool = True) -> Ports:
    return judge(groups, inbound=inbound, source=source, target=target)[0]


@pytest.mark.parametrize(
    ("rules", "ports"),
    [
        ((), ALL_PORTS),
        ((rule(),), ()),
        ((rule(protocol="*"),), ()),
        ((rule(protocol="Udp"),), ALL_PORTS),
        ((rule(access="Allow", priority=100), rule()), ALL_PORTS),
        ((rule(access="Allow", priority=300), rule()), ()),
        ((rule(destinationPortRange="22"),), ((1, 21), (23, LAST_PORT))),
        ((rule(destinationPortRange=None, destinationPortRanges=["80", "8000-9000"]),),
         ((1, 79), (81, 7999), (9001, LAST_PORT))),
        ((rule(access="Allow", priority=100, destinationPortRange="0-65535"), rule()), ALL_PORTS),
        ((rule(access="Allow", priority=100, destinationPortRange="443"), rule()), ((443, 443),)),
        ((rule(sourceAddressPrefix="VirtualNetwork"),), ()),
        ((rule(sourceAddressPrefix="Internet"),), ALL_PORTS),
        ((rule(sourceAddressPrefix="10.240.0.64/26"),), ()),
        ((rule(sourceAddressPrefix="10.240.0.68"),), ()),
        ((rule(sourceAddressPrefix="10.240.1.0/24"),), ALL_PORTS),
        ((rule(sourceAddressPrefix=None, sourceAddressPrefixes=["10.9.0.0/16", "10.240.0.0/16"]),), ()),
        ((rule(destinationAddressPrefix="10.240.0.36/32"),), ()),
        ((rule(destinationAddressPrefix="10.240.0.37/32"),), ALL_PORTS),
        ((rule(sourceAddressPrefix=None, sourceApplicationSecurityGroups=[{"id": "/ASG/web"}]),), ()),
        ((rule(sourceAddressPrefix=None, sourceApplicationSecurityGroups=[{"id": "/asg/db"}]),), ALL_PORTS),
        ((rule(sourcePortRange="1024-2000"),), ALL_PORTS),  # it denies some callers; who, is not known
        ((rule(sourceAddressPrefix="fd00::/8"),), ALL_PORTS),
    ],
)  # fmt: skip
def test_what_groups_leave_open(rules: tuple[dict[str, Any], ...], ports: Ports):
    assert open_ports(group(*rules)) == ports


def test_all_groups_must_allow_it():
    web = rule(access="Allow", priority=100, destinationPortRange="80-90")
    only_web, no_80 = group(web, rule()), group(rule(destinationPortRange="80"))
    assert open_ports(only_web, no_80) == open_ports(no_80, only_web) == ((81, 90),)
    assert open_ports() == ALL_PORTS


@pytest.mark.parametrize(
    ("rules", "to_internet", "to_azure"),
    [
        ((), True, True),
        ((rule(direction="Outbound", destinationAddressPrefix="Internet"),), False, False),
        ((rule(direction="Outbound", destinationAddressPrefix="0.0.0.0/0"),), False, False),
        ((rule(direction="Outbound"), rule("arm", 100, direction="Outbound", access="Allow",
                                           destinationAddressPrefix="AzureResourceManager")), False, True),
        ((rule(direction="Outbound"), rule("cloud", 100, direction="Outbound", access="Allow",
                                           destinationAddressPrefix="AzureCloud.westeurope")), False, True),
        ((rule(direction="Outbound", destinationAddressPrefix="AzureCloud.westeurope"),), True, True),
        ((rule(direction="Outbound"), rule("some", 100, direction="Outbound", access="Allow",
                                           destinationAddressPrefix="20.0.0.0/8")), False, True),
        ((rule(direction="Outbound", destinationAddressPrefix="20.0.0.0/8"),), True, True),
        ((rule(direction="Outbound"), rule("lan", 100, direction="Outbound", access="Allow",
                                           destinationAddressPrefix="10.0.0.0/8")), False, False),
    ],
)  # fmt: skip
def test_the_internet_and_azure_are_known_by_tags(
    rules: tuple[dict[str, Any], ...], *, to_internet: bool, to_azure: bool
):
    judged = group(*rules)
    assert bool(open_ports(judged, source=POD, target=OUTSIDE, inbound=False)) is to_internet
    assert bool(open_ports(judged, source=POD, target=AZURE, inbound=False)) is to_azure


def test_a_denial_names_the_rule_and_how_much_it_denied():
    judged = group(rule("no-ssh", 100, destinationPortRange="22"), rule("nothing", 300))
    _, denials = judge([judged], inbound=True, source=PEER, target=POD)
    assert [(one.rule.name, one.count) for one in denials] == [("no-ssh", 1), ("nothing", LAST_PORT - 1)]


def test_a_rule_in_front_takes_the_nearest_number_that_is_free_in_its_direction():
    judged = group(rule("a", 300), rule("b", 299), rule("c", 298, direction="Outbound"), rule("d", 100))
    by_name = {one.name: one for one in judged.rules}
    assert judged.free_priority(by_name["a"]) == 298
    assert judged.free_priority(by_name["d"]) is None
    assert judged.free_priority(by_name["DenyAllInBound"]) == 4096


prefixes = st.sampled_from(["*", "VirtualNetwork", "Internet", "10.240.0.0/16", "10.240.0.64/26", "10.240.0.36", "odd"])
port_texts = st.sampled_from(["*", "22", "20-80", "443", "80-8080", "0-65535"])
rules = st.builds(
    lambda number, access, protocol, source, target, ports: rule(
        f"r{number}", number, access=access, protocol=protocol, sourceAddressPrefix=source,
        destinationAddressPrefix=target, destinationPortRange=ports,
    ),
    st.integers(100, 4096), st.sampled_from(["Allow", "Deny"]), st.sampled_from(["*", "Tcp", "Udp"]),
    prefixes, prefixes, port_texts,
)  # fmt: skip


def first_match(judged: SecurityGroup, port: int) -> bool:
    """The oracle: rule by rule for one port."""
    for one in judged.rules:
        covers = any(low <= port <= high for low, high in one.ports_of(PEER, POD))
        if one.inbound and covers:
            return one.allow
    return False


@given(st.lists(st.lists(rules, max_size=6, unique_by=lambda one: one["properties"]["priority"]), max_size=3))
def test_each_port_is_decided_by_the_first_rule_of_each_group(written: list[list[dict[str, Any]]]):
    groups = [group(*some) for some in written]
    ports, denials = judge(groups, inbound=True, source=PEER, target=POD)
    for port in SAMPLES:
        assert any(low <= port <= high for low, high in ports) == all(first_match(one, port) for one in groups)
    assert port_count(ports) + sum(one.count for one in denials) == LAST_PORT
    assert all(one[1] < other[0] for one, other in pairwise(ports))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["properties", "securityRules", "name", "priority", "destinationPortRange", "direction"]
                ),
                inner,
            )
        ),
    )
)
def test_no_document_is_too_odd(document: Any):
    parse_group(document if isinstance(document, dict) else {"properties": {"securityRules": document}})
