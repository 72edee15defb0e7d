"""By which way nodes get out to the internet. Without one nodes cannot pull images, and agents cannot ask Azure.

Azure decides in this order (its documentation, "Default outbound access" and "Virtual network traffic routing"): the
subnet's route for 0.0.0.0/0, its NAT gateway, the public IP address of the primary ipConfiguration, an outbound rule of
a load balancer that has it in a pool, and where nothing of that is configured, default outbound access. That is gone in
private subnets, for VMs of Flexible scale sets, and for a VM of which any ipConfiguration has a public IP address or is
in the pool of a Standard load balancer. A node's own traffic, and that of pods by default, leaves with the primary
address.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from azure_cni.diagnose.check_results import ASK_A_READER, CheckResult, ClusterCheck
from azure_cni.diagnose.cloud_evidence import (
    HALVES,
    WHOLE,
    BalancerFacts,
    CloudEvidence,
    NicFacts,
    RouteFacts,
    SubnetFacts,
    az_scope,
    name_of,
    parent_of,
)
from azure_cni.model.text import few

CODE: Final = "NoWayOut"
GROUP: Final = "azure"
PAGE: Final = "docs/vnet-features.md#load-balancers-and-public-ip-addresses"
ROUTES_PAGE: Final = "docs/vnet-features.md#route-tables"
GATEWAY: Final = "azure-cni-nat"
"""How the name of a NAT gateway begins that the command makes; that of its VNet follows, at most 64 characters."""
MOST_NAME: Final = 80
"""Characters of a public IP address's name."""


class WayKind(StrEnum):
    """By what a node leaves."""

    APPLIANCE = "appliance"
    NETWORK_GATEWAY = "virtual network gateway"
    NAT = "NAT gateway"
    PUBLIC_IP = "public IP address"
    BALANCER = "load balancer"
    DEFAULT = "default outbound access"
    DROPPED = "dropped"
    """A route drops it."""
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class WayOut:
    """One node's. `what` names the resource, or says why there is none."""

    way: WayKind
    what: str = ""


def check_ways_out(evidence: CloudEvidence) -> ClusterCheck:
    """Whether every node has one, and which."""
    ways = {
        node: way_out(nic, evidence, scale_set=evidence.machines.scale_sets.get(node, ""))
        for node, nic in evidence.nics.items()
    }
    wrong = {node: one for node, one in ways.items() if one.way in {WayKind.DROPPED, WayKind.NONE}}
    if not wrong:
        unknown = _by_words({node: one for node, one in ways.items() if one.way is WayKind.UNKNOWN})
        if unknown:
            message = f"cannot say how nodes get out: {unknown}"
            return ClusterCheck(GROUP, CODE, CheckResult.UNKNOWN, message, ASK_A_READER, PAGE)
        return ClusterCheck(
            GROUP, CODE, CheckResult.GOOD, f"nodes get out to the internet: {_by_words(ways)}", page=PAGE
        )
    message = f"nodes have no way out to the internet, and pods and agents with them: {_by_words(wrong)}"
    if all(one.way is WayKind.DROPPED for one in wrong.values()):
        do = "change the route, or take it away, if nodes are to reach the internet and Azure Resource Manager"
        return ClusterCheck(GROUP, CODE, CheckResult.BAD, message, do, ROUTES_PAGE, _show_routes(wrong, evidence))
    do = "give the nodes' subnet a NAT gateway, which costs money, or another way out"
    return ClusterCheck(GROUP, CODE, CheckResult.BAD, message, do, PAGE, _make_gateways(wrong, evidence))


def way_out(nic: NicFacts, evidence: CloudEvidence, *, scale_set: str = "") -> WayOut:
    """Of one node; `scale_set` is the ID of the one that has its VM."""
    subnet = evidence.subnet(nic)
    if subnet is None:
        return WayOut(WayKind.UNKNOWN, few(evidence.unknown(nic.subnet_id)) or f"{nic.subnet_id} was not found")
    if unread := evidence.unknown(subnet.route_table_id):
        return WayOut(WayKind.UNKNOWN, few(unread))
    found = _by_route(subnet, evidence) or _by_gateway(subnet, evidence) or _of_nic(nic, subnet, evidence)
    if found.way is WayKind.DEFAULT and evidence.machines.uniform.get(scale_set.lower()) is False:
        where = f"subnet {name_of(subnet.id)} has no NAT gateway"
        return WayOut(WayKind.NONE, f"{where}, and VMs of Flexible scale sets have no default outbound access")
    return found


def _by_route(subnet: SubnetFacts, evidence: CloudEvidence) -> WayOut | None:
    """None where the table leaves it to Azure's own route."""
    table = name_of(subnet.route_table_id)
    route = _for_everything(evidence.tables.get(subnet.route_table_id.lower(), ()))
    if route is None:
        return None
    if route.kind == "virtualappliance":
        return WayOut(WayKind.APPLIANCE, f"appliance {route.next_hop}, by route {route.name} of {table}")
    if route.kind == "virtualnetworkgateway":
        return WayOut(WayKind.NETWORK_GATEWAY, f"the virtual network gateway, by route {route.name} of {table}")
    if route.kind == "none":
        return WayOut(WayKind.DROPPED, f"route {route.name} of route table {table} drops it (next hop None)")
    return None


