"""NIC operations as documents in the pool (`status.nicOperation`).

They are written as merge patches, so a document names every one of its keys: None removes what an earlier one left
there. The process that reads an operation may do more in Azure than its author, so it is parsed strictly, and the
custom resource definition has the same fields and bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar, assert_never

import msgspec

from azure_cni.api.nic_operation import (
    Identify,
    NicOperation,
    ReadNic,
    ReadVNet,
    SetSecurityGroups,
    WriteNic,
    kind,
)
from azure_cni.api.reading import LARGEST_NUMBER
from azure_cni.errors import (
    DecodeFailed,
)
from azure_cni.model.attachments import (
    LONGEST_ID,
    LONGEST_LIST,
    MOST_ATTACHED,
    MOST_CHANGED,
    MOST_LISTED,
    AttachedResource,
    listable,
)
from azure_cni.model.config_names import LONGEST_CONFIG_NAME
from azure_cni.model.identity import MAX_ATTESTED_DOCUMENT, IdentityClaim
from azure_cni.model.ipv6 import IPv6Growth
from azure_cni.model.nic import (
    BLOCK_SIZE,
    MAX_CONFIGS_PER_NIC,
    MAX_SECURITY_GROUPS,
    AttachmentChange,
    ConfigName,
    NicID,
    SubnetID,
    VNetID,
)
from azure_cni.model.text import PLAIN, legible

T = TypeVar("T")

LONGEST_ETAG: Final = 256
"""Characters of a NIC's ETag; Azure's have 40."""
_SEGMENT: Final = r"[-\w()][-\w.()]*"
_ID = Annotated[str, msgspec.Meta(max_length=LONGEST_ID)]
_ConfigName = Annotated[str, msgspec.Meta(max_length=LONGEST_CONFIG_NAME, pattern=rf"\A{PLAIN}\Z")]
_MAC = Annotated[str, msgspec.Meta(max_length=64)]
MOST_MACS: Final = 32
"""NICs of one VM; Azure's have up to 15."""
_VMResource = Annotated[
    str,
    msgspec.Meta(
        max_length=LONGEST_ID,
        pattern=rf"(?i)\A/subscriptions/{_SEGMENT}/resourceGroups/{_SEGMENT}/providers/Microsoft\.Compute/"
        rf"(virtualMachines|virtualMachineScaleSets/{_SEGMENT}/virtualMachines)/{_SEGMENT}\Z",
    ),
]
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_CONFIGS_PER_NIC)]
Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_NUMBER)]
"""Of an operation, and of a grant."""

_Place = Annotated[int, msgspec.Meta(ge=0, lt=MOST_LISTED)]
Places = Annotated[tuple[_Place, ...], msgspec.Meta(max_length=MOST_ATTACHED)]
"""Of resources in the list that the document has of them. All pods of a node may be in the same pools: with the IDs of
each, the NodeIPPool would be larger than an agent reads (`kube.lean_objects`).
"""
ResourceIDs = Annotated[tuple[_ID, ...], msgspec.Meta(max_length=MOST_LISTED)]
"""That list; LONGEST_LIST characters together."""
_Changed = Annotated[tuple[_Place, ...], msgspec.Meta(max_length=MOST_CHANGED)]


class _Change(msgspec.Struct):
    config: _ConfigName
    add: _Changed = ()
    remove: _Changed = ()


class _Operation(msgspec.Struct, rename="camel"):
    id: Number
    kind: Annotated[str, msgspec.Meta(max_length=64)]
    vm: _VMResource
    vm_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = msgspec.field(name="vmID")
    macs: Annotated[tuple[_MAC, ...], msgspec.Meta(max_length=MOST_MACS)] = ()
    nic: _ID = ""
    vnet: _ID = ""
    etag: Annotated[str, msgspec.Meta(max_length=LONGEST_ETAG)] = ""
    add: _Count = 0
    size: Annotated[int, msgspec.Meta(ge=1, le=BLOCK_SIZE)] = 1
    remove: Annotated[tuple[_ConfigName, ...], msgspec.Meta(max_length=MAX_CONFIGS_PER_NIC)] = ()
    groups: Annotated[tuple[_ID, ...], msgspec.Meta(max_length=MAX_SECURITY_GROUPS)] = ()
    grant_number: Number = 0
    document: Annotated[str, msgspec.Meta(max_length=MAX_ATTESTED_DOCUMENT)] = ""
    attach: Annotated[tuple[_Change, ...], msgspec.Meta(max_length=MAX_CONFIGS_PER_NIC)] = ()
    resources: ResourceIDs = ()
    pod_subnet: _ID = ""
    ipv6_block: bool = False
    ipv6_addresses: _Count = 0


_NEWER: Final = (("podSubnet", ""), ("size", 1), ("ipv6Block", False), ("ipv6Addresses", 0))
"""Fields that the definitions of the release before do not name, with what they say in most operations. That is not
sent: an agent does not go on with an operation of which the API server has not kept all (`kube.delegated_nic`).
"""


