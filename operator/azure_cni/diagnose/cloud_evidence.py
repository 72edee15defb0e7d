"""What Azure says of the cluster's nodes and of what their traffic passes, as frozen values. Pure.

Documents are those of Resource Manager, parsed as tolerantly as objects of the Kubernetes API. IDs are compared in
lower case (`same`), and shown as Azure spells them.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from azure_cni.api.reading import mapping, mappings, text
from azure_cni.diagnose.machine_facts import MachineEvidence
from azure_cni.diagnose.security_rules import SecurityGroup

PROVIDER: Final = "azure://"
"""How the `spec.providerID` of a Node begins whose VM is Azure's; the VM's ID follows."""
WHOLE: Final = "0.0.0.0/0"
HALVES: Final = frozenset({"0.0.0.0/1", "128.0.0.0/1"})
"""Prefixes of routes for all addresses: one, or both of these, which win over the one."""

JOINS: Final = {
    "applicationSecurityGroups": "applicationSecurityGroups/joinIpConfiguration",
    "loadBalancerBackendAddressPools": "loadBalancers/backendAddressPools/join",
    "loadBalancerInboundNatRules": "loadBalancers/inboundNatRules/join",
    "applicationGatewayBackendAddressPools": "applicationGateways/backendAddressPools/join",
    "publicIPAddress": "publicIPAddresses/join",
}
"""What an ipConfiguration refers to, and what that takes (docs/install.md, "What each permission is for")."""


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """An ipConfiguration. `pools` are backend pools of load balancers, `groups` ASGs, by ID as Azure spells them."""

    name: str
    address: IPv4Address | None
    primary: bool
    public_ip: str
    pools: tuple[str, ...]
    groups: frozenset[str]
    joins: tuple[tuple[str, str], ...] = ()
    """What it refers to: the action that whoever writes it needs for that, and the ID."""


@dataclass(frozen=True, slots=True)
class NicFacts:
    """The NIC of a node's pool, else its VM's `primary` one, with all its ipConfigurations, the primary one first."""

    id: str
    vm_id: str
    subnet_id: str
    security_group_id: str
    configs: tuple[ConfigFacts, ...]
    primary: bool = True

    @property
    def pools(self) -> frozenset[str]:
        """Of all its ipConfigurations."""
        return frozenset(pool for config in self.configs for pool in config.pools)


@dataclass(frozen=True, slots=True)
class SubnetFacts:
    """A subnet. `default_outbound` is None where Azure does not say: it has it then, if its VNet is an older one."""

    id: str
    prefixes: tuple[IPv4Network, ...]
    location: str
    security_group_id: str
    route_table_id: str
    nat_gateway_id: str
    default_outbound: bool | None


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """A user-defined route. `next_hop` is an appliance's address; `kind` as Azure has it, in lower case."""

    name: str
    prefix: str
    kind: str
    next_hop: str


@dataclass(frozen=True, slots=True)
class BalancerFacts:
    """A load balancer. `outbound` are the pools (lower case) whose members it gives a way to the internet."""

    id: str
    standard: bool
    outbound: frozenset[str]
    rules: tuple[str, ...]
    """The names of its balancing rules."""


@dataclass(frozen=True, slots=True)
class CloudEvidence:
    """All that was read. The mappings are by ID in lower case, `nics` by node.

    `unread`: IDs (lower case) that Azure refused or did not have, with the reason in words.
    """

    nics: Mapping[str, NicFacts] = field(default_factory=dict)
    subnets: Mapping[str, SubnetFacts] = field(default_factory=dict)
    groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    tables: Mapping[str, tuple[RouteFacts, ...]] = field(default_factory=dict)
    gateways: Mapping[str, bool] = field(default_factory=dict)
    """NAT gateways, and whether each has a public address."""
    balancers: Mapping[str, BalancerFacts] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    unfound: tuple[str, ...] = ()
    """Nodes whose NIC was not found."""
    machines: MachineEvidence = field(default_factory=MachineEvidence)

    def subnet(self, nic: NicFacts) -> SubnetFacts | None:
        """That NIC's; None where it could not be read."""
        return self.subnets.get(nic.subnet_id.lower())

    def unknown(self, *ids: str) -> tuple[str, ...]:
        """Why some of these could not be read, in words; empty where all were."""
        return tuple(dict.fromkeys(self.unread[one.lower()] for one in ids if one.lower() in self.unread))


