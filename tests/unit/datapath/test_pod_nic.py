"""What a node needs whose pods have a NIC of their own: its rules, its table, and what is said while they cannot be."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.leaving import Ways
from azure_cni.datapath.modes import BRIDGED, TRANSPARENT, Mode
from azure_cni.datapath.node_table import NodeTable, ruleset
from azure_cni.datapath.pod_nic import is_ours, pod_nic
from azure_cni.datapath.policy import OURS, PolicyRule, foreign
from azure_cni.datapath.second_nics import Detour, detour
from azure_cni.datapath.uplink import Link, Uplink
from azure_cni.errors import DatapathError
from azure_cni.model.identity import NodeNic

NODE, POD_PRIMARY, POD = IPv4Address("10.240.0.4"), IPv4Address("10.240.8.4"), IPv4Address("10.240.8.7")
SUBNET = IPv4Network("10.240.8.0/24")
ETH1 = Uplink("eth1", 3, 1500)
HELD = [(2, NODE, 22), (3, POD_PRIMARY, 24)]
TABLE = NodeTable(
    uplink_mac="00:0d:3a:00:00:0b",
    primary=POD_PRIMARY,
    pool=frozenset({POD}),
    public=frozenset(),
    routable=frozenset({IPv4Network("10.240.0.0/16")}),
    imds_allowed=False,
    node_nic=NodeNic("00:0d:3a:00:00:0a", NODE),
)
WAYS = Ways("eth1", node_nic="eth0")


def test_what_pods_send_goes_by_their_nic_and_marked_answers_by_the_nodes() -> None:
    nic = pod_nic(HELD, uplink=ETH1, primary=POD_PRIMARY)
    assert (nic.subnet, nic.gateway, nic.index) == (SUBNET, IPv4Address("10.240.8.1"), 3)
    assert list(map(str, nic.rules)) == [
        "92: from 10.240.8.0/24 fwmark 0x40/0x40 lookup 1633906282",
        "93: from 10.240.8.0/24 fwmark 0x0/0x20 lookup 1633906283",
    ]
    assert all(map(is_ours, nic.rules))
    assert not any(map(is_ours, {OURS, *Detour(SUBNET, (SUBNET,)).rules, PolicyRule(92, 77), PolicyRule(93, 77)}))


def test_the_rules_are_no_strangers() -> None:
    rules = [OURS, PolicyRule(32766, 254), *pod_nic(HELD, uplink=ETH1, primary=POD_PRIMARY).rules]
    assert foreign(rules, {POD}) == ()


@pytest.mark.parametrize("held", [[], [(2, NODE, 22)], [(2, POD_PRIMARY, 24)], [(3, POD_PRIMARY, 32)]])
def test_without_its_address_there_is_no_way_and_the_words_say_what_to_do(held: list[tuple[int, IPv4Address, int]]):
    with pytest.raises(DatapathError, match=r"by eth1, the NIC of the pod subnet: it does not have its"):
        pod_nic(held, uplink=ETH1, primary=POD_PRIMARY)


def test_calls_at_the_pods_nic_are_not_led_astray() -> None:
    """What comes in there is answered there: no mark of a further NIC, but the node still reaches the subnet."""
    links = [Link(2, "eth0", "a", 1500, up=True), Link(3, "eth1", "b", 1500, up=True)]
    found = detour(links, HELD, uplink=2, primary=NODE, routable=TABLE.routable, pods=3)
    assert found is not None
    assert (found.destinations, found.own, found.nics) == ((SUBNET,), (), ())
    other = detour(links, HELD, uplink=2, primary=NODE, routable=TABLE.routable)
    assert other is not None
    assert (other.own, other.nics) == ((POD_PRIMARY,), (3,))


@pytest.mark.parametrize("mode", [TRANSPARENT, BRIDGED])
def test_the_nodes_address_is_only_for_what_leaves_by_the_nodes_nic(mode: Mode) -> None:
    text = ruleset(replace(TABLE, mode=mode.name), ways=WAYS, pods=mode.links)
    translated = [line.strip() for line in text.splitlines() if "snat ip to" in line or "masquerade" in line]
    assert translated == [f'oifname "eth0" ip saddr @pool snat ip to {NODE} fully-random']
    assert text.count(f"{mode.links.came_in()} ip saddr @pool ip daddr {{ 168.63.129.16, 169.254.169.254 }}") == 1
    assert text.count('oifname { "eth1", "eth0" } ip daddr @pool counter reject') == 2
    assert f'{mode.links.came_in()} oifname "eth0" ip saddr @pool counter drop' in text
    assert 'iifname "eth0" ct direction original ct mark set ct mark | 0x40' in text
    assert "jump guard" in text


def test_a_pool_on_the_nodes_nic_has_no_marks() -> None:
    text = ruleset(replace(TABLE, node_nic=None, primary=NODE), ways=Ways("eth0"), pods=TRANSPARENT.links)
    assert "0x40" not in text
    assert text.count(f"snat ip to {NODE}") == 2
