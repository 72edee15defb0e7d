"""Every mode: what its guards ask for is what its packets come in by."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.datapath import foreign_filters
from azure_cni.datapath.foreign_filters import BaseChain, Sample, conflict, samples
from azure_cni.datapath.leaving import Ways
from azure_cni.datapath.modes import BRIDGED, MODES, TRANSPARENT, Mode, PodLinks, mode_change
from azure_cni.datapath.node_table import ruleset
from azure_cni.datapath.transparent import VethSpec
from azure_cni.model.identity import ModeName
from unit.datapath.test_node_table import TABLE

BRIDGE = BRIDGED.links
BOTH = PodLinks(("acni*", "azure0"))
GUARDS = 3
"""Rules of the table that ask whether a packet comes from a pod, where the metadata service is closed. The first lets
all others go from a chain in which each rule is about pods."""


def a_spec(container: str) -> VethSpec:
    return VethSpec(container, "eth0", "/run/netns/pod", (IPv4Address("10.240.0.7"),), 1500, IPv4Address("10.240.0.4"))


def arrival(mode: Mode, container: str) -> set[str]:
    """The interfaces that the IP layer sees a sandbox behind: its routes are there."""
    return {end.name for end in mode.wiring(a_spec(container)).node if end.routes}


def asked(script: str) -> list[str]:
    """What the table's rules ask of the interface that a packet comes in by, or does not."""
    return re.findall(r"iifname (?:!= )?(\{.*?\}|\S+)", script)


def inet_part(script: str) -> str:
    """Without the bridge's own table, which sees pods' links in every mode that has one."""
    return script.partition("table bridge")[0]


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_every_guard_of_a_mode_asks_for_the_interfaces_that_its_packets_come_in_by(mode: Mode) -> None:
    behind = arrival(mode, "c1")
    assert behind
    assert all(mode.links.include(name) for name in behind)
    assert mode.links.include(mode.links.sample)
    guards = asked(inet_part(ruleset(TABLE, ways=Ways("eth0"), pods=mode.links)))
    assert len(guards) == GUARDS
    assert {f"iifname {guard}" for guard in guards} == {mode.links.came_in()}


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_pods_that_share_an_interface_are_distinguished_by_their_port(mode: Mode) -> None:
    """The lookup of a source distinguishes pods from strangers there, but not from one another."""
    shared = arrival(mode, "c1") & arrival(mode, "c2")
    ports = {end.name for end in mode.wiring(a_spec("c1")).node} - arrival(mode, "c1")
    of_bridge = ruleset(TABLE, ways=Ways("eth0"), pods=mode.links).partition("table bridge azure_cni")[2]
    assert bool(of_bridge) == bool(shared)
    assert asked(of_bridge) == ['"acni*"'] * bool(shared)
    assert all(PodLinks((mode.links.ports,)).include(port) for port in ports)


def test_every_address_that_a_pod_may_hold_is_let_in_by_the_port_in_its_group_and_by_no_other() -> None:
    kept = IPv4Address("10.240.0.77")
    table = replace(TABLE, mode=ModeName.BRIDGE, kept=frozenset({kept}))
    script = ruleset(table, ways=Ways("eth0"), pods=table.pods)
    (elements,) = re.findall(r"set owners \{.*?elements = \{ (.*?) \}", script, re.DOTALL)
    pairs = [pair.split(" . ") for pair in elements.split(", ")]
    assert {IPv4Address(address) for _, address in pairs} == {*TABLE.pool, kept}
    assert all(int(group) == int(IPv4Address(address)) for group, address in pairs)
    port = BRIDGED.wiring(a_spec("c1")).node[0]
    assert IPv4Address(port.group) == IPv4Address("10.240.0.7")
    assert "owners" not in ruleset(TABLE, ways=Ways("eth0"), pods=TABLE.pods)


