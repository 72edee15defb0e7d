"""By which way a node gets out: in Azure's order, and what ends default outbound access."""

from __future__ import annotations

import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.diagnose.check_results import CheckResult
from azure_cni.diagnose.cloud_checks import check_pools
from azure_cni.diagnose.cloud_evidence import (
    BalancerFacts,
    CloudEvidence,
    ConfigFacts,
    NicFacts,
    RouteFacts,
    SubnetFacts,
    parse_balancer,
    parse_nic,
    parse_routes,
    parse_subnets,
)
from azure_cni.diagnose.machine_facts import MachineEvidence
from azure_cni.diagnose.outbound_checks import WayKind, check_ways_out, way_out

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
SUBNET, TABLE, NAT = f"{GROUP}/virtualNetworks/v/subnets/n", f"{GROUP}/routeTables/t", f"{GROUP}/natGateways/nat"
POOL, INNER = f"{GROUP}/loadBalancers/out/backendAddressPools/p", f"{GROUP}/loadBalancers/in/backendAddressPools/p"
PUBLIC = f"{GROUP}/publicIPAddresses/ip"
EVERYTHING = RouteFacts("all", "0.0.0.0/0", "virtualappliance", "10.0.0.9")


def world(
    *routes: RouteFacts, gateway: bool | None = None, own: tuple[str, ...] = (), pod: tuple[str, ...] = (),
    public: str = "", pod_public: str = "", default: bool | None = None, **unread: str,
) -> CloudEvidence:  # fmt: skip
    """One node: pools and public addresses of its primary ipConfiguration (`own`) and of a pod's."""
    primary = ConfigFacts("first", IPv4Address("10.0.0.4"), True, public, own, frozenset())
    other = ConfigFacts("pod", IPv4Address("10.0.0.5"), False, pod_public, pod, frozenset())
    subnet = SubnetFacts(
        SUBNET, (IPv4Network("10.0.0.0/24"),), "westeurope", "", TABLE if routes else "",
        "" if gateway is None else NAT, default,
    )  # fmt: skip
    balancers = (
        BalancerFacts(f"{GROUP}/loadBalancers/out", True, frozenset({POOL.lower()}), ()),
        BalancerFacts(f"{GROUP}/loadBalancers/in", True, frozenset(), ()),
    )
    return CloudEvidence(
        nics={"vm1": NicFacts(f"{GROUP}/networkInterfaces/nic", "", SUBNET, "", (primary, other))},
        subnets={SUBNET.lower(): subnet},
        tables={TABLE.lower(): routes},
        gateways={} if gateway is None else {NAT.lower(): gateway},
        balancers={one.id.lower(): one for one in balancers},
        unread={key.lower(): value for key, value in unread.items()},
    )


@pytest.mark.parametrize(
    ("evidence", "way"),
    [
        (world(), WayKind.NONE),
        (world(public=PUBLIC), WayKind.NONE),
        (world(own=(POOL,)), WayKind.NONE),
        (world(gateway=True), WayKind.NAT),
        (world(EVERYTHING), WayKind.APPLIANCE),
    ],
)
def test_pods_of_a_pod_subnet_get_out_by_what_that_subnet_has(evidence: CloudEvidence, way: WayKind):
    assert way_out(replace(evidence.nics["vm1"], primary=False), evidence).way is way


def found(evidence: CloudEvidence) -> WayKind:
    return way_out(evidence.nics["vm1"], evidence).way


@pytest.mark.parametrize(
    ("evidence", "way"),
    [
        (world(), WayKind.DEFAULT),
        (world(default=True), WayKind.DEFAULT),
        (world(default=False), WayKind.NONE),
        (world(gateway=True, default=False), WayKind.NAT),
        (world(gateway=False), WayKind.NONE),
        (world(public=PUBLIC, default=False), WayKind.PUBLIC_IP),
        (world(pod_public=PUBLIC), WayKind.NONE),
        (world(own=(POOL,), default=False), WayKind.BALANCER),
        (world(pod=(POOL,)), WayKind.NONE),  # outbound rules are for primary ipConfigurations
        (world(own=(INNER,)), WayKind.NONE),
        (world(pod=(INNER,)), WayKind.NONE),
        (world(own=(INNER, POOL)), WayKind.BALANCER),
        (world(EVERYTHING, default=False), WayKind.APPLIANCE),
        (world(EVERYTHING, gateway=True), WayKind.APPLIANCE),
        (world(RouteFacts("no", "0.0.0.0/0", "none", ""), gateway=True), WayKind.DROPPED),
        (world(RouteFacts("vpn", "0.0.0.0/0", "virtualnetworkgateway", "")), WayKind.NETWORK_GATEWAY),
        (world(RouteFacts("out", "0.0.0.0/0", "internet", ""), default=False), WayKind.NONE),
        (world(RouteFacts("one", "192.168.0.0/16", "none", "")), WayKind.DEFAULT),
        (world(RouteFacts("low", "0.0.0.0/1", "none", "")), WayKind.DEFAULT),
        (
            world(RouteFacts("low", "0.0.0.0/1", "none", ""), RouteFacts("high", "128.0.0.0/1", "none", "")),
            WayKind.DROPPED,
        ),
        (
            world(
                RouteFacts("no", "0.0.0.0/0", "none", ""),
                replace(EVERYTHING, prefix="0.0.0.0/1"),
                replace(EVERYTHING, prefix="128.0.0.0/1"),
            ),
            WayKind.APPLIANCE,  # the longer prefix wins
        ),
        (world(EVERYTHING, **{TABLE: "denied"}), WayKind.UNKNOWN),
        (world(gateway=True, **{NAT: "denied"}), WayKind.UNKNOWN),
    ],
)
def test_ways_in_azures_order(evidence: CloudEvidence, way: WayKind):
    assert found(evidence) is way
    result = check_ways_out(evidence).result
    wrong = {WayKind.NONE: CheckResult.BAD, WayKind.DROPPED: CheckResult.BAD, WayKind.UNKNOWN: CheckResult.UNKNOWN}
    assert result is wrong.get(way, CheckResult.GOOD)


