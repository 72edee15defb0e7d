"""Writing the resources of Microsoft.Network that are kept as documents, and subnets: what PUT and DELETE do.

A PUT replaces the whole, takes effect at once and is answered with the finished document. Azure documentation and its
REST specification (NetworkSecurityGroupCreate, ApplicationSecurityGroupCreate, RouteTableCreate, SubnetCreate) give the
shapes. A child (a rule of a group, a route of a table) is written as a change of its parent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from fakeazure import errors, filtererrors, filters, names, routetables, securitygroups
from fakeazure.ipv6 import IPv6Space
from fakeazure.names import leaf, parent
from fakeazure.network import Network
from fakeazure.records import Document, VNet
from fakeazure.subnets import Subnet
from fakeazure.subscription import Subscription

STORAGE = "Microsoft.Storage"
LINKS_OF_SUBNET = ("networkSecurityGroup", "routeTable", "natGateway")


@dataclass(frozen=True, slots=True)
class Kind:
    """How one type of resource is read from a body and shown; `word` names it in refusals."""

    word: str
    read: Callable[[str, Document], Document]
    children: str = ""
    """The list of the parent's properties that holds its children."""


KINDS = {
    "networkSecurityGroups": Kind("NetworkSecurityGroup", securitygroups.read, "securityRules"),
    "routeTables": Kind("RouteTable", routetables.read, "routes"),
    "applicationSecurityGroups": Kind("ApplicationSecurityGroup", lambda _id, _properties: {}),
}


def put(azure: Subscription, resource_id: str, body: Any) -> tuple[Document, bool]:
    """Write a resource of KINDS; its document, and whether it is new. Raises ArmError and then changes nothing."""
    if not isinstance(body, dict):
        raise errors.invalid_content("the body is not an object")
    if not body.get("location"):
        raise errors.location_required()
    kind = _known(resource_id)
    existing = azure.network.others.get(resource_id.lower())
    properties = KINDS[kind].read(resource_id, body.get("properties") or {})
    for group_id in securitygroups.references(properties):
        if not azure.network.exists(group_id):
            raise errors.missing_reference(group_id, by=resource_id)
    document = {
        "name": existing["name"] if existing else leaf(resource_id),
        "id": existing["id"] if existing else resource_id,
        "etag": azure.names.etag(),
        "type": f"Microsoft.Network/{kind}",
        "location": body["location"],
        **({"tags": body["tags"]} if body.get("tags") else {}),
        "properties": {
            "provisioningState": "Succeeded",
            "resourceGuid": existing["properties"].get("resourceGuid") if existing else azure.names.guid(),
            **properties,
        },
    }
    azure.network.others[resource_id.lower()] = document
    azure.network.notify()
    return shown(azure.network, document), existing is None


def put_child(azure: Subscription, child_id: str, body: Any) -> tuple[Document, bool]:
    """Write a rule of a group or a route of a table; raises ArmError."""
    document, kind = _parent_of(azure.network, child_id)
    before = document["properties"].get(kind.children, [])
    name = leaf(child_id)
    rest = [child for child in before if child["name"].lower() != name.lower()]
    child = {"name": name, "properties": (body or {}).get("properties") or {}}
    after, _ = put(
        azure, document["id"], {**document, "properties": {**document["properties"], kind.children: [*rest, child]}}
    )
    made = next(one for one in after["properties"][kind.children] if one["name"] == name)
    return made, len(rest) == len(before)


def delete_child(azure: Subscription, child_id: str) -> bool:
    """Delete a rule or a route; whether there was one."""
    document, kind = _parent_of(azure.network, child_id)
    before = document["properties"].get(kind.children, [])
    rest = [child for child in before if child["name"].lower() != leaf(child_id).lower()]
    put(azure, document["id"], {**document, "properties": {**document["properties"], kind.children: rest}})
    return len(rest) < len(before)


def child(network: Network, child_id: str) -> Document:
    """A rule or a route as GET shows it; raises ArmError."""
    document, kind = _parent_of(network, child_id)
    found = shown(network, document)["properties"][kind.children]
    for one in found:
        if one["id"].lower() == child_id.lower():
            return dict(one)
    raise errors.not_found(child_id)


def delete(azure: Subscription, resource_id: str) -> bool:
    """Delete a resource that nothing refers to; whether there was one. Raises ArmError."""
    if resource_id.lower() not in azure.network.others:
        return False
    word = KINDS[_known(resource_id)].word
    if used := [user for _, user in filters.users(azure.network, resource_id)]:
        raise filtererrors.in_use(word, resource_id, used)
    del azure.network.others[resource_id.lower()]
    azure.network.notify()
    return True


def shown(network: Network, document: Document) -> Document:
    """The document as GET shows it: with who refers to it, and a security group's default rules."""
    used_by = list(filters.users(network, document["id"]))
    show = {securitygroups.GROUP_TYPE: securitygroups.shown, routetables.TABLE_TYPE: routetables.shown}.get(
        document["type"]
    )
    if show is None:
        return document
    return {**document, "properties": show(document["id"], document["etag"], document["properties"], used_by=used_by)}


