"""A node of both families in a real kernel: it forwards IPv6, keeps its own way out, and guards it from its pods."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.datapath.conflicts import ConflictReason
from azure_cni.datapath.policy import OURS_IPV6
from azure_cni.errors import DatapathError
from azure_cni.model.identity import NodeNic
from datapath.dual_site import (
    A6,
    B6,
    DUAL,
    INTERNET6,
    PEER6,
    PRIMARY6,
    ROUTER,
    UNUSED6,
    advertisement,
    connected,
    default_routes,
    pod,
    pods_of,
    seen,
    send,
)
from datapath.machine import Machine
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, SILENCE_S, Namespace
from datapath.node_site import FABRIC_MAC, PORT, TABLE, A, Site

pytestmark = IN_EACH_MODE

FORWARDING = "net/ipv6/conf/all/forwarding"
IPV6_RECVERR = 25  # linux/in6.h
MAC_OF_ALL = "33:33:00:00:00:01"


@pytest.fixture
def site(machine: Machine) -> Site:
    return connected(machine)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await asyncio.to_thread(fact):  # noqa: ASYNC110 - the kernel rings no bell here
            await asyncio.sleep(0.02)


async def test_a_first_pass_reports_what_it_made_and_a_second_has_nothing_to_do(site: Site) -> None:
    site.node.sysctl("net/ipv6/conf/eth0/accept_ra", "1")
    await site.machine.datapath.apply_node(TABLE)
    assert site.node.sysctl(FORWARDING) == "0"  # nobody needs it yet
    assert (await site.machine.datapath.apply_node(DUAL)).repaired == (
        "sysctl net.ipv6.conf.eth0.accept_ra was 1: set to 2, so that the node keeps its default route",
        "sysctl net.ipv6.conf.all.forwarding was 0: set to 1",
        f"policy rule {OURS_IPV6} of IPv6 was missing: added",
    )
    assert (await site.machine.datapath.apply_node(DUAL)).repaired == ()


async def test_a_pod_is_itself_wherever_its_packets_go_and_reachable_as_that(site: Site) -> None:
    one, other = await pods_of(site)
    assert [seen(one, site.outside, target) for target in (PEER6, INTERNET6)] == [A6, A6]
    assert seen(one, other, B6) == A6
    assert seen(one, site.node, PRIMARY6) == A6
    assert seen(site.node, one, A6) == PRIMARY6
    assert site.seen(one, "10.241.0.4") == A
    with site.outside.socket(family=socket.AF_INET6) as probe:
        probe.bind((PEER6, 0))
        probe.settimeout(3)
        assert probe.connect_ex((A6, PORT)) == errno.ECONNREFUSED  # by the pod


async def test_in_one_family_no_ipv6_of_a_pod_passes(site: Site) -> None:
    """Also while the node forwards it for others, and for a pod that has an address of it by any means."""
    site.node.sysctl(FORWARDING, "1")
    await site.machine.datapath.apply_node(TABLE)
    inside = await pod(site.machine, A, A6)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.to_thread(quick_call, inside, PEER6), 3 * SILENCE_S)


def quick_call(caller: Namespace, target: str) -> None:
    with caller.socket(family=socket.AF_INET6) as client:
        client.settimeout(SILENCE_S)
        client.connect((target, PORT))


async def test_the_node_keeps_the_default_route_that_its_router_advertises(site: Site) -> None:
    """A node that forwards is a router, and one that is not told otherwise forgets what it has heard from others."""
    node = site.node
    node.ip("-6", "route", "delete", "default")
    node.sysctl("net/ipv6/conf/eth0/accept_ra", "1")

    def announce() -> None:
        packet = advertisement(ROUTER, mac=FABRIC_MAC)
        send(site.outside, "vm", [packet], source=FABRIC_MAC, target=MAC_OF_ALL)

    announce()
    await until(lambda: default_routes(node) == [(ROUTER, "ra")])
    one, _ = await pods_of(site)
    assert default_routes(node) == [(ROUTER, "ra")]
    node.ip("-6", "route", "delete", "default")
    announce()
    await until(lambda: default_routes(node) == [(ROUTER, "ra")])
    assert seen(one, site.outside, PEER6) == A6


@pytest.mark.parametrize("value", ["0", "2"])
async def test_where_another_program_listens_to_routers_nothing_is_changed(site: Site, value: str) -> None:
    site.node.sysctl("net/ipv6/conf/eth0/accept_ra", value)
    await site.machine.datapath.apply_node(DUAL)
    assert site.node.sysctl("net/ipv6/conf/eth0/accept_ra") == value


@pytest.mark.parametrize("address", [UNUSED6, B6])
async def test_an_address_of_the_nic_that_no_pod_has_is_refused_and_not_sent_in_circles(
    site: Site, address: str
) -> None:
    await site.machine.datapath.apply_node(DUAL)
    one = await pod(site.machine, A, A6)
    assert [refusal(caller, address) for caller in (one, site.node)] == [errno.EHOSTUNREACH, errno.EPERM]


def refusal(caller: Namespace, address: str) -> int:
    """The errno that a datagram is refused with, 0 where none comes; the node's own is not even sent."""
    with caller.socket(socket.SOCK_DGRAM, family=socket.AF_INET6) as client:
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        client.connect((address, PORT))
        client.settimeout(PATIENCE_S)
        try:
            client.send(b"to nobody")
            client.recv(1)
        except OSError as error:
            return error.errno or 0
        return 0


async def test_pods_addresses_on_the_nodes_interfaces_are_taken_off_or_reported(site: Site) -> None:
    one, _ = await pods_of(site)
    site.node.ip("address", "add", f"{A6}/128", "dev", "eth0", "nodad")
    site.node.ip("address", "add", f"{B6}/128", "dev", "lo", "nodad")
    report = await site.machine.datapath.apply_node(DUAL)
    (repaired,) = report.repaired
    assert repaired.startswith(f"eth0 had addresses of pods ({A6}): removed; cloud-init puts them there")
    (conflict,) = report.conflicts
    assert conflict.reason is ConflictReason.ADDRESS_ELSEWHERE
    assert f"ip address delete {B6} dev lo" in conflict.message
    assert seen(one, site.outside, PEER6) == A6


@pytest.mark.parametrize("scope", ["all", "default"])
async def test_a_node_whose_ipv6_is_off_says_so_and_guards_its_pods(site: Site, scope: str) -> None:
    site.node.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")
    with pytest.raises(DatapathError, match=rf"sysctl net.ipv6.conf.{scope}.disable_ipv6 is on; set it to 0"):
        await site.machine.datapath.apply_node(DUAL)
    assert "ipv6_from_pods" in site.node.run("nft", "list", "table", "inet", "azure_cni")


async def test_pods_on_a_nic_of_their_own_have_one_family(site: Site) -> None:
    second = "link add eth1 address 00:0d:3a:00:00:0b type veth peer name other netns"
    site.node.ip(*second.split(), site.outside.name)
    table = replace(DUAL, node_nic=NodeNic("00:0d:3a:00:00:0b", IPv4Address("10.240.4.4")))
    with pytest.raises(DatapathError, match="cannot give pods IPv6 addresses on eth0, the NIC of the pod subnet"):
        await site.machine.datapath.apply_node(table)
