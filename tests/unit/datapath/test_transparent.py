"""A sandbox as data: what each end should hold, and each difference in words."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

import pytest

from azure_cni.datapath import names
from azure_cni.datapath.interface import Interface, Missing, Neighbour, Route, Wiring, differences, missing
from azure_cni.datapath.names import GROUP
from azure_cni.datapath.transparent import VethSpec, node_end, pod_end, ways_back, wiring

SPEC = VethSpec(
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/pod",
    addresses=(IPv4Address("10.240.0.7"),),
    mtu=1500,
    node_address=IPv4Address("10.240.0.4"),
)
IPV6 = IPv6Address("2001:db8::7")
HOST, HOST_MAC, POD_MAC = names.host_ifname("c1", "eth0"), names.host_mac("c1", "eth0"), names.pod_mac("c1", "eth0")


def test_the_nodes_end_routes_to_the_pod_and_knows_its_mac() -> None:
    assert node_end(SPEC) == Interface(
        name=HOST,
        mac=HOST_MAC,
        mtu=1500,
        up=True,
        group=GROUP,
        addresses=(),
        routes=(
            Route(IPv4Network("10.240.0.7/32"), gateway=None, source=IPv4Address("10.240.0.4")),
            Route(IPv4Network("10.240.0.7/32"), metric=1),
        ),
        neighbours=(Neighbour(IPv4Address("10.240.0.7"), POD_MAC),),
    )


def test_without_an_address_of_the_node_there_is_no_source_to_lose_and_one_route_is_enough() -> None:
    assert node_end(replace(SPEC, node_address=None)).routes == (Route(IPv4Network("10.240.0.7/32")),)


def test_each_of_several_addresses_is_routed_and_known_at_both_ends() -> None:
    other = IPv4Address("10.240.0.8")
    spec = replace(SPEC, addresses=(*SPEC.addresses, other))
    primary = IPv4Address("10.240.0.4")
    assert node_end(spec).routes[2:] == (Route(IPv4Network(other), source=primary), Route(IPv4Network(other), metric=1))
    assert node_end(spec).neighbours[1:] == (Neighbour(other, POD_MAC),)
    assert pod_end(spec).addresses == (IPv4Interface("10.240.0.7/32"), IPv4Interface("10.240.0.8/32"))
    assert pod_end(spec).routes == pod_end(SPEC).routes


def test_the_pods_end_has_its_address_and_reaches_all_by_the_gateway() -> None:
    gateway = IPv4Address("169.254.1.1")
    assert pod_end(SPEC) == Interface(
        name="eth0",
        mac=POD_MAC,
        mtu=1500,
        up=True,
        addresses=(IPv4Interface("10.240.0.7/32"),),
        routes=(Route(IPv4Network("169.254.1.1/32")), Route(IPv4Network("0.0.0.0/0"), gateway=gateway)),
        neighbours=(Neighbour(gateway, HOST_MAC),),
    )


def test_a_second_family_adds_to_each_end_and_changes_nothing_of_the_first() -> None:
    spec = replace(SPEC, addresses=(*SPEC.addresses, IPV6))
    pod, gateway = IPv6Network(IPV6), IPv6Address("fe80::1")
    assert node_end(spec) == replace(
        node_end(SPEC),
        routes=(*node_end(SPEC).routes, Route(pod, metric=1)),
        neighbours=(*node_end(SPEC).neighbours, Neighbour(IPV6, POD_MAC)),
    )
    assert pod_end(spec) == replace(
        pod_end(SPEC),
        addresses=(*pod_end(SPEC).addresses, IPv6Interface("2001:db8::7/128")),
        routes=(*pod_end(SPEC).routes, Route(IPv6Network("::/0"), gateway=gateway, metric=1024)),
        neighbours=(*pod_end(SPEC).neighbours, Neighbour(gateway, HOST_MAC)),
    )
    assert wiring(spec).addresses == spec.addresses


def test_a_further_interface_of_both_families_has_a_way_back_for_each() -> None:
    spec = replace(SPEC, ifname="net1", addresses=(*SPEC.addresses, IPV6))
    ipv4, ipv6 = ways_back(spec)
    assert (ipv4,) == ways_back(replace(spec, addresses=SPEC.addresses))
    assert str(ipv6.default) == "::/0 via fe80::1 metric 1024"
    assert [str(rule) for rule in ipv6.rules] == [f"1000: from 2001:db8::7 lookup {ipv4.table}"]
    assert not any(route.is_default for route in pod_end(spec).routes)
    assert [neighbour.address.version for neighbour in pod_end(spec).neighbours] == [4, 6]


def test_a_further_interface_has_a_gateway_of_its_own_and_is_not_the_way_out() -> None:
    spec = replace(SPEC, ifname="net1", addresses=(*SPEC.addresses, IPv4Address("10.240.0.8")))
    gateway, end, (way,) = names.link_gateway("c1", "net1"), pod_end(spec), ways_back(spec)
    assert end.routes == (Route(IPv4Network(gateway)),)
    assert end.neighbours == (Neighbour(gateway, names.host_mac("c1", "net1")),)
    assert way.default == Route(IPv4Network("0.0.0.0/0"), gateway=gateway)
    table = int(IPv4Address("10.240.0.7"))
    assert [str(rule) for rule in way.rules] == [
        f"1000: from 10.240.0.7 lookup {table}",
        f"1000: from 10.240.0.8 lookup {table}",
    ]
    assert ways_back(SPEC) == ()
    assert node_end(spec).routes[:2] == node_end(SPEC).routes


def test_the_wiring_is_both_ends() -> None:
    assert wiring(SPEC) == Wiring(node=(node_end(SPEC),), pod=pod_end(SPEC))


def test_what_is_as_wanted_or_more_has_no_differences() -> None:
    wanted = pod_end(SPEC)
    more = replace(
        wanted,
        addresses=(IPv4Interface("192.0.2.1/32"), *wanted.addresses),
        routes=(*wanted.routes, Route(IPv4Network("192.0.2.0/24"))),
    )
    assert differences(wanted, wanted, where="pod") == ()
    assert differences(wanted, more, where="pod") == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"up": False}, "pod: interface eth0 is down"),
        ({"mac": "02:00:00:00:00:99"}, f"pod: interface eth0 has MAC 02:00:00:00:00:99, not {POD_MAC}"),
        ({"mtu": 1400}, "pod: interface eth0 has MTU 1400, not 1500"),
        ({"addresses": ()}, "pod: interface eth0 lacks address 10.240.0.7"),
        (
            {"routes": (Route(IPv4Network("169.254.1.1/32")),)},
            "pod: interface eth0 lacks route 0.0.0.0/0 via 169.254.1.1",
        ),
        (
            {"neighbours": (Neighbour(IPv4Address("169.254.1.1"), "02:00:00:00:00:99"),)},
            f"pod: interface eth0 lacks permanent neighbour 169.254.1.1 at {HOST_MAC}",
        ),
    ],
)
def test_each_difference_has_its_words(change: dict[str, Any], words: str) -> None:
    assert differences(pod_end(SPEC), replace(pod_end(SPEC), **change), where="pod") == (words,)


def test_a_route_with_another_source_is_another_route() -> None:
    observed = replace(node_end(SPEC), routes=(Route(IPv4Network("10.240.0.7/32")),))
    assert differences(node_end(SPEC), observed, where="node") == (
        f"node: interface {HOST} lacks route 10.240.0.7/32 src 10.240.0.4",
        f"node: interface {HOST} lacks route 10.240.0.7/32 metric 1",
    )


def test_what_is_lost_of_routes_and_neighbours_is_found_as_data_and_reported_as_words() -> None:
    wanted = node_end(SPEC)
    assert not missing(wanted, wanted)
    observed = replace(wanted, routes=wanted.routes[1:], neighbours=())
    lacking = missing(wanted, observed)
    assert lacking == Missing(routes=wanted.routes[:1], neighbours=wanted.neighbours)
    assert lacking.words() == (
        "route 10.240.0.7/32 src 10.240.0.4",
        f"permanent neighbour 10.240.0.7 at {POD_MAC}",
    )


def test_a_missing_interface_is_one_difference() -> None:
    assert differences(pod_end(SPEC), None, where="pod") == ("pod: interface eth0 is missing",)
