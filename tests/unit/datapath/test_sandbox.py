"""A sandbox as data: what each end should hold, and each difference in words."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from azure_cni.datapath.sandbox import (
    GROUP,
    Interface,
    Lost,
    Neighbour,
    Route,
    SandboxLinks,
    SandboxSpec,
    differences,
    links,
    lost,
    node_end,
    pod_end,
)

SPEC = SandboxSpec(
    netns="/run/netns/pod",
    ifname="eth0",
    address=IPv4Address("10.240.0.7"),
    host_ifname="acni0123456789a",
    host_mac="02:00:00:00:00:01",
    pod_mac="02:00:00:00:00:02",
    mtu=1500,
    node_address=IPv4Address("10.240.0.4"),
)


def test_the_nodes_end_routes_to_the_pod_and_knows_its_mac() -> None:
    assert node_end(SPEC) == Interface(
        name="acni0123456789a",
        mac="02:00:00:00:00:01",
        mtu=1500,
        up=True,
        group=GROUP,
        addresses=(),
        routes=(
            Route(IPv4Network("10.240.0.7/32"), gateway=None, source=IPv4Address("10.240.0.4")),
            Route(IPv4Network("10.240.0.7/32"), metric=1),
        ),
        neighbours=(Neighbour(IPv4Address("10.240.0.7"), "02:00:00:00:00:02"),),
    )


def test_without_an_address_of_the_node_there_is_no_source_to_lose_and_one_route_is_enough() -> None:
    assert node_end(replace(SPEC, node_address=None)).routes == (Route(IPv4Network("10.240.0.7/32")),)


def test_the_pods_end_has_its_address_and_reaches_all_by_the_gateway() -> None:
    gateway = IPv4Address("169.254.1.1")
    assert pod_end(SPEC) == Interface(
        name="eth0",
        mac="02:00:00:00:00:02",
        mtu=1500,
        up=True,
        addresses=(IPv4Address("10.240.0.7"),),
        routes=(Route(IPv4Network("169.254.1.1/32")), Route(IPv4Network("0.0.0.0/0"), gateway=gateway)),
        neighbours=(Neighbour(gateway, "02:00:00:00:00:01"),),
    )


def test_the_links_are_those_of_the_spec() -> None:
    assert links(SPEC) == SandboxLinks("acni0123456789a", "02:00:00:00:00:01", "eth0", "02:00:00:00:00:02", 1500)


def test_what_is_as_wanted_or_more_has_no_differences() -> None:
    wanted = pod_end(SPEC)
    more = replace(
        wanted,
        addresses=(IPv4Address("192.0.2.1"), *wanted.addresses),
        routes=(*wanted.routes, Route(IPv4Network("192.0.2.0/24"))),
    )
    assert differences(wanted, wanted, where="pod") == ()
    assert differences(wanted, more, where="pod") == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"up": False}, "pod: interface eth0 is down"),
        ({"mac": "02:00:00:00:00:99"}, "pod: interface eth0 has MAC 02:00:00:00:00:99, not 02:00:00:00:00:02"),
        ({"mtu": 1400}, "pod: interface eth0 has MTU 1400, not 1500"),
        ({"addresses": ()}, "pod: interface eth0 lacks address 10.240.0.7"),
        (
            {"routes": (Route(IPv4Network("169.254.1.1/32")),)},
            "pod: interface eth0 lacks route 0.0.0.0/0 via 169.254.1.1",
        ),
        (
            {"neighbours": (Neighbour(IPv4Address("169.254.1.1"), "02:00:00:00:00:99"),)},
            "pod: interface eth0 lacks permanent neighbour 169.254.1.1 at 02:00:00:00:00:01",
        ),
    ],
)
def test_each_difference_has_its_words(change: dict[str, Any], words: str) -> None:
    assert differences(pod_end(SPEC), replace(pod_end(SPEC), **change), where="pod") == (words,)


def test_a_route_with_another_source_is_another_route() -> None:
    seen = replace(node_end(SPEC), routes=(Route(IPv4Network("10.240.0.7/32")),))
    assert differences(node_end(SPEC), seen, where="node") == (
        "node: interface acni0123456789a lacks route 10.240.0.7/32 src 10.240.0.4",
        "node: interface acni0123456789a lacks route 10.240.0.7/32 metric 1",
    )


def test_what_is_lost_of_routes_and_neighbours_is_found_as_data_and_told_as_words() -> None:
    wanted = node_end(SPEC)
    assert not lost(wanted, wanted)
    seen = replace(wanted, routes=wanted.routes[1:], neighbours=())
    gap = lost(wanted, seen)
    assert gap == Lost(routes=wanted.routes[:1], neighbours=wanted.neighbours)
    assert gap.words() == (
        "route 10.240.0.7/32 src 10.240.0.4",
        "permanent neighbour 10.240.0.7 at 02:00:00:00:00:02",
    )


def test_a_missing_interface_is_one_difference() -> None:
    assert differences(pod_end(SPEC), None, where="pod") == ("pod: interface eth0 is missing",)