def vm_id_of(provider_id: str) -> str:
    """The VM that a Node's `spec.providerID` names; "" where it is none of Azure."""
    return provider_id.removeprefix(PROVIDER) if provider_id.startswith(f"{PROVIDER}/") else ""


def group_of(resource_id: str) -> str:
    """The ID of its resource group; "" where there is none."""
    parts = resource_id.split("/")
    # "", subscriptions, S, resourceGroups, G, ...
    return "/".join(parts[:5]) if len(parts) > 4 and parts[3].lower() == "resourcegroups" else ""  # noqa: PLR2004


def name_of(resource_id: str) -> str:
    """The last part."""
    return resource_id.rpartition("/")[2]


def az_scope(resource_id: str) -> str:
    """The flags by which az finds its subscription and resource group."""
    # "", subscriptions, S, resourceGroups, G, ...
    _, _, subscription, _, group, *_ = [*resource_id.split("/"), *[""] * 5]
    return f"--subscription {shlex.quote(subscription)} -g {shlex.quote(group)}"


def parent_of(resource_id: str) -> str:
    """The resource that this one is a part of: a pool's load balancer, a subnet's VNet."""
    return resource_id.rsplit("/", 2)[0]


def parse_nic(document: Mapping[str, Any]) -> NicFacts:
    """A networkInterfaces document."""
    properties = mapping(document.get("properties"))
    configs = sorted(map(_parse_config, _parts(properties, "ipConfigurations")), key=lambda one: not one.primary)
    subnets = [_id_of(mapping(one.get("properties")), "subnet") for one in _parts(properties, "ipConfigurations")]
    return NicFacts(
        id=text(document.get("id")),
        vm_id=_id_of(properties, "virtualMachine"),
        subnet_id=next(filter(None, subnets), ""),  # all ipConfigurations of a NIC are in one subnet
        security_group_id=_id_of(properties, "networkSecurityGroup"),
        configs=tuple(configs),
        primary=is_primary(document),
    )


def is_primary(document: Mapping[str, Any]) -> bool:
    """Whether it is its VM's primary NIC; a VM's only one is not always marked."""
    return mapping(document.get("properties")).get("primary") is not False


def _parse_config(document: Mapping[str, Any]) -> ConfigFacts:
    properties = mapping(document.get("properties"))
    return ConfigFacts(
        name=text(document.get("name")),
        address=_address(text(properties.get("privateIPAddress"))),
        primary=properties.get("primary") is True,
        public_ip=_id_of(properties, "publicIPAddress"),
        pools=tuple(text(one.get("id")) for one in _parts(properties, "loadBalancerBackendAddressPools")),
        groups=frozenset(text(one.get("id")).lower() for one in _parts(properties, "applicationSecurityGroups")),
        joins=tuple(
            (f"Microsoft.Network/{action}/action", text(one.get("id")))
            for key, action in JOINS.items()
            for one in (*_parts(properties, key), mapping(properties.get(key)))
            if one.get("id")
        ),
    )


def parse_subnets(vnet: Mapping[str, Any]) -> dict[str, SubnetFacts]:
    """Those of a virtualNetworks document."""
    found = {}
    for document in _parts(mapping(vnet.get("properties")), "subnets"):
        properties, subnet_id = mapping(document.get("properties")), text(document.get("id"))
        outbound = properties.get("defaultOutboundAccess")
        found[subnet_id.lower()] = SubnetFacts(
            id=subnet_id,
            prefixes=_prefixes(properties),
            location=text(vnet.get("location")),
            security_group_id=_id_of(properties, "networkSecurityGroup"),
            route_table_id=_id_of(properties, "routeTable"),
            nat_gateway_id=_id_of(properties, "natGateway"),
            default_outbound=outbound if isinstance(outbound, bool) else None,
        )
    return found


