"""Which subnets of further NICs pods reach by the primary one, by what rules, and what is marked for it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.names import GROUP
from azure_cni.datapath.policy import OURS, PolicyRule, diversions, foreign
from azure_cni.datapath.second_nics import Detour, detour, is_ours, marking
from azure_cni.datapath.uplink import Link

PRIMARY, POD, SECOND = map(IPv4Address, ("10.240.0.4", "10.240.0.7", "10.240.8.4"))
SUBNET, BACK = IPv4Network("10.240.0.0/22"), IPv4Network("10.240.8.0/24")
ROUTABLE = frozenset({IPv4Network("10.240.0.0/16")})
LOOPBACK = Link(index=1, name="lo", mac="00:00:00:00:00:00", mtu=65536, up=True)
ETH0 = Link(index=2, name="eth0", mac="00:0d:3a:00:00:0a", mtu=1500, up=True)
ETH1 = Link(index=3, name="eth1", mac="00:0d:3a:00:00:0b", mtu=1500, up=True)
LINKS = (LOOPBACK, ETH0, ETH1)
ON_ETH0 = (2, PRIMARY, 22)
RULE = PolicyRule(91, GROUP, source=SUBNET, destination=BACK, narrowed=True, mark=(0, 0x20))
KERNELS = {PolicyRule(0, 255), PolicyRule(32766, 254), PolicyRule(32767, 253)}


def needed(*held: tuple[int, IPv4Address, int], links: tuple[Link, ...] = LINKS) -> Detour | None:
    return detour(links, held, uplink=2, primary=PRIMARY, routable=ROUTABLE)


def beside(address: str, length: int, link: Link = ETH1) -> tuple[IPv4Network, ...]:
    found = needed(ON_ETH0, (link.index, IPv4Address(address), length), links=(LOOPBACK, ETH0, link))
    assert found is not None
    return found.destinations


def test_the_subnet_of_a_second_nic_is_reached_by_the_first() -> None:
    found = needed(ON_ETH0, (3, SECOND, 24))
    assert found == Detour(SUBNET, (BACK,), (SECOND,), (3,))
    assert found.gateway == IPv4Address("10.240.0.1")
    assert found.rules == (RULE,)
    assert str(RULE) == "91: from 10.240.0.0/22 to 10.240.8.0/24 fwmark 0x0/0x20 lookup 1633906282"


@pytest.mark.parametrize("kind", ["", "veth", "bond", "team"])
def test_a_nic_is_hardware_or_what_stands_for_it(kind: str) -> None:
    assert beside("10.240.8.4", 24, replace(ETH1, kind=kind)) == (BACK,)


@pytest.mark.parametrize(
    ("address", "length", "link"),
    [
        ("10.250.0.4", 24, ETH1),  # outside the VNet
        ("10.0.0.4", 8, ETH1),  # more than the VNet
        ("10.240.3.4", 22, ETH1),  # in the primary NIC's own subnet
        ("10.240.8.4", 32, ETH1),  # a single address, as of a tunnel
        ("10.240.8.1", 24, LOOPBACK),
        ("10.240.8.1", 24, replace(ETH1, name="azure0")),
        ("10.240.8.1", 24, replace(ETH1, name="acni0a1b2c3d4e5", kind="veth")),
        ("10.240.8.1", 24, replace(ETH1, name="docker0", kind="bridge")),
        ("10.240.8.1", 24, replace(ETH1, name="wg0", kind="wireguard")),
        ("10.240.8.1", 24, replace(ETH1, name="enP1s1", mac=ETH0.mac)),  # another face of the primary NIC
    ],
)
def test_all_else_is_left_alone(address: str, length: int, link: Link) -> None:
    assert beside(address, length, link) == ()


def test_several_nics_and_addresses_are_one_rule_for_each_subnet() -> None:
    third = replace(ETH1, index=4, name="eth2", mac="00:0d:3a:00:00:0c")
    others = [(4, IPv4Address("10.240.9.4"), 24), (3, SECOND, 24), (3, IPv4Address("10.240.8.5"), 24)]
    found = needed(ON_ETH0, *others, links=(*LINKS, third))
    assert found is not None
    assert [str(rule.destination) for rule in found.rules] == ["10.240.8.0/24", "10.240.9.0/24"]
    assert list(map(str, found.own)) == ["10.240.8.4", "10.240.8.5", "10.240.9.4"]
    assert found.nics == (3, 4)


def test_nothing_is_known_while_the_nic_lacks_its_primary_address() -> None:
    assert needed((3, SECOND, 24)) is None
    assert needed((2, PRIMARY, 32), (3, SECOND, 24)) is None
    assert needed((2, PRIMARY, 32), ON_ETH0) == Detour(SUBNET)


def test_its_rules_are_no_conflict_and_no_diversion() -> None:
    present = {OURS, RULE, *KERNELS}
    assert foreign(present, frozenset({POD})) == ()
    assert diversions(present, {POD}) == ()
    assert is_ours(RULE)
    assert not any(map(is_ours, {OURS, *KERNELS, PolicyRule(91, 77), PolicyRule(500, GROUP)}))


def test_connections_led_on_from_the_second_address_are_marked() -> None:
    assert marking(()) == ""
    text = marking((SECOND,))
    line = "ct status dnat ct original ip daddr { 10.240.8.4 } meta mark set meta mark | 0x20"
    assert text.count(line) == 2
    assert "type route hook output priority mangle" in text
