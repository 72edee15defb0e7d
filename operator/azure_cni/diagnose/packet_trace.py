"""What becomes of a pod's packets to a destination, hop by hop, as the node's own tables decide it. Pure.

The order is that of the chains (`datapath/node_table.py`), for the first packet of a new connection:

    pod        the pod's only route leads to its gateway, the node
    source     what a pod sends has its own address and is IPv4
    route      the kernel's own lookup, policy rules included: it was asked, and not imitated
    guard      the wireserver, the metadata service, link-local addresses beyond the node
    address    with whose address it leaves the node: the pod's own, or another, and why
    azure      what Azure decides (security groups, route tables), which nothing here can see
    far end    who has the destination, as far as this cluster knows

A test sends such packets in a real kernel, and compares (`tests/datapath/test_linux_trace.py`). What other programs'
filters do is not decided here: those that the agent finds (the condition HostConflict) stand beside the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import msgspec

from azure_cni.api.trace_reports import ForwardingReport, TableReport

DNS_PORT: Final = 53
LOOPBACK: Final = IPv4Network("127.0.0.0/8")
POLICY_RULE: Final = "policy rule 90"
TABLE: Final = "table inet azure_cni"


class HopResult(StrEnum):
    """What a hop does with the packet."""

    PASSES = "passes"
    REFUSED = "refused"
    """The sender learns it at once."""
    DROPPED = "dropped"
    """The sender hears nothing."""
    UNKNOWN = "unknown"
    """Nothing here can see it."""


class Hop(msgspec.Struct, frozen=True, rename="camel"):
    """One place that decides. `rule`: where it is written; `command` shows what cannot be seen from here."""

    hop: str
    result: HopResult
    message: str
    rule: str = ""
    command: str = ""


class PacketTrace(msgspec.Struct, frozen=True, rename="camel"):
    """The way to one address. `seen_as`: the address that the far end sees; "" where it sees none, or which is not
    known. `port` 0: none was named.
    """

    destination: str
    port: int
    who: str
    result: HopResult
    seen_as: str
    hops: list[Hop]


@dataclass(frozen=True, slots=True)
class FarEnd:
    """Who has the destination. `words` name him. `node`: the cluster's node that it is, or that the pod is on."""

    words: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class PacketSource:
    """The pod that sends, and its node: `nic` by resource ID, `interfaces` as the agent says."""

    address: str
    node: str
    nic: str = ""
    interfaces: tuple[str, ...] = ()


def trace_packet(
    source: PacketSource, table: TableReport, way: ForwardingReport, far_end: FarEnd, *, port: int = 0
) -> PacketTrace:
    """The decision for the destination of `way`."""
    if way.destination == source.address or IPv4Address(way.destination) in LOOPBACK:
        return _inside(way, port)
    hops = [_pod(source, table), _source(), _route(table, way)]
    seen_as = source.address
    if hops[-1].result is HopResult.PASSES and way.kind == "forward":
        guards = (_guard(table, way, port), _no_way_back(table, way))
        hops += [one for one in guards if one is not None]
        if all(hop.result is HopResult.PASSES for hop in hops):
            address, seen_as = _translated(source, table, way)
            hops += [address, _azure(source, table, way)]
    stopped = next((hop.result for hop in hops if hop.result in {HopResult.REFUSED, HopResult.DROPPED}), None)
    who = far_end.words or _nobody(table, way)
    if stopped is None:
        hops.append(Hop("far end", HopResult.PASSES, f"{who}, which sees {seen_as or 'another address'}"))
    return PacketTrace(
        way.destination, port, who, stopped or HopResult.PASSES, "" if stopped is not None else seen_as, hops
    )


def _pod(source: PacketSource, table: TableReport) -> Hop:
    link = source.interfaces[0] if source.interfaces else "its link"
    behind = f", a port of {source.interfaces[-1]}" if len(source.interfaces) > 1 else ""
    mode = f", mode {table.mode}" if table.mode else ""
    message = f"{source.address} sends everything to its gateway, node {source.node}, by {link}{behind}{mode}"
    return Hop("pod", HopResult.PASSES, message)


def _inside(way: ForwardingReport, port: int) -> PacketTrace:
    message = f"{way.destination} is the pod itself: its packets do not leave its network namespace"
    hop = Hop("pod", HopResult.PASSES, message)
    return PacketTrace(way.destination, port, "the pod itself", HopResult.PASSES, way.destination, [hop])


def _source() -> Hop:
    message = "a packet with this pod's own address passes; one with any other is dropped"
    return Hop("source", HopResult.PASSES, message, f"{TABLE}, chain from_pods")


def _route(table: TableReport, way: ForwardingReport) -> Hop:
    """As the kernel answered."""
    if way.kind not in {"forward", "local"}:
        message = f"the node has no way there: {way.why or way.kind or 'the agent does not say why'}"
        return Hop("route", HopResult.REFUSED, message, "ip rule; ip route")
    if way.kind == "local":
        return Hop("route", HopResult.PASSES, "it is an address of the node itself", "table local")
    if way.pod:
        return Hop("route", HopResult.PASSES, f"by {way.interface} to {way.pod} of this node", f"{POLICY_RULE}, main")
    gateway = f" to gateway {way.gateway}" if way.gateway else ""
    number = {254: "table main", 253: "table default"}.get(way.table, f"table {way.table}")
    message = f"by {way.interface}{gateway}; {_region(table, way.destination)}"
    return Hop("route", HopResult.PASSES, message, number)