def put_subnet(azure: Subscription, subnet_id: str, properties: Document) -> tuple[Subnet, bool]:
    """Write a subnet: its prefix, and what applies to all in it. Raises ArmError."""
    network = azure.network
    vnet = network.vnets[parent(subnet_id).lower()]
    existing = network.subnets.get(subnet_id.lower())
    wanted, wanted_ipv6 = _prefixes(subnet_id, properties)
    for linked in references_of_subnet(properties):
        if linked.lower() not in network.others:
            raise errors.missing_reference(linked, by=subnet_id)
    subnet = existing or Subnet(subnet_id, wanted, "", azure.names.guid())
    others = [network.subnets[other.lower()] for other in vnet.subnet_ids if other.lower() != subnet_id.lower()]
    if not any(wanted.subnet_of(IPv4Network(space)) for space in vnet.prefixes):
        raise filtererrors.subnet_outside(subnet_id, prefix=str(wanted))
    if clash := next((other for other in others if other.prefix.overlaps(wanted)), None):
        raise filtererrors.subnets_overlap(subnet_id, other_id=clash.id)
    try:
        subnet.resize(wanted)
    except ValueError as error:
        raise filtererrors.subnet_in_use(subnet_id, str(error)) from error
    _change_ipv6(subnet, wanted_ipv6, vnet=vnet)
    subnet.etag = azure.names.etag()
    subnet.security_group_id, subnet.route_table_id, subnet.nat_gateway_id = (
        _reference(properties, key) for key in LINKS_OF_SUBNET
    )
    subnet.service_endpoints = tuple(endpoint["service"] for endpoint in properties.get("serviceEndpoints") or ())
    subnet.default_outbound = properties.get("defaultOutboundAccess") is not False
    network.add_subnet(subnet)
    network.notify()
    return subnet, existing is None


def _change_ipv6(subnet: Subnet, wanted: IPv6Network | None, *, vnet: VNet) -> None:
    """Give a subnet that prefix, or take it away. Raises ArmError."""
    if wanted == (subnet.ipv6 and subnet.ipv6.prefix):
        return
    if wanted and not any(wanted.subnet_of(IPv6Network(space)) for space in vnet.ipv6_prefixes):
        raise filtererrors.subnet_outside(subnet.id, prefix=str(wanted))
    if subnet.ipv6 and subnet.ipv6.owners:
        raise filtererrors.subnet_in_use(subnet.id, f"{subnet.ipv6.prefix} has addresses in use")
    try:
        subnet.ipv6 = IPv6Space(wanted) if wanted else None
    except ValueError as error:
        raise errors.invalid_format(str(error)) from error


def _prefixes(subnet_id: str, properties: Document) -> tuple[IPv4Network, IPv6Network | None]:
    """Of each family the first that a subnet's body names; there must be one of IPv4. Raises ArmError."""
    named = [properties.get("addressPrefix"), *(properties.get("addressPrefixes") or ())]
    try:
        found = [ip_network(prefix) for prefix in named if prefix]
        wanted = next((one for one in found if isinstance(one, IPv4Network)), None) or IPv4Network("")
    except ValueError as error:
        raise errors.invalid_format(f"addressPrefix of {subnet_id}: {error}") from error
    return wanted, next((one for one in found if isinstance(one, IPv6Network)), None)


def references_of_subnet(properties: Document) -> Iterator[str]:
    """The ids of what a subnet's body refers to."""
    yield from filter(None, (_reference(properties, key) for key in LINKS_OF_SUBNET))


def put_storage(azure: Subscription, name: str, *, open_to_all: bool, subnet_ids: list[str]) -> Document:
    """Make a storage account, or change whom it lets in: all, or these subnets. Raises ArmError.

    Azure documentation, "Configure Azure Storage firewalls": a subnet is let in by its service endpoint only.
    """
    for subnet_id in subnet_ids:
        if STORAGE not in azure.network.subnets[subnet_id.lower()].service_endpoints:
            raise filtererrors.no_service_endpoint(subnet_id, STORAGE)
    account_id = azure.id_of(azure.resource_group, filters.STORAGE_TYPE, name)
    rules = [{"id": subnet_id, "action": "Allow", "state": "Succeeded"} for subnet_id in subnet_ids]
    acls = {"bypass": "AzureServices", "defaultAction": "Allow" if open_to_all else "Deny"}
    document = {
        "name": name,
        "id": account_id,
        "etag": azure.names.etag(),
        "type": filters.STORAGE_TYPE,
        "location": azure.location,
        "properties": {
            "provisioningState": "Succeeded",
            "networkAcls": {**acls, "virtualNetworkRules": rules, "ipRules": []},
        },
    }
    azure.network.others[account_id.lower()] = document
    azure.network.notify()
    return document


def _parent_of(network: Network, child_id: str) -> tuple[Document, Kind]:
    document = network.others.get(parent(child_id).lower())
    if document is None:
        raise errors.not_found(parent(child_id))
    return document, KINDS[leaf(document["type"])]


def _known(resource_id: str) -> str:
    """The kind of a resource, as KINDS spells it."""
    return next(known for known in KINDS if known.lower() == names.kind(resource_id).lower())


def _reference(properties: Document, key: str) -> str:
    reference = properties.get(key)
    return str(reference["id"]) if reference else ""
