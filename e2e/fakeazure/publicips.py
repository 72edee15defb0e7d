"""Public IP addresses as resources: allocated when made, had by one IP configuration or frontend at a time.

Sources, Azure documentation: "Public IP addresses in Azure" (a Standard address is static, and is closed to inbound
traffic until a network security group opens it), "Upgrade to Standard SKU public IP addresses" (Basic ones cannot be
made since March 2025; the refusal is the one of a limit of 0). Chosen where nothing is known: the lowest free address
of the fake's own range is given.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any, Final

from fakeazure import errors, tracked
from fakeazure.errors import ArmError
from fakeazure.records import Document

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

KIND: Final = "publicIPAddresses"
RANGE: Final = IPv4Network("198.51.100.128/26")  # of RFC 5737's TEST-NET-2, which stands for Azure's addresses


def write(azure: "FakeAzure", resource_id: str, body: Any) -> Document:
    """Make or change a public IP address; raises ArmError."""
    body = tracked.object_of(body)
    given = body.get("properties") or {}
    before = azure.network.others.get(resource_id.lower())
    if ((body.get("sku") or {}).get("name") or "Basic") != "Standard":
        raise _no_basic()
    if given.get("publicIPAddressVersion") not in {None, "IPv4"}:
        raise errors.invalid_format(f"{resource_id}: this Azure has IPv4 only")
    if given.get("publicIPAllocationMethod") != "Static":
        raise _not_static(resource_id)
    kept = before["properties"] if before else {}
    owner = {key: kept[key] for key in ("ipConfiguration", "natGateway") if key in kept}
    properties = {
        "publicIPAddressVersion": "IPv4",
        "publicIPAllocationMethod": "Static",
        "idleTimeoutInMinutes": given.get("idleTimeoutInMinutes", 4),
        "ipTags": given.get("ipTags") or [],
        **({"dnsSettings": given["dnsSettings"]} if given.get("dnsSettings") else {}),
        "ipAddress": kept.get("ipAddress") or free_address(azure),
        **owner,
    }
    document = tracked.new_document(azure, resource_id, KIND, body, properties)
    azure.network.others[resource_id.lower()] = document
    return document


def delete(azure: "FakeAzure", document: Document) -> None:
    """Forget it; raises ArmError while something has it."""
    owner = document["properties"].get("ipConfiguration") or document["properties"].get("natGateway")
    if owner:
        raise _in_use(document["id"], owner["id"])
    del azure.network.others[document["id"].lower()]


def free_address(azure: "FakeAzure") -> str:
    """The lowest address of the fake's range that no resource has; raises ArmError."""
    taken = set(_addresses(azure))
    for address in RANGE:
        if address not in taken:
            return str(address)
    text = f"Cannot create more than {RANGE.num_addresses} public IP addresses for this subscription in this region."
    raise ArmError(400, "PublicIPCountLimitReached", text, ())


def _addresses(azure: "FakeAzure") -> Iterator[IPv4Address]:
    for document in tracked.of_kind(azure, KIND):
        if text := document["properties"].get("ipAddress"):
            yield IPv4Address(text)


def _no_basic() -> ArmError:
    text = "Cannot create more than 0 IPv4 Basic SKU public IP addresses for this subscription in this region."
    return ArmError(400, "IPv4BasicSkuPublicIpCountLimitReached", text, ())


def _not_static(resource_id: str) -> ArmError:
    """Our own code: the rule is documented, its error is not."""
    text = f"Standard sku publicIp {resource_id} must have AllocationMethod set to Static."
    return ArmError(400, "StandardSkuPublicIPAddressesMustBeStatic", text, ())


def _in_use(resource_id: str, owner_id: str) -> ArmError:
    text = f"Public IP address {resource_id} can not be deleted since it is still allocated to resource {owner_id}."
    return ArmError(400, "PublicIPAddressCannotBeDeleted", text, ())
