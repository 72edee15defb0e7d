"""The node's table as text: the whole of it against a file, and what changes it."""

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from azure_cni.datapath.leaving import IMDS, WIRESERVER, Ways
from azure_cni.datapath.modes import TRANSPARENT
from azure_cni.datapath.node_table import NodeTable, egress_script, ruleset
from azure_cni.model.identity import ModeName

PODS = TRANSPARENT.links
GOLDEN = Path(__file__).with_name("table.nft")
TABLE = NodeTable(
    uplink_mac="00:0d:3a:00:00:0a",
    primary=IPv4Address("10.240.0.4"),
    pool=frozenset(map(IPv4Address, ("10.240.0.10", "10.240.0.5", "10.240.0.9"))),
    public=frozenset({IPv4Address("10.240.0.9")}),
    routable=frozenset(map(IPv4Network, ("10.240.0.0/16", "10.241.0.0/16", "10.240.8.0/24", "192.168.50.0/24"))),
    imds_allowed=False,
    own_egress=frozenset({IPv4Address("10.240.0.5")}),
)


DUAL = replace(
    TABLE,
    kept=frozenset({IPv4Address("10.240.0.77")}),
    ipv6_pairs=frozenset(
        {
            (IPv4Address("10.240.0.77"), IPv6Address("2001:db8:0:2::4d")),
            (IPv4Address("10.240.0.5"), IPv6Address("2001:db8:0:1::5")),
        }
    ),
    ipv6_blocks=frozenset({IPv6Network("2001:db8:0:1::/112")}),
)


def test_the_whole_table() -> None:
    assert ruleset(TABLE, ways=Ways("eth0"), pods=PODS) == GOLDEN.read_text()


def test_the_whole_of_both_tables_behind_a_bridge() -> None:
    table = replace(TABLE, mode=ModeName.BRIDGE, kept=frozenset({IPv4Address("10.240.0.77")}))
    assert ruleset(table, ways=Ways("eth0"), pods=table.pods) == GOLDEN.with_name("table_bridge.nft").read_text()


def test_the_whole_of_both_tables_where_pods_have_ipv6_too() -> None:
    assert ruleset(DUAL, ways=Ways("eth0"), pods=PODS) == GOLDEN.with_name("table_dual.nft").read_text()
    table = replace(DUAL, mode=ModeName.BRIDGE)
    golden = GOLDEN.with_name("table_bridge_dual.nft").read_text()
    assert ruleset(table, ways=Ways("eth0"), pods=table.pods) == golden


def test_what_is_about_ipv6_comes_and_goes_with_pods_that_have_it() -> None:
    """In one family the one line about it drops everything; with both, that line is the only one that goes."""
    for mode in ModeName:
        one = replace(DUAL, mode=mode, ipv6_pairs=frozenset(), ipv6_blocks=frozenset())
        both = replace(DUAL, mode=mode)
        before, after = (ruleset(table, ways=Ways("eth0"), pods=table.pods).splitlines() for table in (one, both))
        gone = {line.strip() for line in before} - {line.strip() for line in after}
        bridged = {'ether type != ip counter drop comment "pods need no ARP and have no IPv6 address"'}
        dropped = {'meta nfproto ipv6 counter drop comment "pods have no IPv6 address"'}
        assert gone == dropped | (bridged if mode is ModeName.BRIDGE else set())
        translating = [line for line in set(after) - set(before) if "snat" in line or "masquerade" in line]
        assert translating == []


def test_ipv6_addresses_that_a_block_holds_are_not_listed_beside_it_for_nft_refuses_them() -> None:
    text = ruleset(DUAL, ways=Ways("eth0"), pods=PODS)
    assert "elements = { 2001:db8:0:1::/112, 2001:db8:0:2::4d }" in text
    alone = replace(DUAL, ipv6_blocks=frozenset())
    assert "elements = { 2001:db8:0:1::5, 2001:db8:0:2::4d }" in ruleset(alone, ways=Ways("eth0"), pods=PODS)


