"""NAT gateways: a subnet that has one leaves to the internet by the gateway's public addresses.

Sources, Azure documentation, "What is Azure NAT Gateway?": it takes precedence over a public IP, outbound rules and
default outbound access of the subnet's VMs; it serves all private addresses of the subnet, of primary and secondary IP
configurations; TCP and UDP, no ICMP; a Standard public IP belongs to one gateway.
"""

from typing import TYPE_CHECKING, Any, Final

from fakeazure import errors, tracked
from fakeazure.errors import ArmError
from fakeazure.records import Document

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

KIND: Final = "natGateways"


def write(azure: "FakeAzure", resource_id: str, body: Any) -> Document:
    """Make or change a NAT gateway; raises ArmError."""
    body = tracked.object_of(body)
    wanted = [item["id"] for item in (body.get("properties") or {}).get("publicIpAddresses") or []]
    for public_ip_id in wanted:
        _check_public_ip(azure, public_ip_id, by=resource_id)
    before = azure.network.others.get(resource_id.lower())
    _release(azure, before)
    properties = {
        "idleTimeoutInMinutes": (body.get("properties") or {}).get("idleTimeoutInMinutes", 4),
        "publicIpAddresses": [{"id": public_ip_id} for public_ip_id in wanted],
    }
    document = tracked.new_document(azure, resource_id, KIND, {"sku": {"name": "Standard"}, **body}, properties)
    azure.network.others[resource_id.lower()] = document
    for public_ip_id in wanted:
        azure.network.others[public_ip_id.lower()]["properties"]["natGateway"] = {"id": document["id"]}
    azure.network.notify()
    return shown(azure, document)


def shown(azure: "FakeAzure", document: Document) -> Document:
    """The document with the subnets that have this gateway."""
    subnets = [{"id": subnet_id} for subnet_id in subnets_of(azure, document["id"])]
    listed = {"subnets": subnets} if subnets else {}
    return {**document, "properties": {**document["properties"], **listed}}


def delete(azure: "FakeAzure", document: Document) -> None:
    """Forget it; raises ArmError while a subnet has it."""
    if used := subnets_of(azure, document["id"]):
        text = f"NAT Gateway {document['id']} is in use by {', '.join(used)} and cannot be deleted."
        raise ArmError(400, "InUseNatGatewayCannotBeDeleted", text, ())
    _release(azure, document)
    del azure.network.others[document["id"].lower()]


def associate(azure: "FakeAzure", subnet_name: str, gateway_id: str) -> None:
    """Give a subnet a gateway, or none for ""; raises ArmError, KeyError for a subnet that is not there."""
    subnet = azure.subnet(subnet_name)
    if gateway_id and gateway_id.lower() not in azure.network.others:
        raise errors.missing_reference(gateway_id, by=subnet.id)
    subnet.nat_gateway_id = gateway_id
    azure.network.notify()


def subnets_of(azure: "FakeAzure", gateway_id: str) -> list[str]:
    """The ids of the subnets that have this gateway."""
    key = gateway_id.lower()
    return [subnet.id for subnet in azure.network.subnets.values() if subnet.nat_gateway_id.lower() == key]


def _check_public_ip(azure: "FakeAzure", public_ip_id: str, *, by: str) -> None:
    document = azure.network.others.get(public_ip_id.lower())
    if document is None:
        raise errors.missing_reference(public_ip_id, by=by)
    properties = document["properties"]
    owner = (properties.get("natGateway") or properties.get("ipConfiguration") or {}).get("id")
    if owner and owner.lower() != by.lower():
        raise errors.public_address_in_use(public_ip_id, by=by, owner_id=owner)


def _release(azure: "FakeAzure", document: Document | None) -> None:
    for item in document["properties"]["publicIpAddresses"] if document else ():
        if held := azure.network.others.get(item["id"].lower()):
            held["properties"].pop("natGateway", None)