def test_there_is_no_other_guard_than_by_the_modes_links() -> None:
    """A rule with a name of its own would never match behind a bridge."""
    script = inet_part(ruleset(TABLE, ways=Ways("eth0", "wg0"), pods=BRIDGE))
    assert "acni" not in script
    assert set(asked(script)) == {'"azure0"'}
    assert set(asked(ruleset(TABLE, ways=Ways("eth0"), pods=BOTH))) == {'{ "acni*", "azure0" }'}


def test_links_are_known_by_their_whole_name_or_by_its_beginning() -> None:
    assert TRANSPARENT.links.include("acni0123456789a")
    assert not TRANSPARENT.links.include("azure0")
    assert [BRIDGE.include(name) for name in ("azure0", "azure01", "acni0")] == [True, False, False]
    assert all(map(BOTH.include, ("azure0", "acni0")))


def test_filters_of_others_are_judged_and_opened_by_the_modes_links() -> None:
    pool, primary = (IPv4Address("10.240.0.7"),), IPv4Address("10.240.0.4")
    out, into = samples(pool, primary, uplink="eth0", pods=BRIDGE)
    assert (out.iif, into.oif) == ("azure0", "azure0")
    assert remedy(BaseChain("inet", "hardening", "passing", drops=True), out, BOTH).endswith(
        "iifname 'acni*' accept; nft insert rule inet hardening passing oifname 'acni*' accept; "
        "nft insert rule inet hardening passing iifname 'azure0' accept; "
        "nft insert rule inet hardening passing oifname 'azure0' accept"
    )
    iptables = BaseChain("ip", "filter", "FORWARD", drops=False)
    assert "iptables -I FORWARD -i azure0 -j ACCEPT" in remedy(iptables, out, BRIDGE)
    assert "iptables -I FORWARD -i acni+ -j ACCEPT" in remedy(iptables, out, TRANSPARENT.links)


@pytest.mark.parametrize("name", ["t; touch /x #", "$(id)", "t;flush ruleset", "a'b"])
def test_no_name_that_a_shell_or_nft_would_carry_out_is_in_a_command(name: str) -> None:
    packet, _ = samples((IPv4Address("10.240.0.7"),), IPv4Address("10.240.0.4"), uplink="eth0", pods=BOTH)
    odd = (BaseChain("inet", name, "passing", drops=True), [packet])
    policy = (BaseChain("ip", "filter", "FORWARD", drops=True), [packet])
    ((alone,), (both,)) = (conflict(found, pods=BOTH) for found in ([odd], [odd, policy]))
    assert alone.command == ""
    assert "nft list ruleset" in alone.message
    assert both.command == "iptables -P FORWARD ACCEPT"


def test_a_chain_of_that_name_in_another_family_is_no_business_of_iptables() -> None:
    packet, _ = samples((IPv4Address("10.240.0.7"),), IPv4Address("10.240.0.4"), uplink="eth0", pods=BRIDGE)
    (found,) = conflict([(BaseChain("inet", "filter", "FORWARD", drops=True), [packet])], pods=BRIDGE)
    assert found.command.startswith("nft insert rule inet filter FORWARD ")


def remedy(chain: BaseChain, packet: Sample, pods: PodLinks) -> str:
    (found,) = conflict([(chain, [packet])], pods=pods)
    assert found.reason is foreign_filters.ConflictReason.FOREIGN_FILTER
    assert found.message.endswith(found.command)
    return found.message


def test_what_a_drain_does_not_end_is_named() -> None:
    pods = mode_change(ModeName.BRIDGE, ModeName.TRANSPARENT, ["pod shop/web"], node="vm1")
    assert "a drain ends no" not in pods
    both = mode_change(ModeName.BRIDGE, ModeName.TRANSPARENT, ["pod shop/web", "container 7c1f0a93be52"], node="vm1")
    assert both.endswith(
        "a drain ends no container that is not a pod's (Docker's, podman's): stop container 7c1f0a93be52"
    )