def parse_routes(table: Mapping[str, Any]) -> tuple[RouteFacts, ...]:
    """Those of a routeTables document."""
    found = []
    for document in _parts(mapping(table.get("properties")), "routes"):
        properties = mapping(document.get("properties"))
        hop, kind = text(properties.get("nextHopIpAddress")), text(properties.get("nextHopType")).lower()
        found.append(RouteFacts(text(document.get("name")), text(properties.get("addressPrefix")), kind, hop))
    return tuple(found)


def has_address(gateway: Mapping[str, Any]) -> bool:
    """Whether a natGateways document has a public address, or a prefix of them: without, nothing leaves by it."""
    properties = mapping(gateway.get("properties"))
    return any(_parts(properties, key) for key in ("publicIpAddresses", "publicIpPrefixes"))


def parse_balancer(document: Mapping[str, Any]) -> BalancerFacts:
    """A loadBalancers document.

    Members of a pool leave by an outbound rule, or by a balancing rule of a public frontend that does not rule it out
    (Azure documentation, "Use SNAT for outbound connections").
    """
    properties = mapping(document.get("properties"))
    rules, public = _parts(properties, "loadBalancingRules"), _public_frontends(properties)
    outbound = [rule for rule in _parts(properties, "outboundRules") if _frontends_of(rule) & public]
    implicit = [
        rule
        for rule in rules
        if mapping(rule.get("properties")).get("disableOutboundSnat") is not True and _frontends_of(rule) & public
    ]
    return BalancerFacts(
        id=text(document.get("id")),
        standard=text(mapping(document.get("sku")).get("name")).lower() != "basic",
        outbound=frozenset(pool for rule in (*outbound, *implicit) for pool in _pools_of(rule)),
        rules=tuple(text(rule.get("name")) for rule in rules),
    )


def _public_frontends(properties: Mapping[str, Any]) -> frozenset[str]:
    frontends = _parts(properties, "frontendIPConfigurations")
    public = [one for one in frontends if any(_id_of(mapping(one.get("properties")), key) for key in _PUBLIC)]
    return frozenset(text(one.get("id")).lower() for one in public)


_PUBLIC: Final = ("publicIPAddress", "publicIPPrefix")


def _frontends_of(rule: Mapping[str, Any]) -> frozenset[str]:
    properties = mapping(rule.get("properties"))
    several = [text(one.get("id")) for one in _parts(properties, "frontendIPConfigurations")]
    return frozenset(map(str.lower, filter(None, (*several, _id_of(properties, "frontendIPConfiguration")))))


def _pools_of(rule: Mapping[str, Any]) -> frozenset[str]:
    properties = mapping(rule.get("properties"))
    several = [text(one.get("id")) for one in _parts(properties, "backendAddressPools")]
    return frozenset(map(str.lower, filter(None, (*several, _id_of(properties, "backendAddressPool")))))


def _parts(properties: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    return mappings(properties.get(key))


def _id_of(properties: Mapping[str, Any], key: str) -> str:
    return text(mapping(properties.get(key)).get("id"))


def _prefixes(properties: Mapping[str, Any]) -> tuple[IPv4Network, ...]:
    """Of a subnet, IPv6 left out. Azure has one text, or a list."""
    listed = properties.get("addressPrefixes")
    found = []
    for one in (properties.get("addressPrefix"), *(listed if isinstance(listed, list) else ())):
        with contextlib.suppress(ValueError):
            found.append(IPv4Network(text(one)))
    return tuple(dict.fromkeys(found))


def _address(written: str) -> IPv4Address | None:
    """Of a block ("10.0.0.16/28") its first one; None for IPv6 and for what is none."""
    try:
        return IPv4Network(written, strict=False).network_address
    except ValueError:
        return None