def _for_everything(routes: Sequence[RouteFacts]) -> RouteFacts | None:
    """The one that decides: of two halves of one kind the first, as the longer prefix wins."""
    for route in routes:
        if route.prefix in HALVES and {one.prefix for one in routes if one.kind == route.kind} >= HALVES:
            return route
    return next((one for one in routes if one.prefix == WHOLE), None)


def _by_gateway(subnet: SubnetFacts, evidence: CloudEvidence) -> WayOut | None:
    gateway = subnet.nat_gateway_id
    if not gateway:
        return None
    if unread := evidence.unknown(gateway):
        return WayOut(WayKind.UNKNOWN, few(unread))
    if evidence.gateways.get(gateway.lower()):
        return WayOut(WayKind.NAT, f"NAT gateway {name_of(gateway)}")
    return WayOut(
        WayKind.NONE, f"NAT gateway {name_of(gateway)} of subnet {name_of(subnet.id)} has no public IP address"
    )


def _of_nic(nic: NicFacts, subnet: SubnetFacts, evidence: CloudEvidence) -> WayOut:
    if not nic.primary:  # in a pod subnet, which pods leave with addresses that nothing else than these serves
        where = f"subnet {name_of(subnet.id)} has no NAT gateway and no route to a firewall"
        return WayOut(WayKind.NONE, f"{where}, and pods leave their own subnet with their own addresses")
    primary = next((one for one in nic.configs if one.primary), None)
    if primary is not None and primary.public_ip:
        return WayOut(WayKind.PUBLIC_IP, f"public IP address {name_of(primary.public_ip)}")
    unread = evidence.unknown(*map(parent_of, nic.pools))
    balancers = {pool: evidence.balancers.get(parent_of(pool).lower()) for pool in nic.pools}
    for pool in primary.pools if primary is not None else ():
        balancer = balancers[pool]
        if balancer is not None and pool.lower() in balancer.outbound:
            return WayOut(WayKind.BALANCER, f"load balancer {name_of(balancer.id)}")
    if unread:
        return WayOut(WayKind.UNKNOWN, few(unread))
    return _by_default(nic, subnet, [one for one in balancers.values() if one is not None])


def _by_default(nic: NicFacts, subnet: SubnetFacts, balancers: Sequence[BalancerFacts]) -> WayOut:
    """Where nothing of that is configured."""
    where = f"subnet {name_of(subnet.id)} has no NAT gateway"
    if subnet.default_outbound is False:
        return WayOut(WayKind.NONE, f"{where} and no default outbound access")
    if any(config.public_ip for config in nic.configs):
        return WayOut(WayKind.NONE, f"{where}, and a public IP address on the NIC ends default outbound access")
    standard = sorted({name_of(one.id) for one in balancers if one.standard})
    if standard:
        return WayOut(WayKind.NONE, f"{where}, and being in a pool of {few(standard)} ends default outbound access")
    return WayOut(WayKind.DEFAULT, "default outbound access, which ends with a NIC's first public IP address or pool")


def _by_words(ways: Mapping[str, WayOut]) -> str:
    nodes: dict[str, list[str]] = {}
    for node, one in ways.items():
        nodes.setdefault(one.what, []).append(node)
    return "; ".join(f"{few(names)}: {words}" for words, names in nodes.items())


def _subnets(wrong: Mapping[str, WayOut], evidence: CloudEvidence) -> list[SubnetFacts]:
    found = {one.id: one for node in wrong if (one := evidence.subnet(evidence.nics[node])) is not None}
    return list(found.values())


def _show_routes(wrong: Mapping[str, WayOut], evidence: CloudEvidence) -> str:
    """A person decides: somebody may have meant it."""
    tables = dict.fromkeys(one.route_table_id for one in _subnets(wrong, evidence))
    return "; ".join(
        f"az network route-table route list {az_scope(table)} --route-table-name {shlex.quote(name_of(table))} -o table"
        for table in tables
    )


def _make_gateways(wrong: Mapping[str, WayOut], evidence: CloudEvidence) -> str:
    """A NAT gateway for each VNet with such subnets, as none serves two; a gateway without an address gets one."""
    commands: dict[str, None] = {}
    for subnet in _subnets({node: one for node, one in wrong.items() if one.way is WayKind.NONE}, evidence):
        scope, vnet, known = az_scope(subnet.id), parent_of(subnet.id), subnet.nat_gateway_id
        where = f"{scope} -l {shlex.quote(subnet.location)}"
        gateway = f"{GATEWAY}-{name_of(vnet)}"
        address = f"{name_of(known) or gateway}-ip"[-MOST_NAME:].lstrip("-._")
        make = (
            f"az network public-ip create {where} -n {shlex.quote(address)} --sku Standard --allocation-method Static"
        )
        commands[make] = None
        if known:
            address_id = shlex.quote(f"{parent_of(vnet)}/publicIPAddresses/{address}")
            give = f"az network nat gateway update --ids {shlex.quote(known)} --public-ip-addresses {address_id}"
            commands[give] = None
            continue
        gateway, address = shlex.quote(gateway), shlex.quote(address)
        commands[f"az network nat gateway create {where} -n {gateway} --public-ip-addresses {address}"] = None
        commands[f"az network vnet subnet update --ids {shlex.quote(subnet.id)} --nat-gateway {gateway}"] = None
    return " && ".join(commands)
