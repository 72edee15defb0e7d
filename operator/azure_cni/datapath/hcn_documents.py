"""A node and its sandboxes on Windows, as documents of HCN, the API of the service HNS that networks containers. Pure.

    HCN network `azure` (L2Bridge, on the NIC's adapter)     one for each node
      HCN endpoint acni0a1b2c3d4e5, 10.240.0.7/22             one for each sandbox, in the pod's HCN namespace
        policies                                              what the node's nftables table is on Linux

**The network** is a bridge in the Hyper-V switch with the NIC as its port. Pods have addresses of the NIC's subnet, and
the subnet's gateway; the switch puts the NIC's MAC on what leaves. It takes over the adapter when it is made, and the
node has no network for some seconds. So there is one, it is made before any pod, and never again while pods run.

**An endpoint's name** is that of the node's end on Linux (`names`). By it an endpoint is found again after any crash,
and told from those of other programs.

**Policies** hang on each endpoint. `OutBoundNAT` gives what leaves for anywhere but its exceptions the node's own
address; the exceptions are the prefixes that see pods by their address, as in nftables' set `routable`. A second one
names the wireserver and the metadata service, which answer a VM's primary address only, for pods that are exempt from
the first. `ACL`s refuse the wireserver but for its DNS, and link-local addresses; the metadata service is one of
these, and may be allowed. Of the rules that match, the one with the lowest priority number counts.

Addresses of Services are exceptions as well: kube-proxy has the switch balance what pods send there. With direct server
return a further `OutBoundNAT` names the pod's own address, for a pod that its Service sends to itself; without it an
`SDNRoute` leads what is for Services to the node. Both are as Azure's own plugin has them.

A policy is right when HNS shows all that was set in it, and nothing that narrows it; it may add other fields. Policies
of types that are not set here are somebody else's, and kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, collapse_addresses
from typing import Any, Final

from azure_cni.datapath.interface import (
    ANYWHERE,
    NO_OPTIONS,
    Interface,
    PodOptions,
    PublishedPort,
    Resolver,
    Route,
    Wiring,
)
from azure_cni.datapath.leaving import IMDS, NO_SERVICES, WIRESERVER, Services
from azure_cni.datapath.node_table import LINK_LOCAL, NodeTable
from azure_cni.model.nic import Address

Document = Mapping[str, Any]

SCHEMA: Final = {"Major": 2, "Minor": 0}
"""Of all documents here: what Windows Server 2019 speaks (Microsoft documentation, HNS schema)."""

L2_BRIDGE: Final = "L2Bridge"
_NON_PERSISTENT = 8  # NetworkFlags EnableNonPersistent: HNS forgets the network at a reboot, as the ledger does

_TCP, _UDP, _DNS = "6", "17", "53"
_EXEMPT, _REFUSED, _REST = 200, 300, 65500
"""Priorities. The last is the greatest that HNS takes, as Azure's own plugin has it for what is allowed at the end."""

_NARROWING: Final = frozenset({"Protocols", "LocalPorts", "RemotePorts", "RemoteAddresses"})
_UNLIMITED: Final = frozenset({"", "*", "0", "256", "0-65535", "0.0.0.0/0"})
"""What limits an ACL to a part of its traffic, and how it may be shown that nothing does."""
_OURS: Final = frozenset({"OutBoundNAT", "ACL", "SDNRoute"})


@dataclass(frozen=True, slots=True)
class Segment:
    """Where the NIC's adapter is: its name, its subnet, the subnet's gateway, and its MTU in bytes."""

    adapter: str
    subnet: IPv4Network
    gateway: IPv4Address
    mtu: int

    @property
    def bridged(self) -> bool:
        """It is the switch's own adapter already: HNS finds what is below it, and does not take it by its name."""
        return self.adapter.startswith("vEthernet")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint as HNS shows it. `namespace` is a GUID in lower case, "" where it is in none."""

    id: str
    name: str
    network: str
    namespace: str
    addresses: tuple[IPv4Interface, ...]
    mac: str
    policies: tuple[Document, ...]


def network_document(name: str, segment: Segment) -> Document:
    """The node's network."""
    adapter = {"Type": "NetAdapterName", "Settings": {"NetworkAdapterName": segment.adapter}}
    route = {"NextHop": str(segment.gateway), "DestinationPrefix": str(ANYWHERE)}
    return {
        "SchemaVersion": SCHEMA,
        "Name": name,
        "Type": L2_BRIDGE,
        "Flags": _NON_PERSISTENT,
        "Policies": [] if segment.bridged else [adapter],
        "Ipams": [{"Type": "Static", "Subnets": [{"IpAddressPrefix": str(segment.subnet), "Routes": [route]}]}],
    }


