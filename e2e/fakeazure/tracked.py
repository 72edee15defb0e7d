"""Tracked resources of Microsoft.Network that this fake keeps as whole documents: what their writes have in common.

They are written at once: PUT answers 201 or 200 with provisioningState Succeeded. Azure answers with an operation that
ends within seconds; a client that polls sees the same end.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fakeazure import errors
from fakeazure.names import leaf
from fakeazure.records import Document

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

NETWORK = "Microsoft.Network"


def new_document(azure: "FakeAzure", resource_id: str, kind: str, body: Any, properties: Document) -> Document:
    """The document that a body makes, its id in the spelling of the resource's creation; raises ArmError."""
    before = azure.network.others.get(resource_id.lower())
    if not body.get("location"):
        raise errors.location_required()
    kept = before["id"] if before else resource_id
    guid = before["properties"].get("resourceGuid") if before else None
    sku = {"sku": {"tier": "Regional", **body["sku"]}} if body.get("sku") else {}
    return {
        "name": leaf(kept),
        "id": kept,
        "etag": azure.names.etag(),
        "type": f"{NETWORK}/{kind}",
        "location": body["location"].lower().replace(" ", ""),
        **({"tags": dict(body["tags"])} if body.get("tags") else {}),
        **sku,
        "properties": {
            "provisioningState": "Succeeded",
            "resourceGuid": guid or azure.names.guid(),
            **properties,
        },
    }


def object_of(body: Any) -> Document:
    """A body that is an object; raises ArmError."""
    if not isinstance(body, dict):
        raise errors.invalid_content("the body is not an object")
    return body


def of_kind(azure: "FakeAzure", kind: str) -> Iterator[Document]:
    """All documents of a kind, such as `loadBalancers`, in the order of their making."""
    wanted = f"{NETWORK}/{kind}".lower()
    return (document for document in azure.network.others.values() if document["type"].lower() == wanted)


def named(azure: "FakeAzure", kind: str, name: str) -> Document:
    """The document of this name; raises KeyError."""
    for document in of_kind(azure, kind):
        if document["name"].lower() == name.lower():
            return document
    raise KeyError(f"no {kind} {name!r} among {sorted(document['name'] for document in of_kind(azure, kind))}")
