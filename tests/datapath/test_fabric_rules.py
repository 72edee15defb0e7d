"""What security groups and route tables become, before the kernel sees it. Needs no root."""

from dataclasses import replace

import pytest

from azurebox.fabric.filters import NO_FILTERS, Filters, plan_filters
from azurebox.fabric.routes import let_in, plan_routes
from datapath.fabric_lab import a_network, with_nic
from fakeazure.effective import EffectiveNetwork
from fakeazure.effectivefilters import (
    EffectiveEnd,
    EffectiveRoute,
    EffectiveRouteTable,
    EffectiveRule,
    EffectiveSecurityGroup,
    EffectiveStorage,
)

NETWORK = a_network("box")
GROUP = "/groups/web"
ANY = EffectiveEnd(("*",), (), ("*",))
INSIDE = ("10.240.0.0/16", "10.241.0.0/16", "192.168.50.0/24", "168.63.129.16")


def planned(network: EffectiveNetwork) -> Filters:
    return plan_filters(network, {"p-vm1": network.nics[0], "p-vm2": network.nics[1]})


def rule_of(source: EffectiveEnd = ANY, target: EffectiveEnd = ANY, *, protocol: str = "*") -> list[str]:
    """The lines of an inbound rule that denies, without counter and verdict."""
    rule = EffectiveRule("one", 100, "Inbound", allow=False, protocol=protocol, source=source, destination=target)
    network = with_nic(NETWORK, 0, security_group_id=GROUP)
    filters = planned(replace(network, security_groups=(EffectiveSecurityGroup(GROUP, "web", (rule,)),)))
    (chain,) = filters.arriving["p-vm1"]
    return [
        line.removesuffix('counter name "hits/web/Inbound/one" drop').strip() for line in filters.chains[chain][:-1]
    ]


def test_a_group_that_nothing_names_costs_nothing() -> None:
    network = replace(NETWORK, security_groups=(EffectiveSecurityGroup(GROUP, "web", ()),))
    assert planned(network) == NO_FILTERS


def test_a_rule_for_everything_has_no_match() -> None:
    assert rule_of() == [""]


@pytest.mark.parametrize(
    ("prefix", "matches"),
    [
        ("10.0.0.0/8", ["ip saddr 10.0.0.0/8"]),
        ("0.0.0.0/0", [""]),
        ("VirtualNetwork", [f"ip saddr {one}" for one in INSIDE]),
        ("Internet", [" ".join(f"ip saddr != {one}" for one in (*INSIDE, "169.254.169.254"))]),
        ("AzureLoadBalancer", ["ip saddr 168.63.129.16"]),
        ("Storage.EastUS", ["ip saddr 198.51.100.2"]),
        ("AzurePlatformDNS", []),
    ],
)
def test_what_a_source_stands_for(prefix: str, matches: list[str]) -> None:
    assert rule_of(EffectiveEnd((prefix,), (), ("*",))) == matches


def test_lists_are_every_combination() -> None:
    source = EffectiveEnd(("10.0.0.0/8", "172.16.0.0/12"), (), ("*",))
    target = EffectiveEnd(("*",), (), ("80", "90-99"))
    assert rule_of(source, target, protocol="Tcp") == [
        "ip saddr 10.0.0.0/8 meta l4proto tcp th dport 80",
        "ip saddr 10.0.0.0/8 meta l4proto tcp th dport 90-99",
        "ip saddr 172.16.0.0/12 meta l4proto tcp th dport 80",
        "ip saddr 172.16.0.0/12 meta l4proto tcp th dport 90-99",
    ]


def test_ports_of_any_protocol_are_those_of_tcp_and_udp() -> None:
    assert rule_of(target=EffectiveEnd(("*",), (), ("53",))) == ["meta l4proto { tcp, udp } th dport 53"]


def test_a_group_without_members_matches_nothing() -> None:
    assert rule_of(EffectiveEnd((), ("/asgs/empty",), ("*",))) == ["ip saddr @asg-0"]


def test_one_group_on_two_subnets_is_judged_as_each_subnet_sees_it() -> None:
    main, peer = NETWORK.vnets
    rule = EffectiveRule("vnet", 100, "Inbound", allow=True, protocol="*",
                         source=EffectiveEnd(("VirtualNetwork",), (), ("*",)), destination=ANY)  # fmt: skip
    apps = replace(main.subnets[0], subnet_id="/vnets/main/subnets/apps", route_table_id="/tables/hub")
    network = replace(
        NETWORK,
        vnets=(replace(main, subnets=(main.subnets[0], apps)), peer),
        security_groups=(EffectiveSecurityGroup(GROUP, "web", (rule,)),),
        route_tables=(EffectiveRouteTable("/tables/hub", (EffectiveRoute("out", "0.0.0.0/0", "Internet", None),)),),
    )
    for index, subnet in enumerate(("nodes", "apps")):
        network = with_nic(network, index, security_group_id=GROUP, subnet_id=f"/vnets/main/subnets/{subnet}")
    filters = planned(network)
    (nodes,), (apps_chain,) = filters.arriving["p-vm1"], filters.arriving["p-vm2"]
    everything = 'counter name "hits/web/Inbound/vnet" return'
    assert everything not in filters.chains[nodes]
    assert everything in filters.chains[apps_chain]


def test_routes_by_length_and_the_users_before_the_systems() -> None:
    routes = (
        EffectiveRoute("all", "0.0.0.0/0", "None", None),
        EffectiveRoute("vnet", "10.240.0.0/16", "VirtualAppliance", "10.240.0.6"),
        EffectiveRoute("one", "10.240.0.9/32", "VnetLocal", None),
    )
    main, peer = NETWORK.vnets
    main = replace(main, subnets=(replace(main.subnets[0], route_table_id="/tables/HUB"),))
    network = replace(NETWORK, vnets=(main, peer), route_tables=(EffectiveRouteTable("/tables/hub", routes),))
    network = with_nic(network, 1, ip_forwarding=True)
    nics = {"p-vm1": network.nics[0], "p-vm2": network.nics[1]}
    planned_routes = plan_routes(network, nics, devices=frozenset(nics))
    assert planned_routes.chains["routes-0-0"] == (
        "ip daddr 10.240.0.9/32 return",
        "ip daddr 192.168.50.0/24 return",
        "ip daddr 192.168.0.0/16 drop",
        "ip daddr 10.240.0.0/16 goto to-p-vm2",
        "ip daddr 10.241.0.0/16 return",
        "ip daddr 172.16.0.0/12 drop",
        "ip daddr 100.64.0.0/10 drop",
        "ip daddr 10.0.0.0/8 drop",
        "drop",
    )


def test_storage_knows_only_subnets_with_an_endpoint() -> None:
    main, peer = NETWORK.vnets
    nodes = main.subnets[0]
    accounts = (EffectiveStorage("data", open=False, subnet_ids=(nodes.subnet_id.upper(),)),)
    network = replace(NETWORK, storage=accounts)
    assert let_in(network) == {"open": False, "subnets": {}, "allowed": []}
    nodes = replace(nodes, service_endpoints=("Microsoft.Storage",))
    network = replace(network, vnets=(replace(main, subnets=(nodes,)), peer))
    assert let_in(network) == {
        "open": False,
        "subnets": {nodes.prefix: nodes.subnet_id},
        "allowed": [nodes.subnet_id],
    }