def test_a_gateway_without_an_address_gets_one():
    command = check_ways_out(world(gateway=False)).command
    assert command.endswith(f"az network nat gateway update --ids {NAT} --public-ip-addresses {PUBLIC[:-2]}nat-ip")
    assert "az network public-ip create --subscription s -g g -l westeurope -n nat-ip" in command


def test_each_vnet_gets_a_gateway_of_its_own_with_an_address_of_its_own():
    one = world(default=False)
    subnet, other = one.subnets[SUBNET.lower()], SUBNET.replace("/v/", "/w/")
    second = replace(subnet, id=f"{SUBNET}2", nat_gateway_id=NAT)  # of the first VNet, its gateway without an address
    subnets = (subnet, second, replace(subnet, id=other))
    both = replace(
        one,
        nics={each.id: replace(one.nics["vm1"], subnet_id=each.id) for each in subnets},
        subnets={each.id.lower(): each for each in subnets},
        gateways={NAT.lower(): False},
    )
    commands = [shlex.split(one) for one in check_ways_out(both).command.split(" && ")]
    made = {words[words.index("-n") + 1] for words in commands if words[2:4] == ["nat", "gateway"] and "-n" in words}
    addresses = [words[words.index("--public-ip-addresses") + 1] for words in commands if words[2] == "nat"]
    joined = {words[words.index("--ids") + 1]: words[-1] for words in commands if words[2] == "vnet"}
    assert made == {"azure-cni-nat-v", "azure-cni-nat-w"}
    assert joined == {SUBNET: "azure-cni-nat-v", other: "azure-cni-nat-w"}
    assert len(addresses) == len({address.rpartition("/")[2] for address in addresses}) == 3


@pytest.mark.parametrize(("uniform", "way"), [(False, WayKind.NONE), (True, WayKind.DEFAULT)])
def test_vms_of_flexible_scale_sets_have_no_default_outbound_access(*, uniform: bool, way: WayKind):
    scale_set = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/Pool"
    machines = MachineEvidence(scale_sets={"vm1": scale_set}, uniform={scale_set.lower(): uniform})
    check = check_ways_out(replace(world(), machines=machines))
    assert (check.result is CheckResult.BAD) is (way is WayKind.NONE)
    with_gateway = check_ways_out(replace(world(gateway=True), machines=machines))
    assert with_gateway.result is CheckResult.GOOD


def test_of_a_route_that_drops_people_decide():
    check = check_ways_out(world(RouteFacts("no", "0.0.0.0/0", "none", "")))
    assert check.command == "az network route-table route list --subscription s -g g --route-table-name t -o table"


@pytest.mark.parametrize(
    ("rule", "public", "leaves"),
    [({}, True, True), ({"disableOutboundSnat": True}, True, False), ({}, False, False)],
)
def test_a_balancing_rule_of_a_public_frontend_is_a_way_out(rule: dict[str, Any], *, public: bool, leaves: bool):
    balancer = f"{GROUP}/loadBalancers/lb"
    frontend, pool = f"{balancer}/frontendIPConfigurations/f", f"{balancer}/backendAddressPools/P"
    inside = {"publicIPAddress": {"id": PUBLIC}} if public else {"subnet": {"id": SUBNET}}
    properties = {
        "frontendIPConfigurations": [{"id": frontend, "properties": inside}],
        "loadBalancingRules": [{"name": "r", "properties": {"frontendIPConfiguration": {"id": frontend.upper()},
                                                            "backendAddressPool": {"id": pool}, **rule}}],
    }  # fmt: skip
    parsed = parse_balancer({"id": balancer, "sku": {"name": "Standard"}, "properties": properties})
    assert (pool.lower() in parsed.outbound) is leaves


KEYS = ("id", "name", "properties", "ipConfigurations", "subnets", "routes", "loadBalancingRules", "addressPrefix",
        "privateIPAddress", "primary", "subnet", "outboundRules", "frontendIPConfigurations", "sku")  # fmt: skip
documents = st.recursive(
    st.none() | st.booleans() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), documents))
def test_no_document_is_too_odd(document: dict[str, Any]):
    nic = parse_nic(document)
    parse_balancer(document)
    evidence = CloudEvidence(nics={"vm1": nic}, subnets=parse_subnets(document), tables={"": parse_routes(document)})
    check_ways_out(evidence)


@pytest.mark.parametrize(("evidence", "typed"), [(world(default=False), False), (world(gateway=True), True)])
def test_no_command_takes_the_only_way_out_away(evidence: CloudEvidence, *, typed: bool):
    balancer = next(iter(evidence.balancers.values()))
    service = replace(balancer, rules=(f"a{'0' * 31}-TCP-80",))
    nic = evidence.nics["vm1"]
    primary = replace(nic.configs[0], pools=(POOL,))
    inside = replace(
        evidence,
        nics={"vm1": replace(nic, configs=(primary, *nic.configs[1:]))},
        balancers=dict(evidence.balancers) | {service.id.lower(): service},
    )
    check = check_pools(inside)
    assert check.result is CheckResult.WARNING
    assert bool(check.command) is typed
    assert ("vm1 first another way out" in check.do) is not typed