def operation_document(number: int, operation: NicOperation) -> dict[str, Any]:
    """As in `status.nicOperation`, for a merge patch: what an operation before had is replaced, or removed by null."""
    claim = operation.claim
    document = _Operation(number, kind(operation), vm=claim.vm_resource_id, vm_id=claim.vm_id, macs=claim.macs)
    document.pod_subnet = claim.pod_subnet
    match operation:
        case Identify():
            document.document = operation.document
        case ReadVNet():
            document.vnet = operation.vnet_id
        case ReadNic():
            document.nic = operation.nic_id
        case WriteNic():
            document.nic, document.etag = operation.nic_id, operation.etag
            document.grant_number = operation.grant_number
            document.add, document.size, document.remove = operation.add, operation.size, operation.remove
            table = ResourceTable(resource for it in operation.attach for resource in it.add | it.remove)
            document.attach = tuple(
                _Change(it.config, table.places(it.add), table.places(it.remove)) for it in operation.attach
            )
            document.resources = table.ids
            document.ipv6_block, document.ipv6_addresses = operation.ipv6.block, operation.ipv6.singles
        case SetSecurityGroups():
            document.nic, document.etag = operation.nic_id, operation.etag
            document.grant_number, document.groups = operation.grant_number, operation.groups
        case _:
            assert_never(operation)
    written = built(document)
    return written | {field: None for field, usual in _NEWER if written[field] == usual}


def read_operation(document: object) -> NicOperation:
    """The operation in a pool; DecodeFailed says what is wrong with it."""
    if isinstance(document, Mapping):
        document = {key: value for key, value in document.items() if value is not None}
    raw = parsed(document, _Operation, what="NIC operation")
    if sum(map(len, raw.resources)) > LONGEST_LIST:
        raise DecodeFailed(f"cannot use the NIC operation: its resource IDs have more than {LONGEST_LIST} characters")
    claim = IdentityClaim(raw.vm_id.lower(), raw.vm, raw.macs, SubnetID(raw.pod_subnet))
    match raw.kind:
        case "identify":
            return Identify(claim, raw.document)
        case "vnet":
            return ReadVNet(claim, VNetID(raw.vnet))
        case "read":
            return ReadNic(claim, NicID(raw.nic))
        case "write":
            names, resources = tuple(ConfigName(name) for name in raw.remove), listed_resources(raw.resources)
            attach = tuple(_change(change, resources) for change in raw.attach)
            ipv6 = IPv6Growth(raw.ipv6_block, raw.ipv6_addresses)
            return WriteNic(claim, NicID(raw.nic), raw.etag, raw.add, names, raw.grant_number, attach, raw.size, ipv6)
        case "securityGroups":
            return SetSecurityGroups(claim, NicID(raw.nic), raw.etag, raw.groups, raw.grant_number)
        case _:
            raise DecodeFailed(
                f"cannot carry out a NIC operation of the kind {raw.kind!r}: this version does not know it"
            )


def _change(raw: _Change, listed: Sequence[AttachedResource]) -> AttachmentChange:
    return AttachmentChange(
        ConfigName(raw.config), add=at_places(raw.add, listed), remove=at_places(raw.remove, listed)
    )


class ResourceTable:
    """The resources of a document, each once: `ids` is their list, without those for which it has no room."""

    def __init__(self, resources: Iterable[AttachedResource]) -> None:
        found = listable(sorted(frozenset(resources)))
        self.ids = tuple(resource.id for resource in found)
        self._places = {resource: place for place, resource in enumerate(found)}

    def places(self, resources: Iterable[AttachedResource]) -> tuple[int, ...]:
        """Where they are in the list, as far as they are in it: MOST_ATTACHED at most."""
        return tuple(sorted(self._places[one] for one in resources if one in self._places))[:MOST_ATTACHED]


def listed_resources(ids: Iterable[str]) -> tuple[AttachedResource, ...]:
    """Resources by their IDs. DecodeFailed for an ID of anything else: to leave it out could hide what is attached."""
    found = []
    for written in ids:
        resource = AttachedResource.parse(written)
        if resource is None:
            raise DecodeFailed(
                f"cannot use {legible(written)!r}: it is not the resource ID of a load balancer pool or public IP "
                "address"
            )
        found.append(resource)
    return tuple(found)


def at_places(places: Iterable[int], listed: Sequence[AttachedResource]) -> frozenset[AttachedResource]:
    """The resources at these places of the list; DecodeFailed where it has none."""
    try:
        return frozenset(listed[place] for place in places)
    except IndexError as error:
        raise DecodeFailed(f"cannot use a list of {len(listed)} resources: one beyond its end is named") from error


def built(document: msgspec.Struct) -> dict[str, Any]:
    """In the form that the API server takes."""
    builtins: dict[str, Any] = msgspec.to_builtins(document)
    return builtins


def parsed(document: object, form: type[T], *, what: str) -> T:
    """The fields of a document; DecodeFailed says which of them is wrong."""
    try:
        return msgspec.convert(document, form)
    except msgspec.ValidationError as error:
        raise DecodeFailed(f"cannot use the {what}: {error}; is it of another version?") from error
