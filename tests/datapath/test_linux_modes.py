"""Every guard of the node's table matches what it is there for, whichever way pods hang on the node."""

from __future__ import annotations

import errno
import json
import socket
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from azure_cni.datapath import names
from azure_cni.datapath.modes import MODES, PodLinks
from azure_cni.errors import LedgerError
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.identity import ModeName
from datapath.namespaces import IN_EACH_MODE, Namespace
from datapath.node_site import IMDS, IMDS_OPEN, INTERNET, PEER, PRIMARY, TABLE, WIRESERVER, A, B, Site
from datapath.packets import packet, reset
from fakes.simulated_node import SimulatedNode

pytestmark = IN_EACH_MODE

ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
LINK_LOCAL_BEYOND = "169.254.10.1"
ABOUT_PODS = {"guard", "from_pods", "from_ports"}
"""Chains that packets reach by a rule that has asked already whether they concern them."""


async def attach(site: Site, address: str) -> Namespace:
    return await site.machine.pod(address, node_address=IPv4Address(PRIMARY))


def gateway_mac(pod: Namespace) -> bytes:
    (neighbour,) = [it for it in pod.show("-4", "neigh") if it["dst"] == "169.254.1.1"]
    return bytes.fromhex(neighbour["lladdr"].replace(":", ""))


def attack(pod: Namespace) -> None:
    """One packet at least for each guard."""
    to = gateway_mac(pod)
    udp = struct.pack("!HHHH", 4711, 8037, 12, 0) + b"ping"
    targets = (WIRESERVER, IMDS, LINK_LOCAL_BEYOND, "127.0.0.1")
    packets = [packet(source, PEER, socket.IPPROTO_UDP, udp) for source in ("0.0.0.5", "10.240.3.3")]
    packets += [packet(A, target, socket.IPPROTO_UDP, udp) for target in targets] + [reset(A, INTERNET)]
    six = struct.pack("!IHBB", 6 << 28, len(udp), socket.IPPROTO_UDP, 64)
    six += IPv6Address("fd00::1").packed + IPv6Address("fd00::2").packed + udp
    with pod.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as raw:
        for data in packets:
            raw.sendto(data, ("eth0", ETH_P_IP, 0, 0, to))
        raw.sendto(six, ("eth0", ETH_P_IPV6, 0, 0, to))


def guards(node: Namespace, *, family: str, links: PodLinks) -> dict[str, int]:
    """What the rules have counted that refuse or drop what comes from pods."""
    listed = json.loads(node.run("nft", "--json", "list", "table", family, "azure_cni"))["nftables"]
    patterns = [*links.patterns, links.ports]
    found = {}
    for rule in (item["rule"] for item in listed if "rule" in item):
        counted = [it["counter"]["packets"] for it in rule["expr"] if "counter" in it]
        by_link = [it for it in rule["expr"] if it.get("match", {}).get("right") in patterns]
        if counted and (by_link or rule["chain"] in ABOUT_PODS):
            found[f"{rule['chain']}: {rule.get('comment') or rule['expr']}"] = sum(counted)
    return found


async def test_every_guard_matches(site: Site) -> None:
    """Behind a bridge the guards at its ports leave nothing to do for some of the others, which match without them."""
    links = MODES[site.machine.mode].links
    assert (await site.machine.datapath.apply_node(TABLE)).conflicts == ()
    pod = await attach(site, A)
    if links.ports:
        attack(pod)
        assert site.seen(pod, PEER) == A  # sent later: the attacks have had their time
        at_ports = guards(site.node, family="bridge", links=links)
        assert len(at_ports) == 3
        assert set(at_ports) - idle(at_ports) == set(at_ports) - {"from_ports: pods send to their gateway only"}
        await site.machine.datapath.apply_node(TABLE)
        site.node.run("nft", "flush", "chain", "bridge", "azure_cni", "from_ports")
    before = guards(site.node, family="inet", links=links)
    assert len(before) == 7
    attack(pod)
    assert site.seen(pod, PEER) == A
    assert idle(guards(site.node, family="inet", links=links)) == set()


def idle(counted: dict[str, int]) -> set[str]:
    return {rule for rule, packets in counted.items() if not packets}


async def test_guards_of_another_mode_match_nothing_and_that_is_seen(site: Site, mode: ModeName) -> None:
    """The control: where pods are wired otherwise, rules that ask for their links are silent."""
    (other,) = {*ModeName} - {mode}
    datapath = LinuxDatapath(node_netns=site.node.path)
    await datapath.apply_node(replace(TABLE, mode=other))
    pod = await attach(site, A)
    attack(pod)
    site.seen(pod, PEER)
    silent = idle(guards(site.node, family="inet", links=MODES[other].links))
    assert {rule.partition(":")[0] for rule in silent} >= {"from_pods"}
    assert len(silent) >= 5
    await datapath.close()


async def test_pods_get_what_they_may_have_and_nothing_else(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod, other = await attach(site, A), await attach(site, B)
    for target, port in ((WIRESERVER, 80), (IMDS, 80), (LINK_LOCAL_BEYOND, 80)):
        assert pod.socket().connect_ex((target, port)) == errno.EHOSTUNREACH
    assert site.seen(pod, WIRESERVER, 53) == PRIMARY
    assert site.seen(pod, INTERNET) == PRIMARY
    with other.listen(B, 8080) as listener, pod.socket() as client:
        client.connect((B, 8080))
        assert listener.accept()[1][0] == A
    await site.machine.datapath.apply_node(IMDS_OPEN)
    assert site.seen(pod, IMDS, 80) == PRIMARY


async def test_a_lost_ledger_is_found_although_nothing_leads_to_the_pod(site: Site) -> None:
    """No address is known there: the link says enough."""
    await attach(site, A)
    site.node.ip("route", "flush", "dev", site.machine.way_to(A))
    repair = SimulatedNode().repair(datapath=site.machine.datapath)
    with pytest.raises(LedgerError, match=f"pods run behind {names.host_ifname(A, 'eth0')}; was"):
        await repair.verify_ledger()


async def test_links_are_put_into_the_group_that_the_policy_rule_asks_for(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    await attach(site, A)
    link = site.machine.way_to(A)
    site.node.ip("link", "set", link, "group", "default")
    (words,) = (await site.machine.datapath.apply_node(TABLE)).repaired
    assert words == f"links outside group {names.GROUP}: {link}: put into it"
    assert site.node.show("link", "show", link)[0]["group"] == str(names.GROUP)