def test_equal_tables_give_equal_text() -> None:
    """Sets have no order: what is compared to find drift must not depend on it."""
    shuffled = replace(TABLE, pool=frozenset(sorted(TABLE.pool, reverse=True)))
    assert ruleset(shuffled, ways=Ways("eth0"), pods=PODS) == ruleset(TABLE, ways=Ways("eth0"), pods=PODS)


def test_overlapping_prefixes_are_merged_for_nft_refuses_them() -> None:
    assert "elements = { 10.240.0.0/15, 192.168.50.0/24 }" in ruleset(TABLE, ways=Ways("eth0"), pods=PODS)


def test_empty_sets_have_no_elements_for_nft_refuses_an_empty_list() -> None:
    empty = replace(TABLE, pool=frozenset(), public=frozenset(), routable=frozenset(), own_egress=frozenset())
    assert "elements" not in ruleset(empty, ways=Ways("eth0"), pods=PODS)


def test_opening_imds_opens_it_to_pods_alone() -> None:
    closed = ruleset(TABLE, ways=Ways("eth0"), pods=PODS).splitlines()
    opened = ruleset(replace(TABLE, imds_allowed=True), ways=Ways("eth0"), pods=PODS).splitlines()
    (more,) = set(opened) - set(closed)
    assert more.strip() == 'iifname "acni*" ip daddr 169.254.169.254 return'
    assert [line for line in opened if line != more] == closed
    assert "169.254.169.254 counter reject" in opened[opened.index(more) + 1]


def test_all_that_the_guard_is_about_is_sent_there() -> None:
    """One prefix decides that: an address outside would reach its rules no more."""
    chains = dict(re.findall(r"chain (\w+) \{\n(.*?)\n\t\}", ruleset(TABLE, ways=Ways("eth0"), pods=PODS), re.DOTALL))
    (sent,) = re.findall(r"ip daddr (\S+) jump guard\n", chains["forward"])
    about = [IPv4Network(found) for found in re.findall(r"ip daddr (\S+)", chains["guard"])]
    assert {IPv4Network(IMDS), IPv4Network(WIRESERVER)} < set(about)
    assert all(network.subnet_of(IPv4Network(sent)) for network in about)
    assert [line for line in chains["guard"].splitlines() if "ip daddr" not in line] == [
        "\t\tct direction reply return"
    ]


def test_a_chain_in_which_each_rule_is_about_pods_begins_with_letting_all_others_go() -> None:
    table = replace(TABLE, mode=ModeName.BRIDGE)
    script = ruleset(table, ways=Ways("eth0"), pods=table.pods)
    for chain, link in (("from_pods", "azure0"), ("from_ports", "acni*")):
        (rules,) = re.findall(rf"chain {chain} {{\n(.*?)\n\t}}", script, re.DOTALL)
        _, first, *others = [line.strip() for line in rules.splitlines()]
        assert first == f'iifname != "{link}" accept'
        assert all(" counter drop comment " in rule for rule in others)


def test_every_rule_about_the_way_out_names_the_uplink() -> None:
    text = ruleset(TABLE, ways=Ways("enP7"), pods=PODS)
    assert "eth0" not in text
    assert text.count('oifname "enP7"') == 5


def test_another_way_out_gets_two_rules_more() -> None:
    usual, other = ruleset(TABLE, ways=Ways("eth0"), pods=PODS), ruleset(TABLE, ways=Ways("eth0", "wg0"), pods=PODS)
    more = [line for line in other.splitlines() if line not in usual.splitlines()]
    assert more[0].strip().startswith('ct state invalid,untracked iifname "acni*" oifname "wg0" ip saddr @pool ')
    assert more[1].strip() == 'oifname "wg0" ip saddr @pool ip daddr != @routable masquerade fully-random'
    assert [line for line in other.splitlines() if line not in more] == usual.splitlines()


def test_the_elements_of_the_egress_set_are_replaced_in_one_script() -> None:
    assert egress_script([]) == "flush set inet azure_cni egress_pod\n"
    flush, add = egress_script(map(IPv4Address, ("10.240.0.10", "10.240.0.9"))).splitlines()
    assert flush == "flush set inet azure_cni egress_pod"
    assert add == "add element inet azure_cni egress_pod { 10.240.0.9, 10.240.0.10 }"
