"""Which rules catch pods, whose they are, and what is said about them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.datapath.names import GROUP
from azure_cni.datapath.policy import MAIN, OURS, PolicyRule, absence, culprit, diversions, foreign, ungrouped

POD, OTHER = IPv4Address("10.240.0.7"), IPv4Address("10.250.0.4")
POOL = frozenset({POD, IPv4Address("10.240.0.8")})
KERNELS = {PolicyRule(0, 255), PolicyRule(32766, 254), PolicyRule(32767, 253)}


def of(address: str, preference: int, table: int, **fields: bool) -> PolicyRule:
    return PolicyRule(preference, table, source=IPv4Network(address), **fields)


CLOUD_SETUP = {
    *(of("10.240.0.7", number, number) for number in (30200, 30400)),
    *(of("10.240.0.4", number, number) for number in (30200, 30400)),
    PolicyRule(30350, 254, suppress_prefix_length=0),
}


@pytest.mark.parametrize(
    "harmless",
    [
        of("10.240.0.4", 30200, 30200),  # the primary address alone
        of("10.250.0.4", 1000, 201),  # a second NIC's
        of("10.240.0.7", 1000, 254),  # to the main table
        of("10.240.0.0/22", 20, 2005, narrowed=True),  # of packets with a mark
        PolicyRule(5270, 52),  # a VPN for the whole node
        PolicyRule(1000, 77, destination=IPv4Network("10.240.0.0/22")),  # our rule comes first
        PolicyRule(0, 255),
        OURS,
    ],
    ids=str,
)
def test_what_does_not_catch_pods_is_no_conflict(harmless: PolicyRule):
    assert foreign({OURS, harmless, *KERNELS}, POOL) == ()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (of("10.240.0.7", 1000, 201), "'1000: from 10.240.0.7 lookup 201'. Pods of this node and the node reach"),
        (of("10.240.0.0/22", 1000, 201), "'1000: from 10.240.0.0/22 lookup 201'"),
        (of("10.240.0.0/16", 32765, 0), "'32765: from 10.240.0.0/16 refuse'"),
        (of("10.240.0.7", 89, 201), "'89: from 10.240.0.7 lookup 201'. They come before azure-cni's rule 90"),
        (PolicyRule(90, 201, destination=IPv4Network("10.240.0.7")), "'90: from all to 10.240.0.7 lookup 201'. They"),
    ],
)
def test_what_catches_them_is_named_as_ip_rule_shows_it(rule: PolicyRule, words: str):
    (conflict,) = foreign({OURS, rule, *KERNELS}, POOL)
    assert words in conflict.message
    assert conflict.message.endswith(conflict.command)
    assert conflict.command == f"ip rule del pref {rule.preference}"


def test_a_program_is_known_by_its_numbers_and_one_sentence_serves_all_its_rules():
    many = {of(str(address), number, number) for address in POOL for number in (30200, 30400)}
    (conflict,) = foreign({OURS, *many, *CLOUD_SETUP}, POOL)
    assert "nm-cloud-setup treats pods' addresses as the node's own (policy rules 30200, 30400)" in conflict.message
    assert "systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service" in conflict.message
    assert "another program" not in conflict.message
    assert foreign({OURS, *CLOUD_SETUP}, POOL) == foreign({OURS, *many, *CLOUD_SETUP}, POOL)  # the pool may grow


def test_several_programs_are_all_named():
    rules = {OURS, *CLOUD_SETUP, of("10.240.0.7", 10003, 100), of("10.240.0.8", 7, 8)}
    (conflict,) = foreign(rules, POOL)
    assert [name in conflict.message for name in ("nm-cloud-setup", "cloud-netconfig", "'7: from 10.240.0.8")] == [
        True
    ] * 3


def test_that_nobody_asks_the_main_table_is_reported_with_the_command():
    """What `ip rule flush` leaves; rules that leave the default route out do not replace the kernel's."""
    for rules in ({OURS}, {OURS, PolicyRule(30350, MAIN, suppress_prefix_length=0)}):
        (conflict,) = foreign(rules, POOL)
        assert "ip rule add pref 32766 lookup main" in conflict.message
    assert foreign({OURS, PolicyRule(500, MAIN)}, POOL) == ()


def test_rules_for_other_addresses_accuse_nobody():
    assert "nm-cloud-setup" in culprit(CLOUD_SETUP, POOL)
    assert "cloud-init" in culprit({of("10.240.0.4", 30200, 30200)}, POOL)
    assert "cloud-netconfig puts them there" in culprit({of("10.240.0.7", 10003, 100)}, POOL)


def test_a_sandbox_is_diverted_without_our_rule_or_by_one_before_it():
    assert diversions({OURS, *CLOUD_SETUP}, {POD}) == ()
    assert diversions(CLOUD_SETUP, {POD}) == (absence(CLOUD_SETUP),)
    before = of("10.240.0.7", 50, 201)
    assert diversions({OURS, before}, {POD}) == (f"policy rule {before} comes before rule 90",)
    assert diversions({OURS, before}, {OTHER}) == ()


def test_links_that_the_rule_would_not_see_are_found():
    assert ungrouped([("acni1", GROUP), ("acni2", 0), ("acni3", 5), ("acni0", 7)], leaving=7) == ("acni2", "acni3")
