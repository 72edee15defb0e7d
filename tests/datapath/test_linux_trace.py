"""What `azure-cni trace` says of a packet, and what a real kernel does with it: the same, in each mode."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from azure_cni.api.trace_reports import ForwardingReport
from azure_cni.datapath.node_table import NodeTable
from azure_cni.datapath.uplink import RouteKind
from azure_cni.diagnose.packet_trace import FarEnd, HopResult, PacketSource, PacketTrace, trace_packet
from azure_cni.node.pool.path_inspector import describe_table
from azure_cni.node.state import AppliedTable
from datapath.namespaces import IN_EACH_MODE, Namespace, caller_of
from datapath.node_site import (
    IMDS,
    IMDS_OPEN,
    INTERNET,
    ON_PREM,
    PEER,
    PORT,
    PRIMARY,
    PUBLIC,
    TABLE,
    UNUSED,
    WIRESERVER,
    A,
    B,
    Site,
    refusal,
)
from datapath.pod_nic_site import GUEST, POD_TABLE, P, plug_in

pytestmark = IN_EACH_MODE

LINK_LOCAL = "169.254.7.7"
ROUTABLE_ONLY_VNET = replace(TABLE, routable=frozenset({IPv4Network("10.240.0.0/16")}))
OWN_EGRESS = replace(TABLE, own_egress=frozenset({IPv4Address(A)}))
LOST = replace(TABLE, pool=TABLE.pool - {IPv4Address(A)}, kept=frozenset({IPv4Address(A)}))
DNS, HTTP = 53, 80


async def traced(site: Site, table: NodeTable, source: str, destination: str, port: int) -> PacketTrace:
    """As the agent would be asked, and the command would decide."""
    machine = site.machine
    (link,) = [one for one in await machine.datapath.sandboxes() if IPv4Address(source) in one.addresses]
    names = tuple(end.name for end in link.node)
    (found,) = await machine.datapath.forwarding(
        [IPv4Address(destination)], source=IPv4Address(source), interface=names[-1]
    )
    holds = [one for one in await machine.datapath.sandboxes() if IPv4Address(destination) in one.addresses]
    way = ForwardingReport(
        destination, found.kind.value, found.interface, str(found.gateway or ""), found.table, "pod b" if holds else ""
    )
    names_of = ("eth0", "", "") if table.node_nic is None else ("eth1", "", "eth0")
    report = describe_table(AppliedTable(replace(table, mode=machine.mode), *names_of), own_egress=table.own_egress)
    return trace_packet(PacketSource(source, "vm1", interfaces=names), report, way, FarEnd(), port=port)


def sent(site: Site, pod: Namespace, destination: str, port: int) -> str:
    """Which address the far end saw, or "refused"."""
    at = {PRIMARY: site.node, B: site.machine.pods.get(B)}.get(destination) or site.outside
    with at.listen(destination, port) as listener:
        if refusal(pod, destination, port) == errno.EHOSTUNREACH:
            return "refused"
        listener.accept()[0].close()
        return caller_of(listener, pod.socket(), (destination, port))


@pytest.mark.parametrize(
    ("table", "source", "destination", "port"),
    [
        (TABLE, A, INTERNET, PORT),
        (TABLE, PUBLIC, INTERNET, PORT),
        (OWN_EGRESS, A, INTERNET, PORT),
        (OWN_EGRESS, PUBLIC, WIRESERVER, DNS),
        (LOST, A, INTERNET, PORT),
        (TABLE, A, PEER, PORT),
        (TABLE, A, ON_PREM, PORT),
        (ROUTABLE_ONLY_VNET, A, PEER, PORT),
        (TABLE, A, B, PORT),
        (ROUTABLE_ONLY_VNET, A, B, PORT),
        (TABLE, A, PRIMARY, PORT),
        (TABLE, A, WIRESERVER, DNS),
        (TABLE, A, WIRESERVER, HTTP),
        (TABLE, A, IMDS, HTTP),
        (IMDS_OPEN, A, IMDS, HTTP),
        (IMDS_OPEN, A, WIRESERVER, HTTP),
        (IMDS_OPEN, A, LINK_LOCAL, PORT),
    ],
)
async def test_what_is_said_is_what_happens(
    site: Site, table: NodeTable, source: str, destination: str, port: int
) -> None:
    site.outside.ip("address", "add", f"{LINK_LOCAL}/32", "dev", "lo")
    await site.machine.datapath.apply_node(table)
    pod = await site.machine.pod(source)
    await site.machine.pod(B)
    said = await traced(site, table, source, destination, port)
    assert (said.seen_as or said.result.value) == sent(site, pod, destination, port)


async def test_an_address_that_no_pod_has_is_refused(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    said = await traced(site, TABLE, A, UNUSED, PORT)
    assert (said.result, refusal(pod, UNUSED, PORT)) == (HopResult.REFUSED, errno.EHOSTUNREACH)


async def test_where_the_node_has_no_way_there_is_none(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    site.node.ip("route", "add", "unreachable", f"{INTERNET}/32")
    said = await traced(site, TABLE, A, INTERNET, PORT)
    assert (said.result, refusal(pod, INTERNET, PORT)) == (HopResult.REFUSED, errno.EHOSTUNREACH)
    site.node.ip("route", "delete", "default")
    assert (await traced(site, TABLE, A, PEER, PORT)).result is HopResult.REFUSED


async def test_a_policy_rule_of_others_is_seen(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    await site.machine.pod(A)
    site.node.ip("route", "add", "default", "via", "10.240.0.1", "dev", "eth0", "table", "30200")
    site.node.ip("rule", "add", "pref", "30200", "from", A, "lookup", "30200")
    (found,) = await site.machine.datapath.forwarding(
        [IPv4Address(INTERNET)], source=IPv4Address(A), interface=site.machine.way_to(A)
    )
    assert (found.kind, found.table) == (RouteKind.FORWARD, 30200)


@pytest.mark.parametrize(
    ("destination", "port"), [(INTERNET, PORT), (PEER, PORT), (GUEST, PORT), (WIRESERVER, DNS), (WIRESERVER, HTTP)]
)
async def test_of_a_pod_whose_subnet_is_another_nics(site: Site, destination: str, port: int) -> None:
    subnet = plug_in(site)
    await site.machine.datapath.apply_node(POD_TABLE)
    pod = await site.machine.pod(P)
    said = await traced(subnet, POD_TABLE, P, destination, port)
    assert (said.seen_as or said.result.value) == sent(subnet, pod, destination, port)
