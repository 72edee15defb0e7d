"""Azure Resource Manager: from a request to an answer.

In this order, as far as it is known: token (401), the gateway's throttling (429), existence of subscription and group
(404), role (403), injected faults, the provider's throttling (429), and then the resource itself (404, 412, 400).
Which of 412 and 429 comes first on a real NIC is not known.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fakeazure import armbalancing, armgroups, armmachines, armroles, armuniform, changelog, errors, faults
from fakeazure.armresources import HANDLERS
from fakeazure.errors import ArmError
from fakeazure.identity import Principal
from fakeazure.names import parse_path
from fakeazure.throttling import Kind
from fakeazure.wire import Answer, Call, Request, error_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

KINDS: dict[str, Kind] = {"GET": "read", "PUT": "write", "POST": "write", "PATCH": "write", "DELETE": "delete"}
BUSY_S = 10
LINKS = ("Azure-AsyncOperation", "Location")
NETWORK, COMPUTE = "Microsoft.Network", "Microsoft.Compute"
GROUPS = "applicationSecurityGroups"


@dataclass(frozen=True, slots=True)
class Route:
    """One thing that can be asked: its name in counts and faults, and the action that a role must have ("" none)."""

    operation: str
    action: str
    provider: Literal["network", "compute", "roles"] = "network"


def _routes() -> dict[tuple[str, str], Route]:
    nic, vnet, vm = (
        f"{NETWORK}/networkInterfaces",
        f"{NETWORK}/virtualNetworks",
        f"{COMPUTE}/virtualMachines",
    )
    locations = f"{NETWORK}/locations/*"
    check = f"{vnet}/checkIpAddressAvailability/read"
    table = {
        ("GET", f"{nic}/*"): Route("nic.get", f"{nic}/read"),
        ("PUT", f"{nic}/*"): Route("nic.put", f"{nic}/write"),
        ("DELETE", f"{nic}/*"): Route("nic.delete", f"{nic}/delete"),
        ("GET", nic): Route("nic.list", f"{nic}/read"),
        ("GET", f"{vm}/*"): Route("vm.get", f"{vm}/read", "compute"),
        ("GET", vm): Route("vm.list", f"{vm}/read", "compute"),
        ("GET", f"{vnet}/*"): Route("vnet.get", f"{vnet}/read"),
        ("GET", vnet): Route("vnet.list", f"{vnet}/read"),
        ("GET", f"{vnet}/*/usages"): Route("vnet.usages", f"{vnet}/usages/read"),
        ("GET", f"{vnet}/*/checkIPAddressAvailability"): Route("vnet.check-address", check),
        ("GET", f"{vnet}/*/subnets/*"): Route("subnet.get", f"{vnet}/subnets/read"),
        ("PUT", f"{vnet}/*/subnets/*"): Route("subnet.put", f"{vnet}/subnets/write"),
        ("GET", f"{vnet}/*/subnets"): Route("subnet.list", f"{vnet}/subnets/read"),
        ("GET", f"{locations}/operations/*"): Route("operation.get", f"{NETWORK}/locations/operations/read"),
        ("GET", f"{locations}/operationResults/*"): Route(
            "operation.result", f"{NETWORK}/locations/operationResults/read"
        ),
    }
    table |= {pattern: Route(name, action, "roles") for pattern, (name, action) in armroles.ROUTES.items()}
    table |= {pattern: Route(*route) for pattern, route in armuniform.ROUTES.items()}
    table |= {pattern: Route(*route) for pattern, route in armgroups.ROUTES.items()}
    table |= {pattern: Route(name, action, "compute") for pattern, (name, action) in armmachines.ROUTES.items()}
    for kind, children in (("networkSecurityGroups", "securityRules"), ("routeTables", "routes"), (GROUPS, "")):
        table[("GET", f"{NETWORK}/{kind}")] = Route("other.list", f"{NETWORK}/{kind}/read")
        table[("PUT", f"{NETWORK}/{kind}/*")] = Route("other.put", f"{NETWORK}/{kind}/write")
        table[("DELETE", f"{NETWORK}/{kind}/*")] = Route("other.delete", f"{NETWORK}/{kind}/delete")
        if children:
            path = f"{NETWORK}/{kind}/*/{children}/*"
            table[("GET", path)] = Route("child.get", f"{NETWORK}/{kind}/{children}/read")
            table[("PUT", path)] = Route("child.put", f"{NETWORK}/{kind}/{children}/write")
            table[("DELETE", path)] = Route("child.delete", f"{NETWORK}/{kind}/{children}/delete")
        table[("GET", f"{NETWORK}/{kind}/*")] = Route("other.get", f"{NETWORK}/{kind}/read")
    table |= {
        (method, f"{NETWORK}/{pattern}"): Route(name, f"{NETWORK}/{action}")
        for (method, pattern), (name, action) in armbalancing.ROUTES.items()
    }
    return {(method, pattern.lower()): route for (method, pattern), route in table.items()}


ROUTES = _routes()
_HANDLERS: dict[str, Callable[["FakeAzure", Call], Answer]] = (
    HANDLERS
    | armbalancing.HANDLERS
    | armgroups.HANDLERS
    | armmachines.HANDLERS
    | armroles.HANDLERS
    | armuniform.HANDLERS
)


def answer(azure: "FakeAzure", request: Request) -> Answer:
    """Carry one request out."""
    now = azure.settle()
    resource = parse_path(request.path)
    route = ROUTES.get((request.method, resource.pattern)) if resource else None
    subject = azure.subject_of(resource) if resource else ""
    operation = route.operation if route else "unknown"
    principal_id = ""
    try:
        principal = azure.identity.authenticate(request.headers.get("authorization"))
        principal_id = principal.object_id
        if resource is None or route is None:
            raise errors.unknown_type(resource.typed_name if resource else request.path)
        call = Call(request, resource, principal.object_id, operation, now)
        _admit(azure, call, route, principal)
        reply = _perform(azure, call, route, subject)
    except ArmError as error:
        reply = error_answer(error)
    azure.history.record(
        changelog.Call(now, operation, subject, principal_id, 0 if reply.fate == "lost" else reply.status)
    )
    return reply if reply.foreign else _with_headers(azure, reply, request, principal_id)


def _admit(azure: "FakeAzure", call: Call, route: Route, principal: Principal) -> None:
    """What the gateway checks before a provider sees the request; raises ArmError."""
    subscription, group = call.resource.subscription, call.resource.group
    kind = KINDS[call.request.method]
    azure.throttle.admit_arm(kind, subscription=subscription, principal=principal.object_id, now=call.now)
    if "api-version" not in call.request.query:
        raise errors.missing_api_version()
    if subscription.lower() != azure.subscription_id.lower():
        raise errors.subscription_not_found(subscription)
    azure.api_versions.admit(call.resource, call.request.query)
    if group and group.lower() not in azure.network.groups:
        raise errors.group_not_found(group)
    if route.action and not azure.identity.allows(principal, route.action, scope=_scope(azure, call)):
        raise errors.forbidden(principal.object_id, action=route.action, scope=call.request.path)


def _scope(azure: "FakeAzure", call: Call) -> str:
    """Where the caller needs its right: at the resource, or, for an operation, at the group of the resource it is on.

    "Resource group-level permission is required because the URL for tracking status isn't scoped to the resource"
    (Azure documentation, "Track asynchronous Azure operations").
    """
    operation = azure.operations.table.get(call.resource.leaf) if call.operation.startswith("operation.") else None
    if operation is None:
        return call.request.path
    return "/".join(operation.resource_id.split("/")[:5])


def _perform(azure: "FakeAzure", call: Call, route: Route, subject: str) -> Answer:
    """Faults, the provider's throttling, the handler."""
    _refuse_as_injected(azure, call, route, subject)
    if odd := azure.faults.take(faults.OddBody, call.operation, subject):
        return Answer(odd[0].status, odd[0].content, odd[0].headers)
    if page := azure.faults.take(faults.Page, call.operation, subject):
        headers = {"Server": page[0].server, "Via": "1.1 proxy.example"}
        return Answer(page[0].status, page[0].content, headers, "text/html", foreign=True)
    if azure.faults.take(faults.Silent, call.operation, subject):
        return Answer(0, fate="silent")
    lost = azure.faults.take(faults.LostReply, call.operation, subject)
    if lost and not lost[0].applied:
        return Answer(0, fate="lost")
    if route.provider == "compute":
        azure.throttle.admit_compute(call.operation, call.request.path, now=call.now)
    elif route.provider == "network":
        azure.throttle.admit_network(KINDS[call.request.method], now=call.now)
    reply = _HANDLERS[call.operation](azure, call)
    if relinked := azure.faults.take(faults.Relinked, call.operation, subject):
        kept = {name: text for name, text in reply.headers.items() if name not in LINKS}
        reply = replace(reply, headers={**kept, **relinked[0].links})
    return Answer(reply.status, fate="lost") if lost else reply