def _region(table: TableReport, destination: str) -> str:
    address = IPv4Address(destination)
    if destination in {table.wireserver, table.metadata}:
        return "the destination is Azure's platform"
    if _within(address, table.vnet):
        return "the destination is in the VNet"
    if _within(address, table.peered):
        return "the destination is in a peered VNet"
    if _within(address, table.routable):
        return "the destination is in routablePrefixes"
    return "the destination is outside the VNet, its peers and routablePrefixes"


def _guard(table: TableReport, way: ForwardingReport, port: int) -> Hop | None:
    """None for the destinations that it is not about."""
    rule = f"{TABLE}, chain guard"
    if way.destination == table.wireserver:
        if port == DNS_PORT:
            return Hop("guard", HopResult.PASSES, f"DNS is what pods reach of {table.wireserver}", rule)
        message = f"of {table.wireserver}, the VM agent's server, pods reach only the DNS, port {DNS_PORT}"
        return Hop("guard", HopResult.REFUSED, message, rule)
    if way.destination == table.metadata:
        if table.imds_allowed:
            return Hop("guard", HopResult.PASSES, "pods may ask the metadata service (imds.allowPods: true)", rule)
        message = "the metadata service hands out the node's identity (imds.allowPods: false)"
        return Hop("guard", HopResult.REFUSED, message, rule)
    if table.link_local and IPv4Address(way.destination) in IPv4Network(table.link_local):
        return Hop("guard", HopResult.REFUSED, "pods reach no link-local address beyond the node", rule)
    return None


def _no_way_back(table: TableReport, way: ForwardingReport) -> Hop | None:
    """None where it is no address of this NIC that no pod has."""
    if way.interface not in {table.uplink, table.node_nic} or way.destination not in table.pool:
        return None
    message = "it is an address of this node's NIC that no pod has: the fabric would send the packet back here"
    return Hop("guard", HopResult.REFUSED, message, f"{TABLE}, chain forward")


def _translated(source: PacketSource, table: TableReport, way: ForwardingReport) -> tuple[Hop, str]:
    """With whose address it leaves the node; the second is "" where that is an interface's that is not known here."""
    own = source.address
    kept = _why_own(own, table, way)
    if kept:
        seen_as, message = own, f"its own, {own}: {kept}"
    elif way.interface not in {table.uplink, table.node_nic}:
        seen_as, message = "", f"that of {way.interface}, which has the node's default route and is not the NIC"
    elif way.destination in {table.wireserver, table.metadata}:
        seen_as, message = table.primary, f"the node's, {table.primary}: Azure's platform answers no other address"
    else:
        seen_as, message = table.primary, f"the node's, {table.primary}: {_region(table, way.destination)}"
    return Hop("address", HopResult.PASSES, message, f"{TABLE}, chain postrouting"), seen_as


def _why_own(own: str, table: TableReport, way: ForwardingReport) -> str:
    """Why nothing translates the pod's address; "" where something does. The first reason counts."""
    by_nic = way.interface in {table.uplink, table.node_nic}
    platform = by_nic and way.destination in {table.wireserver, table.metadata}
    reasons = (
        (bool(way.pod), "pods of a node see each other"),
        (own not in table.pool, "it is not in the node's pool any more, and azure-cni translates nothing else"),
        (
            bool(table.node_nic) and way.interface == table.uplink,
            f"{way.interface} is the NIC of the pods' own subnet, and nothing is translated there",
        ),
        (
            not by_nic and way.interface != table.way_out,
            f"{way.interface} is not the NIC, and azure-cni translates nothing there",
        ),
        (
            not platform and way.interface != table.node_nic and _within(IPv4Address(way.destination), table.routable),
            _region(table, way.destination),
        ),
        (by_nic and not platform and own in table.public, "it has a public IP address in Azure"),
        (by_nic and not platform and own in table.own_egress, "the annotation azure-cni.io/egress says so"),
    )
    return next((why for holds, why in reasons if holds), "")


def _azure(source: PacketSource, table: TableReport, way: ForwardingReport) -> Hop:
    if way.pod:
        message = "between pods of one node no security group and no route table of Azure applies"
        return Hop("azure", HopResult.PASSES, message)
    if way.interface not in {table.uplink, table.node_nic}:
        return Hop("azure", HopResult.UNKNOWN, f"what is beyond {way.interface} is not known here")
    message = (
        "not visible from here: security groups of NIC and subnet on both sides, and the subnet's route table"
        if way.destination not in {table.wireserver, table.metadata}
        else "its platform addresses are not subject to security groups, unless a rule names their service tags"
    )
    nic = source.nic or "NIC_ID"
    effective = f"az network nic list-effective-nsg --ids {nic}"
    routes = f"az network nic show-effective-route-table --ids {nic} -o table"
    return Hop("azure", HopResult.UNKNOWN, message, command=f"{effective}; {routes}")


def _nobody(table: TableReport, way: ForwardingReport) -> str:
    """Of whom nobody in the cluster knows."""
    if way.destination == table.wireserver:
        return "the wireserver of Azure"
    if way.destination == table.metadata:
        return "the metadata service of Azure"
    return way.pod or f"{way.destination}, which is no pod and no node of this cluster"


def _within(address: IPv4Address, prefixes: Iterable[str]) -> bool:
    return any(address in IPv4Network(one) for one in prefixes)
