"""What the requests share that write a NIC: who may, how the operation ends, and where a client polls it."""

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from fakeazure import errors, faults
from fakeazure.nics import Draft
from fakeazure.operations import Ending, Operation
from fakeazure.wire import Call

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure


def check_links(azure: "FakeAzure", call: Call, draft: Draft, *, action: str) -> None:
    """The writer must be allowed to join every resource that the NIC refers to, also one it referred to before."""
    principal = azure.identity.principals[call.principal_id]
    missing = [pair for pair in draft.references() if not azure.identity.allows(principal, pair[0], scope=pair[1])]
    if missing:
        raise errors.forbidden_link(principal.object_id, action=action, scope=call.request.path, missing=missing)


def subnet_full(azure: "FakeAzure", draft: Draft) -> errors.ArmError | None:
    """The refusal of a full subnet, when the write asks for any new address."""
    new = sum(not config.address and not config.ipv6 for config in draft.configs)
    subnet = azure.network.subnets.get(draft.configs[0].subnet_id.lower())
    return errors.subnet_is_full(subnet.id, prefix=str(subnet.prefix), count=new) if new and subnet else None


def new_ipv6_block(draft: Draft) -> str:
    """The id of a configuration for a new IPv6 block that the write asks for; "" where it asks for none."""
    new = (one for one in draft.configs if one.ipv6 and one.prefix_length is not None and not one.address)
    return next((f"{draft.nic_id}/ipConfigurations/{one.name}" for one in new), "")


def injected_ending(azure: "FakeAzure", call: Call, name: str) -> Ending | None:
    taken = azure.faults.take(faults.FailOperation, call.operation, name)
    if taken is None:
        return None
    effect = taken[0]
    return Ending(effect.status, errors.ArmError(500, effect.code, effect.message, ()), effect.leaves)


def operation_named(azure: "FakeAzure", call: Call) -> Operation:
    """The operation that a poll names, its query whole; raises ArmError."""
    operation = azure.operations.table.get(call.resource.leaf)
    if operation is None:
        text = f"The operation '{call.resource.leaf}' was not found."
        raise errors.ArmError(404, "OperationNotFound", text)
    query = call.request.query
    if any(query.get(key) != value for key, value in operation.signature.items()):
        text = "The query of the operation's URL is incomplete: use the Azure-AsyncOperation header's value as it is."
        raise errors.ArmError(400, "InvalidAsyncOperationUri", text)
    return operation


def operation_url(call: Call, operation: Operation, kind: str) -> str:
    """Absolute, on the scheme and host that the client itself used."""
    query = urlencode({"api-version": call.api_version, **operation.signature})
    resource = call.resource
    where = f"/subscriptions/{resource.subscription}/providers/{resource.provider}/locations/{operation.location}"
    return f"{call.request.base_url}{where}/{kind}/{operation.id}?{query}"


def operation_headers(call: Call, operation: Operation) -> dict[str, str]:
    headers = {
        "Azure-AsyncNotification": "Enabled",
        "Azure-AsyncOperation": operation_url(call, operation, "operations"),
    }
    wait_s = operation.retry_after_s(call.now)
    return {**headers, "Retry-After": str(wait_s)} if wait_s else headers
