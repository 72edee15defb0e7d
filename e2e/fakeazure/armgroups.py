"""Resource groups, what a provider serves, and VNets made by a request: ROUTES, and HANDLERS by operation name.

Azure's REST reference, "Resource Groups" (Create Or Update: 201 or 200; Delete: 202, all that is in it goes too),
"Providers - Get" and "Virtual Networks - Create Or Update", gives paths, bodies and answers; of a group that is gone
ResourceGroupNotFound is recorded. Chosen where nothing is known: a deletion takes as long as a write of a NIC, its
resources are gone at once, and a VNet is made at once. Left out: load balancers in a group that goes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import TYPE_CHECKING, Any, Final, Literal

from fakeazure import errors, vnets
from fakeazure.armwrites import check_etag
from fakeazure.names import Names
from fakeazure.records import Document, VNet
from fakeazure.subnets import Subnet
from fakeazure.wire import Answer, Call, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

GROUPS: Final = "Microsoft.Resources/resourceGroups"
GROUP, PROVIDER = GROUPS.lower(), "microsoft.resources/providers"
VNETS: Final = "Microsoft.Network/virtualNetworks"
RIGHT: Final = "Microsoft.Resources/subscriptions"
VERSIONS: Final = ("2025-05-01", "2024-05-01", "2023-11-01")
"""Of a kind of which nothing else was said."""
ROUTES: Final[dict[tuple[str, str], tuple[str, str, Literal["network", "roles"]]]] = {
    ("PUT", f"{GROUP}/*"): ("group.put", f"{RIGHT}/resourceGroups/write", "roles"),
    ("GET", f"{GROUP}/*"): ("group.get", f"{RIGHT}/resourceGroups/read", "roles"),
    ("DELETE", f"{GROUP}/*"): ("group.delete", f"{RIGHT}/resourceGroups/delete", "roles"),
    ("GET", f"{PROVIDER}/*"): ("provider.get", f"{RIGHT}/providers/read", "roles"),
    ("PUT", f"{VNETS.lower()}/*"): ("vnet.put", f"{VNETS}/write", "network"),
}


@dataclass(slots=True)
class Groups:
    """The groups that were made by requests: their documents, and when one that is being deleted will be gone."""

    documents: dict[str, Document] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    unregistered: set[str] = field(default_factory=set)
    """Namespaces of providers, in lower case, that the subscription has not registered."""


def _put_group(azure: "FakeAzure", call: Call) -> Answer:
    body, name = call.request.json() or {}, call.resource.leaf
    if not body.get("location"):
        raise errors.location_required()
    new = name.lower() not in azure.network.groups
    azure.network.groups.setdefault(name.lower(), name)
    document = {
        "id": call.request.path,
        "name": name,
        "type": GROUPS,
        "location": body["location"],
        **({"tags": body["tags"]} if body.get("tags") else {}),
        "properties": {"provisioningState": "Succeeded"},
    }
    azure.groups.documents[name.lower()] = document
    return json_answer(document, status=201 if new else 200)


def _get_group(azure: "FakeAzure", call: Call) -> Answer:
    return json_answer(_group(azure, call))


def _delete_group(azure: "FakeAzure", call: Call) -> Answer:
    document, key = _group(azure, call), call.resource.leaf.lower()
    if key not in azure.groups.ends:
        _empty(azure, f"/resourcegroups/{key}/", now=call.now)
        document["properties"]["provisioningState"] = "Deleting"
        azure.groups.ends[key] = call.now + azure.operation_duration_s
    return Answer(
        202, headers={"Location": f"{call.request.base_url}{call.request.path}?api-version={call.api_version}"}
    )


def _group(azure: "FakeAzure", call: Call) -> Document:
    key = call.resource.leaf.lower()
    if azure.groups.ends.get(key, call.now + 1) <= call.now:
        del azure.groups.ends[key], azure.network.groups[key], azure.groups.documents[key]
    if key not in azure.network.groups:
        raise errors.group_not_found(call.resource.leaf)
    first = {"id": call.request.path, "name": azure.network.groups[key], "type": GROUPS, "location": azure.location}
    return azure.groups.documents.setdefault(key, {**first, "properties": {"provisioningState": "Succeeded"}})


def _empty(azure: "FakeAzure", inside: str, *, now: float) -> None:
    """All that is in a group goes: machines before their NICs, and these before their subnets."""
    network = azure.network
    for vm in [vm for vm in network.vms.values() if inside in vm.id.lower()]:
        azure.delete_vm(vm.name, keep_nic=True)
    for nic in [nic for nic in network.nics.values() if inside in nic.id.lower()]:
        network.drop_nic(nic, at=now, cause="deleted with its group")
    sets = azure.uniform
    things: tuple[dict[str, Any], ...] = (
        network.subnets, network.vnets, network.others, azure.scale_sets, sets.instances, sets.models
    )  # fmt: skip
    for things_of_a_kind in things:
        for key in [key for key in things_of_a_kind if inside in key]:
            del things_of_a_kind[key]
    network.notify()


def _get_provider(azure: "FakeAzure", call: Call) -> Answer:
    namespace = call.resource.leaf
    known = {one.partition("/")[2].lower(): limited.listed for one, limited in azure.api_versions.limited.items()}
    kinds = ("networkInterfaces", "virtualNetworks", "virtualMachines", "virtualMachineScaleSets")
    document = {
        "id": call.request.path,
        "namespace": namespace,
        "registrationState": "NotRegistered" if namespace.lower() in azure.groups.unregistered else "Registered",
        "resourceTypes": [
            {
                "resourceType": kind,
                "locations": [azure.location],
                "apiVersions": list(known.get(kind.lower(), VERSIONS)),
            }
            for kind in kinds
        ],
    }
    return json_answer(document)


def _put_vnet(azure: "FakeAzure", call: Call) -> Answer:
    existing = azure.network.vnets.get(call.request.path.lower())
    if existing:
        check_etag(call, existing.id, existing.etag)
        raise errors.invalid_content("this Azure changes no VNet that is there")
    body = call.request.json() or {}
    if not body.get("location"):
        raise errors.location_required()
    properties = body.get("properties") or {}
    prefixes = tuple((properties.get("addressSpace") or {}).get("addressPrefixes") or ())
    for prefix in prefixes:
        _read(prefix)
    subnets = list(_subnets(properties, call.request.path, azure.names))
    azure.network.subnets |= {subnet.id.lower(): subnet for subnet in subnets}
    vnet = VNet(
        call.request.path,
        body["location"],
        azure.names.etag(),
        azure.names.guid(),
        prefixes,
        tuple(subnet.id for subnet in subnets),
    )
    azure.network.vnets[vnet.id.lower()] = vnet
    azure.network.notify()
    return json_answer(vnets.vnet_document(azure.network, vnet), status=201, headers={"ETag": vnet.etag})


def _subnets(properties: Document, vnet_id: str, made: Names) -> Iterator[Subnet]:
    for item in properties.get("subnets") or ():
        given = item.get("properties") or {}
        prefix = given.get("addressPrefix") or next(iter(given.get("addressPrefixes") or ()), "")
        outbound = bool(given.get("defaultOutboundAccess", True))
        yield Subnet(f"{vnet_id}/subnets/{item['name']}", _read(prefix), made.etag(), made.guid(), outbound)


def _read(prefix: str) -> IPv4Network:
    try:
        return IPv4Network(prefix)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise errors.invalid_format(f"address prefix '{prefix}': this Azure has IPv4 only: {error}") from error


HANDLERS: Final[dict[str, Callable[["FakeAzure", Call], Answer]]] = {
    "group.put": _put_group,
    "group.get": _get_group,
    "group.delete": _delete_group,
    "provider.get": _get_provider,
    "vnet.put": _put_vnet,
}