def _refuse_as_injected(azure: "FakeAzure", call: Call, route: Route, subject: str) -> None:
    """Raise the error that a fault asks for."""
    path, base_url = call.request.path, call.request.base_url
    if refused := azure.faults.take(faults.Refuse, call.operation, subject):
        raise refused[0].error
    if throttled := azure.faults.take(faults.Throttled, call.operation, subject):
        effect, fault = throttled
        wait_s = effect.retry_after_s if fault.until is None else max(1, round(fault.until - call.now))
        raise errors.throttled_by_network("reads" if call.request.method == "GET" else "writes", retry_after_s=wait_s)
    if azure.faults.take(faults.Forbidden, call.operation, subject):
        raise errors.forbidden(call.principal_id, action=route.action, scope=path)
    if busy := azure.faults.take(faults.Busy, call.operation, subject):
        if busy[0].status == errors.CONFLICT:
            raise errors.conflict(base_url + path)
        raise errors.busy("PutVirtualNetworkOperation", resource_id=path, retry_after_s=BUSY_S)


def _with_headers(azure: "FakeAzure", reply: Answer, request: Request, principal_id: str) -> Answer:
    """The headers of the gateway on top of the provider's."""
    kind = KINDS.get(request.method, "read")
    own, everyone = azure.throttle.remaining(kind, principal=principal_id)
    request_id = azure.names.guid()
    correlation = request.headers.get("x-ms-correlation-request-id") or request_id
    headers = {
        f"x-ms-ratelimit-remaining-subscription-{kind}s": str(own),
        f"x-ms-ratelimit-remaining-subscription-global-{kind}s": str(everyone),
        "x-ms-request-id": request_id,
        "x-ms-correlation-request-id": correlation,
        "x-ms-routing-request-id": f"{azure.location.upper()}:{correlation}",
        "Cache-Control": "no-cache",
        **reply.headers,
    }
    if client_id := request.headers.get("x-ms-client-request-id"):
        headers["x-ms-client-request-id"] = client_id
    return Answer(reply.status, reply.body, headers, reply.content_type, reply.fate)