def network_fault(found: Document, segment: Segment) -> str:
    """Why a network that is there under our name cannot be used; "" where it can."""
    kind = found.get("Type")
    if kind != L2_BRIDGE:
        return f"it is of type {kind}, not {L2_BRIDGE}"
    subnets = {str(one.get("IpAddressPrefix")): one for it in _maps(found, "Ipams") for one in _maps(it, "Subnets")}
    if str(segment.subnet) not in subnets:
        return f"it has the subnets {', '.join(subnets) or 'none'}, and the NIC is in {segment.subnet}"
    routes = _maps(subnets[str(segment.subnet)], "Routes")
    gateways = [one.get("NextHop") for one in routes if one.get("DestinationPrefix") == str(ANYWHERE)]
    if gateways and str(segment.gateway) not in gateways:
        return f"its gateway is {gateways[0]}, and the NIC's is {segment.gateway}"
    return ""


def endpoint_document(
    name: str,
    address: Address,
    segment: Segment,
    policies: Sequence[Document],
    *,
    network: str,
    asked: PodOptions = NO_OPTIONS,
) -> Document:
    """One sandbox; `network` is the ID of the node's."""
    return {
        "SchemaVersion": SCHEMA,
        "Name": name,
        "HostComputeNetwork": network,
        "IpConfigurations": [{"IpAddress": str(address), "PrefixLength": segment.subnet.prefixlen}],
        "Routes": [{"NextHop": str(segment.gateway), "DestinationPrefix": str(ANYWHERE)}],
        "Policies": [*policies, *map(_port, asked.ports)],
        **({} if asked.resolver is None else {"Dns": _dns(asked.resolver)}),
    }


def _port(port: PublishedPort) -> Document:
    """Not one of `_OURS`: nobody remembers it, so it stays what the endpoint was made with."""
    ports = {"Protocol": port.protocol, "InternalPort": port.pod_port, "ExternalPort": port.node_port}
    return _policy("PortMapping", ports if port.address is None else ports | {"VIP": str(port.address)})


def _dns(resolver: Resolver) -> Document:
    lists = {"ServerList": resolver.servers, "Search": resolver.search, "Options": resolver.options}
    return {name: list(values) for name, values in lists.items()}


def policies(address: Address, table: NodeTable, services: Services = NO_SERVICES) -> tuple[Document, ...]:
    """What the endpoint of this address has to have while the node's table is this one."""
    own = address in table.public or address in table.own_egress
    exceptions = [str(network) for network in collapse_addresses(table.routable | services.prefixes)]
    beside = {"Destinations": [str(WIRESERVER), str(IMDS)]}
    nat = [] if own else [_policy("OutBoundNAT", {"Exceptions": exceptions} if exceptions else {})]
    to_services = _to_services(address, services)
    return (*nat, _policy("OutBoundNAT", beside), *to_services, *_guards(imds_allowed=table.imds_allowed))


def _to_services(address: Address, services: Services) -> list[Document]:
    if services.prefixes and services.dsr:
        return [_policy("OutBoundNAT", {"Destinations": [str(address)]})]
    prefixes = collapse_addresses(services.prefixes)
    return [_policy("SDNRoute", {"DestinationPrefix": str(one), "NeedEncap": True}) for one in prefixes]


def _guards(*, imds_allowed: bool) -> Iterable[Document]:
    for protocol in (_TCP, _UDP):
        dns = {"Protocols": protocol, "RemotePorts": _DNS}
        yield _acl("Allow", "Out", _EXEMPT, to=IPv4Network(WIRESERVER), **dns)
    if imds_allowed:
        yield _acl("Allow", "Out", _EXEMPT, to=IPv4Network(IMDS))
    yield _acl("Block", "Out", _REFUSED, to=IPv4Network(WIRESERVER))
    yield _acl("Block", "Out", _REFUSED, to=LINK_LOCAL)
    yield _acl("Allow", "In", _REST)
    yield _acl("Allow", "Out", _REST)


def _acl(action: str, direction: str, priority: int, *, to: IPv4Network | None = None, **narrower: str) -> Document:
    target = {} if to is None else {"RemoteAddresses": str(to)}
    rule = {"Action": action, "Direction": direction, "Priority": priority, "RuleType": "Switch"}
    return _policy("ACL", rule | target | narrower)


def _policy(kind: str, settings: Document) -> Document:
    return {"Type": kind, "Settings": settings}


