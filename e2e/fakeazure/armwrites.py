"""What Resource Manager does with writes of security groups, route tables and subnets: the table HANDLERS.

If-Match is honoured as on a NIC: recordings show 412 for VNets, security groups and route tables.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fakeazure import errors, resources, vnets
from fakeazure.names import kind, parent
from fakeazure.wire import Answer, Call, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

JOINED = ("networkSecurityGroups", "routeTables", "natGateways")


def _put(azure: "FakeAzure", call: Call) -> Answer:
    existing = azure.network.others.get(call.request.path.lower())
    if existing:
        check_etag(call, existing["id"], existing["etag"])
    document, new = resources.put(azure, call.request.path, call.request.json())
    return json_answer(document, status=201 if new else 200, headers={"ETag": document["etag"]})


def _list(azure: "FakeAzure", call: Call) -> Answer:
    start = call.request.path.lower()
    if not call.resource.group:  # of the whole subscription: any group, the same provider and type
        start = f"/{call.resource.provider}/{call.resource.types[0]}".lower()
    found = [document for key, document in azure.network.others.items() if f"{start}/" in key]
    return json_answer({"value": [resources.shown(azure.network, document) for document in found]})


def _delete(azure: "FakeAzure", call: Call) -> Answer:
    return Answer(200 if resources.delete(azure, call.request.path) else 204)


def _get_child(azure: "FakeAzure", call: Call) -> Answer:
    child = resources.child(azure.network, call.request.path)
    return json_answer(child, headers={"ETag": child["etag"]})


def _put_child(azure: "FakeAzure", call: Call) -> Answer:
    child, new = resources.put_child(azure, call.request.path, call.request.json())
    return json_answer(child, status=201 if new else 200, headers={"ETag": child["etag"]})


def _delete_child(azure: "FakeAzure", call: Call) -> Answer:
    return Answer(200 if resources.delete_child(azure, call.request.path) else 204)


def _put_subnet(azure: "FakeAzure", call: Call) -> Answer:
    subnet_id = call.request.path
    if parent(subnet_id).lower() not in azure.network.vnets:
        raise errors.resource_not_found(
            f"Microsoft.Network/virtualNetworks/{call.resource.names[0]}", call.resource.group
        )
    existing = azure.network.subnets.get(subnet_id.lower())
    if existing:
        check_etag(call, existing.id, existing.etag)
    properties = (call.request.json() or {}).get("properties") or {}
    _check_links(azure, call, properties)
    subnet, new = resources.put_subnet(azure, existing.id if existing else subnet_id, properties)
    return json_answer(vnets.subnet_document(subnet), status=201 if new else 200, headers={"ETag": subnet.etag})


HANDLERS: dict[str, Callable[["FakeAzure", Call], Answer]] = {
    "other.put": _put,
    "other.list": _list,
    "other.delete": _delete,
    "child.get": _get_child,
    "child.put": _put_child,
    "child.delete": _delete_child,
    "subnet.put": _put_subnet,
}


def check_etag(call: Call, resource_id: str, current: str) -> None:
    """If-Match; the network provider takes a value without the W/ for a weak one."""
    given = call.request.headers.get("if-match")
    if given is None or given == "*":
        return
    weak = given if given.startswith("W/") else f'W/"{given.strip(chr(34))}"'
    if weak != current:
        raise errors.precondition_failed(resource_id, given=weak, current=current)


def _check_links(azure: "FakeAzure", call: Call, properties: dict[str, object]) -> None:
    """The writer of a subnet must be allowed to join the group and the table that it names."""
    principal = azure.identity.principals[call.principal_id]
    wanted = [
        (f"Microsoft.Network/{kind(linked)}/join/action", linked)
        for linked in resources.references_of_subnet(properties)
        if kind(linked) in JOINED
    ]
    missing = [pair for pair in wanted if not azure.identity.allows(principal, pair[0], scope=pair[1])]
    if missing:
        action = "Microsoft.Network/virtualNetworks/subnets/write"
        raise errors.forbidden_link(principal.object_id, action=action, scope=call.request.path, missing=missing)
