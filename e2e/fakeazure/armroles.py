"""Requests about role assignments, role definitions and scale sets: ROUTES, and HANDLERS by operation name.

What a principal may do is kept as patterns (`fakeazure.identity`); here it is shown as Azure shows it: an assignment
names a definition, and that has the actions. Azure documentation, "List Azure role assignments using the REST API": a
list at a scope shows what holds there and below, `assignedTo` filters by who has it. Definitions have IDs that follow
from what they allow. Of scale sets there is the orchestration mode alone.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from fakeazure import errors
from fakeazure.identity import Assignment
from fakeazure.records import Document
from fakeazure.wire import Answer, Call, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

AUTHORIZATION, SETS = "Microsoft.Authorization", "Microsoft.Compute/virtualMachineScaleSets"
ROUTES: Final = {
    ("GET", f"{AUTHORIZATION}/roleAssignments".lower()): ("role.list", f"{AUTHORIZATION}/roleAssignments/read"),
    ("GET", f"{AUTHORIZATION}/roleDefinitions/*".lower()): ("role.get", f"{AUTHORIZATION}/roleDefinitions/read"),
    ("GET", f"{SETS}/*".lower()): ("scale-set.get", f"{SETS}/read"),
}


def _list_assignments(azure: "FakeAzure", call: Call) -> Answer:
    found = re.fullmatch(r"assignedTo\('([0-9a-f-]+)'\)", call.request.query.get("$filter", ""), re.IGNORECASE)
    if found is None:
        raise errors.invalid_format("the filter of role assignments is not understood")
    scope = call.request.path.partition(f"/providers/{AUTHORIZATION}")[0]
    mine = [one for one in _assignments(azure, found[1]) if _touches(one, scope)]
    return json_answer({"value": [_assignment(azure, found[1], one) for one in mine]})


def _get_definition(azure: "FakeAzure", call: Call) -> Answer:
    for principal in azure.identity.principals:
        for one in _assignments(azure, principal):
            if _role_id(azure, one).lower() == call.request.path.lower():
                return json_answer(_definition(azure, one))
    raise errors.resource_not_found(call.resource.typed_name, call.resource.group)


def _get_scale_set(azure: "FakeAzure", call: Call) -> Answer:
    mode = azure.scale_sets.get(call.request.path.lower())
    if mode is None:
        raise errors.resource_not_found(call.resource.typed_name, call.resource.group)
    document: Document = {
        "name": call.resource.leaf,
        "id": call.request.path,
        "type": SETS,
        "location": azure.location,
        "properties": {"provisioningState": "Succeeded", **({"orchestrationMode": mode} if mode else {})},
    }
    return json_answer(document)


HANDLERS: Final[dict[str, Callable[["FakeAzure", Call], Answer]]] = {
    "role.list": _list_assignments,
    "role.get": _get_definition,
    "scale-set.get": _get_scale_set,
}


def vm_identity(azure: "FakeAzure", vm_name: str, principal_id: str) -> Document:
    """The `identity` of a VM's document: its own, or those that it was given; nothing where it has none."""
    if vm_name not in azure.user_assigned:
        own = {"type": "SystemAssigned", "principalId": principal_id, "tenantId": azure.identity.tenant}
        return {"identity": own}
    given = {
        azure.id_of(azure.resource_group, "Microsoft.ManagedIdentity/userAssignedIdentities", one.name): {
            "principalId": one.object_id,
            "clientId": one.client_id,
        }
        for one in azure.user_assigned[vm_name]
    }
    return {"identity": {"type": "UserAssigned", "userAssignedIdentities": given}} if given else {}


def _assignments(azure: "FakeAzure", principal: str) -> Iterator[Assignment]:
    """What is allowed to it by list holds in the whole subscription."""
    assigned = azure.identity.assignments.get(principal)
    if assigned is not None:
        yield from assigned
        return
    actions = azure.identity.permissions.get(principal, azure.identity.permissions["*"])
    yield Assignment(tuple(actions), f"/subscriptions/{azure.subscription_id}")


def _touches(assignment: Assignment, scope: str) -> bool:
    """Whether it holds at the scope, or for something below it."""
    return assignment.covers(scope) or Assignment((), scope).covers(assignment.scope)


def _role_id(azure: "FakeAzure", assignment: Assignment) -> str:
    digest = hashlib.sha256("\n".join(assignment.actions).encode()).digest()[:16]
    where = f"/subscriptions/{azure.subscription_id}/providers/{AUTHORIZATION}/roleDefinitions"
    return f"{where}/{uuid.UUID(bytes=digest)}"


def _assignment(azure: "FakeAzure", principal: str, one: Assignment) -> Document:
    digest = hashlib.sha256(f"{principal} {one.scope} {one.actions}".encode()).digest()[:16]
    name = str(uuid.UUID(bytes=digest))
    return {
        "properties": {
            "roleDefinitionId": _role_id(azure, one),
            "principalId": principal,
            "principalType": "ServicePrincipal",
            "scope": one.scope,
        },
        "id": f"{one.scope}/providers/{AUTHORIZATION}/roleAssignments/{name}",
        "type": f"{AUTHORIZATION}/roleAssignments",
        "name": name,
    }


def _definition(azure: "FakeAzure", one: Assignment) -> Document:
    role_id = _role_id(azure, one)
    allowed = [action for action in one.actions if not action.startswith("!")]
    denied = [action[1:] for action in one.actions if action.startswith("!")]
    permissions = {"actions": allowed, "notActions": denied, "dataActions": [], "notDataActions": []}
    return {
        "properties": {
            "roleName": f"role {role_id.rpartition('/')[2]}",
            "type": "CustomRole",
            "description": "",
            "assignableScopes": [f"/subscriptions/{azure.subscription_id}"],
            "permissions": [permissions],
        },
        "id": role_id,
        "type": f"{AUTHORIZATION}/roleDefinitions",
        "name": role_id.rpartition("/")[2],
    }