def policy_faults(wanted: Sequence[Document], observed: Sequence[Document]) -> tuple[str, ...]:
    """Each policy that is missing, or ours by type and not wanted, as words."""
    missing = [one for one in wanted if not any(_shows(found, one) for found in observed)]
    surplus = [
        found for found in observed if _text(found, "Type") in _OURS and not any(_shows(found, one) for one in wanted)
    ]
    return (*(f"lacks {_words(one)}" for one in missing), *(f"has {_words(one)}" for one in surplus))


def _shows(found: Document, wanted: Document) -> bool:
    """A list's order means nothing, one without elements is as none, and a /32 may be shown as an address."""
    shown, asked = _settings(found), _settings(wanted)
    same = all(_plain(shown.get(key)) == _plain(value) for key, value in asked.items())
    lists = all(not value or key in asked for key, value in shown.items() if isinstance(value, list))
    narrower = any(str(shown.get(key) or "") not in _UNLIMITED for key in _NARROWING - asked.keys())
    return found.get("Type") == wanted.get("Type") and same and lists and not narrower


def _settings(policy: Document) -> Document:
    settings = policy.get("Settings")
    return settings if isinstance(settings, Mapping) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(str(_plain(one)) for one in value)
    return value.removesuffix("/32") if isinstance(value, str) else value


def _words(policy: Document) -> str:
    return f"policy {policy.get('Type')} {json.dumps(_settings(policy), sort_keys=True)}"


def policies_request(wanted: Sequence[Document], observed: Sequence[Document]) -> Document:
    """The request that makes these the endpoint's policies, beside those of types that others set."""
    others = [policy for policy in observed if _text(policy, "Type") not in _OURS]
    return {"ResourceType": "Policy", "RequestType": "Update", "Settings": {"Policies": [*others, *wanted]}}


def attachment_request(endpoint: str, *, attach: bool) -> Document:
    """The request to a namespace that puts an endpoint, by ID, into it, or takes it out."""
    kind = "Add" if attach else "Remove"
    return {"ResourceType": "Endpoint", "RequestType": kind, "Settings": {"EndpointId": endpoint}}


def query_document(**properties: str) -> Document:
    """A query for all of a kind, or for those with these properties."""
    return {"SchemaVersion": SCHEMA} | ({"Filter": json.dumps(properties)} if properties else {})


def endpoint_of(document: Document) -> Endpoint:
    """What HNS shows. Addresses that are no IPv4 addresses are left out."""
    namespace = _text(document, "HostComputeNamespace").lower()
    configurations = _maps(document, "IpConfigurations")
    return Endpoint(
        id=identifier_of(document),
        name=_text(document, "Name"),
        network=_text(document, "HostComputeNetwork").lower(),
        namespace="" if set(namespace) <= {"0", "-"} else namespace,
        addresses=tuple(one for one in map(_interface, configurations) if one is not None),
        mac=_text(document, "MacAddress").replace("-", ":").lower(),
        policies=tuple(_maps(document, "Policies")),
    )


def identifier_of(document: Document) -> str:
    """The GUID of an object, in lower case; HNS writes it in either."""
    return _text(document, "ID").lower()


def endpoints_in(namespace: Document) -> tuple[str, ...]:
    """The IDs of the endpoints in an HCN namespace, in lower case."""
    resources = [one for one in _maps(namespace, "Resources") if one.get("Type") == "Endpoint"]
    data = [one["Data"] for one in resources if isinstance(one.get("Data"), Mapping)]
    return tuple(str(value).lower() for one in data for key, value in one.items() if key.lower() == "id")


def removal(identifier: str) -> str:
    """The command that removes an endpoint, for PowerShell with the module HostNetworkingService."""
    return f"Get-HnsEndpoint {identifier} | Remove-HnsEndpoint"


def wiring_of(endpoint: Endpoint, ifname: str, segment: Segment) -> Wiring:
    """What an ADD answers: the node has no interface of its own for a sandbox."""
    route = Route(ANYWHERE, gateway=segment.gateway)
    pod = Interface(ifname, endpoint.mac, segment.mtu, addresses=endpoint.addresses, routes=(route,))
    return Wiring(node=(), pod=pod)


def _interface(configuration: Document) -> IPv4Interface | None:
    """The length of the prefix need not be there, and hcsshim leaves out 0; packets go to the address all the same."""
    try:
        return IPv4Interface(f"{configuration.get('IpAddress')}/{configuration.get('PrefixLength') or 32}")
    except ValueError:
        return None


def _text(document: Document, key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _maps(document: Document, key: str) -> list[Document]:
    value = document.get(key)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
