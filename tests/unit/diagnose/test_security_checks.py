"""What `check --azure` says of security groups: the rules that its commands make, and what they must not open."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from azure_cni.diagnose.check_results import CheckResult, ClusterCheck
from azure_cni.diagnose.cloud_evidence import CloudEvidence, ConfigFacts, NicFacts, RouteFacts, SubnetFacts
from azure_cni.diagnose.security_checks import check_security
from azure_cni.diagnose.security_rules import SecurityGroup, parse_group
from fakeazure.securitygroups import DEFAULT_RULES

SCOPE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
SUBNET, TABLE, NSG = (
    f"{SCOPE}/virtualNetworks/v/subnets/n",
    f"{SCOPE}/routeTables/t",
    f"{SCOPE}/networkSecurityGroups/z",
)


def rule(name: str, priority: int, **changes: Any) -> dict[str, Any]:
    """Denies everything inbound."""
    given = {
        "priority": priority, "direction": "Inbound", "access": "Deny", "protocol": "*", "sourceAddressPrefix": "*",
        "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": "*",
    }  # fmt: skip
    return {"name": name, "properties": given | changes}


def group(*rules: dict[str, Any]) -> SecurityGroup:
    properties = {"securityRules": list(rules), "defaultSecurityRules": list(DEFAULT_RULES)}
    return parse_group({"id": NSG, "properties": properties})


def world(judged: SecurityGroup, *routes: RouteFacts) -> CloudEvidence:
    """Two nodes with a pod each, in a subnet with that group."""
    subnet = SubnetFacts(SUBNET, (IPv4Network("10.0.0.0/24"),), "westeurope", NSG, TABLE if routes else "", "", None)
    nics = {
        f"vm{number}": NicFacts(
            f"{SCOPE}/networkInterfaces/nic{number}", "", SUBNET, "",
            (
                ConfigFacts("first", IPv4Address(f"10.0.0.{number}"), True, "", (), frozenset()),
                ConfigFacts("pod", IPv4Address(f"10.0.0.{number + 8}"), False, "", (), frozenset()),
            ),
        )
        for number in (4, 5)
    }  # fmt: skip
    return CloudEvidence(
        nics=nics, subnets={SUBNET.lower(): subnet}, groups={NSG.lower(): judged}, tables={TABLE.lower(): routes}
    )


def checked(evidence: CloudEvidence) -> dict[str, ClusterCheck]:
    return {one.code: one for one in check_security(evidence)}


def made_by(command: str) -> list[dict[str, str]]:
    """The rules that az would make, by flags; what is made twice under one name replaces what was there."""
    found = []
    for one in filter(None, map(str.strip, command.split(";"))):
        words = shlex.split(one)
        assert words[:5] == ["az", "network", "nsg", "rule", "create"]
        found.append(dict(zip(words[5::2], words[6::2], strict=True)))
    return found


def typed(judged: SecurityGroup, checks: dict[str, ClusterCheck]) -> SecurityGroup:
    """The group once a person has typed all commands, one after the other: a PUT by name, as az makes it."""
    by_name = {
        one["-n"]: rule(
            one["-n"], int(one["--priority"]), direction=one["--direction"], access=one["--access"],
            protocol=one["--protocol"], sourceAddressPrefix=one["--source-address-prefixes"],
            destinationAddressPrefix=one["--destination-address-prefixes"],
            destinationPortRange=one["--destination-port-ranges"],
        )
        for check in checks.values()
        for one in made_by(check.command)
    }  # fmt: skip
    numbers = [(one["properties"]["direction"], one["properties"]["priority"]) for one in by_name.values()]
    assert len(set(numbers)) == len(numbers), "Azure refuses two rules of one direction and priority"
    new = group(*by_name.values()).rules
    added = [one for one in new if one.name in by_name]
    return replace(judged, rules=tuple(sorted((*judged.rules, *added), key=lambda one: one.priority)))


@pytest.mark.parametrize(
    "rules",
    [
        (rule("nothing-in", 4096),),
        (rule("nothing-out", 4096, direction="Outbound"),),
        (rule("nothing-in", 300), rule("nothing-out", 300, direction="Outbound")),
        (rule("no-azure", 300, sourceAddressPrefix="AzureLoadBalancer"), rule("no-vnet", 299)),
        (rule("no-azure", 302, sourceAddressPrefix="AzureLoadBalancer"),
         rule("no-vnet", 300, sourceAddressPrefix="10.0.0.0/24")),
    ],
)  # fmt: skip
def test_all_commands_typed_one_after_the_other_mend_all_that_was_found(rules: tuple[dict[str, Any], ...]):
    judged = group(*rules)
    checks = checked(world(judged))
    assert {one.result for one in checks.values()} & {CheckResult.BAD, CheckResult.WARNING}
    mended = typed(judged, checks)
    assert {one.result for one in checked(world(mended)).values()} == {CheckResult.GOOD}


def test_a_policy_that_leaves_some_ports_is_not_undone_by_a_command():
    ports = rule("web", 300, access="Allow", destinationPortRange="443")
    check = checked(world(group(ports, rule("nothing-else", 4096))))["PodsShutOff"]
    assert check.result is CheckResult.WARNING
    assert "1 TCP port is left" in check.message
    assert not check.command
    assert re.search("if .*meant", check.do)


@pytest.mark.parametrize("prefixes", [("0.0.0.0/0",), ("0.0.0.0/1", "128.0.0.0/1")])
def test_prefixes_of_the_subnets_routes_belong_to_the_tag_virtualnetwork(prefixes: tuple[str, ...]):
    routes = [RouteFacts(f"r{number}", one, "virtualappliance", "10.9.0.4") for number, one in enumerate(prefixes)]
    vnet = rule("vnet", 200, direction="Outbound", access="Allow", destinationAddressPrefix="VirtualNetwork")
    judged = group(vnet, rule("nothing-else", 4096, direction="Outbound"))
    assert checked(world(judged))["OutboundDenied"].result is CheckResult.BAD
    assert checked(world(judged, *routes))["OutboundDenied"].result is CheckResult.GOOD
