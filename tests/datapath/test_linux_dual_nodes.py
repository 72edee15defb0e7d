"""Pods of both families on two nodes of a real kernel, with a fabric between that routes IPv6."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from datapath.dual_site import (
    A6,
    DUAL,
    IPV6_RULE,
    PRIMARY6,
    ROUTER,
    connected,
    pod,
    seen,
    spec_of,
)
from datapath.machine import DatapathInMode, Machine
from datapath.namespaces import IN_EACH_MODE
from datapath.node_site import FABRIC_MAC, A, Site

pytestmark = IN_EACH_MODE

SECOND_MAC, SECOND, SECOND6 = "00:0d:3a:00:00:1a", "10.240.0.5", "2001:db8::5"
C, C6 = "10.240.0.20", "2001:db8::b:20"
BLOCK = IPv6Network("2001:db8::b:0/112")
TABLE = replace(
    DUAL,
    uplink_mac=SECOND_MAC,
    primary=IPv4Address(SECOND),
    pool=frozenset({IPv4Address(C)}),
    public=frozenset(),
    ipv6_pairs=frozenset({(IPv4Address(C), IPv6Address(C6))}),
    ipv6_blocks=frozenset({BLOCK}),
)


@pytest.fixture
def site(machine: Machine) -> Site:
    return connected(machine)


@pytest.fixture
async def second(site: Site) -> AsyncIterator[Machine]:
    """Another node behind the same fabric."""
    namespaces, outside = site.machine.namespaces, site.outside
    node = namespaces.new("node")
    node.sysctl("net/ipv6/conf/default/accept_dad", "0")
    ends = f"link add eth0 address {SECOND_MAC} type veth peer name vm2 address {FABRIC_MAC} netns {outside.name}"
    node.ip(*ends.split())
    node.ip("link", "set", "eth0", "up")
    outside.ip("link", "set", "vm2", "up")
    outside.ip(*f"address add {ROUTER}/64 dev vm2 nodad".split())
    node.ip(*f"address add {SECOND}/22 dev eth0".split())
    node.ip(*f"address add {SECOND6}/128 dev eth0 nodad".split())
    node.ip(*f"neigh add {ROUTER} lladdr {FABRIC_MAC} nud permanent dev eth0".split())
    node.ip(*f"-6 route add default via {ROUTER} dev eth0".split())
    for network in (f"{SECOND6}/128", str(BLOCK)):
        outside.ip(*f"-6 route add {network} dev vm2".split())
    for address in (SECOND6, C6):
        outside.ip(*f"-6 neigh add {address} lladdr {SECOND_MAC} nud permanent dev vm2".split())
    datapath = DatapathInMode(site.machine.mode, node_netns=node.path)
    yield Machine(namespaces, node, site.machine.mode, datapath)
    await datapath.close()


async def test_pods_and_nodes_reach_one_another_across_nodes_as_themselves(site: Site, second: Machine) -> None:
    await site.machine.datapath.apply_node(DUAL)
    await second.datapath.apply_node(TABLE)
    here = await pod(site.machine, A, A6)
    spec = spec_of(second, C, C6, node_address=IPv4Address(SECOND))
    await second.datapath.attach(spec)
    there = second.pods[C]
    calls = {
        "pod to pod": (here, there, C6, A6),
        "and back": (there, here, A6, C6),
        "node to pod": (site.node, there, C6, PRIMARY6),
        "pod to node": (there, site.node, PRIMARY6, C6),
    }
    for what, (caller, target, address, expected) in calls.items():
        assert seen(caller, target, address) == expected, what
    assert await second.datapath.check(spec) == ()
    assert IPV6_RULE.split()[0] in second.node.run("ip", "-6", "rule", "show")
