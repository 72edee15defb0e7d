"""The instance metadata service: who a VM is, its tokens, and what is going to happen to it.

A VM is known by its source address, which must be the primary address of its primary NIC: from any other the service
does not answer at all (Azure documentation, "Instance Metadata Service"). Fields and errors are of the same page.
Chosen where nothing is known: addresses are shown as soon as they work; a block shows as one entry in CIDR form.
"""

import re
from typing import TYPE_CHECKING, Any

from fakeazure import changelog, faults
from fakeazure.names import parse_path
from fakeazure.records import Nic, Vm
from fakeazure.wire import Answer, Request, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

NEWEST_VERSIONS = ["2025-04-07", "2024-07-17", "2024-03-15"]
VERSION = re.compile(r"\d{4}-\d{2}-\d{2}")
OPERATIONS = {
    "instance": "imds.instance",
    "attested": "imds.attested",
    "identity": "imds.token",
    "scheduledevents": "imds.scheduledevents",
    "versions": "imds.versions",
}


def answer(azure: "FakeAzure", request: Request) -> Answer:
    """Carry one request out."""
    now = azure.settle()
    parts = [part for part in request.path.split("/") if part]
    operation = (
        OPERATIONS.get(parts[1], "imds.unknown") if len(parts) > 1 and parts[0] == "metadata" else "imds.unknown"
    )
    vm = azure.caller(request.source)
    if vm is None:
        reply = _stranger(request)
    else:
        reply = _injected(azure, operation, vm) or _checked(azure, request, vm, operation, parts[2:])
    name = vm.name if vm else request.source
    azure.history.record(changelog.Call(now, operation, name, vm.principal_id if vm else "", reply.status))
    return reply


def _stranger(request: Request) -> Answer:
    """Not a VM's primary address: silence, or on loopback a word to whoever wrote the test."""
    if not request.source.startswith("127."):
        return Answer(0, fate="silent")
    text = f"cannot find out which VM asks from {request.source}: name it with FakeAzure.pin_caller"
    return json_answer({"error": "invalid_request", "error_description": text}, status=400)


def _injected(azure: "FakeAzure", operation: str, vm: Vm) -> Answer | None:
    """The answer that a fault asks for."""
    if azure.faults.take(faults.Silent, operation, vm.name):
        return Answer(0, fate="silent")
    if odd := azure.faults.take(faults.OddBody, operation, vm.name):
        return Answer(odd[0].status, odd[0].content, odd[0].headers)
    if azure.faults.take(faults.LostReply, operation, vm.name):
        return Answer(0, fate="lost")
    if taken := azure.faults.take(faults.MetadataError, operation, vm.name):
        return json_answer({"error": "unknown", "error_description": "injected"}, status=taken[0].status)
    if azure.faults.take(faults.Throttled, operation, vm.name):
        return json_answer({"error": "Too many requests"}, status=429)
    return None


def _checked(azure: "FakeAzure", request: Request, vm: Vm, operation: str, rest: list[str]) -> Answer:
    if objection := _objection(request, operation):
        return objection
    if operation == "imds.versions":
        return json_answer({"apiVersions": ["2018-02-01", "2020-07-01", "2021-10-01", *reversed(NEWEST_VERSIONS)]})
    if not azure.throttle.admit_metadata(vm.id, identity=operation == "imds.token", now=azure.now()):
        return json_answer({"error": "Too many requests"}, status=429)
    if operation == "imds.token":
        return _token(azure, request, vm, rest)
    if operation == "imds.scheduledevents":
        return _scheduled_events(azure, request, vm)
    return (_attested if operation == "imds.attested" else _instance)(azure, request, vm, rest)


def _objection(request: Request, operation: str) -> Answer | None:
    """What is wrong with the form of a request."""
    if operation == "imds.unknown":
        return json_answer({"error": "Not found"}, status=404)
    if request.headers.get("metadata", "").lower() != "true":
        return json_answer({"error": "Bad request. Required metadata header not specified"}, status=400)
    if "x-forwarded-for" in request.headers:
        return json_answer({"error": "Bad request. Request contains X-Forwarded-For header"}, status=400)
    if request.method not in ({"GET", "POST"} if operation == "imds.scheduledevents" else {"GET"}):
        return json_answer({"error": "Method not allowed"}, status=405)
    if operation != "imds.versions" and not VERSION.fullmatch(request.query.get("api-version", "")):
        text = (
            "Bad request. api-version is invalid or was not specified in the request. "
            "For more information refer to aka.ms/azureimds"
        )
        return json_answer({"error": text, "newest-versions": NEWEST_VERSIONS}, status=400)
    return None


def _token(azure: "FakeAzure", request: Request, vm: Vm, rest: list[str]) -> Answer:
    if rest != ["oauth2", "token"]:
        return json_answer({"error": "Not found"}, status=404)
    audience = request.query.get("resource", "")
    if not audience:
        return _no_token("invalid_resource", "AADSTS90014: The required field 'resource' is missing.")
    client_id = request.query.get("client_id")
    assigned = azure.user_assigned.get(vm.name, (azure.identity.principals.get(vm.principal_id),))
    if not client_id and len(assigned) > 1:
        text = (
            "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the "
            "token request"
        )
        return _no_token("invalid_request", text)
    principal = azure.identity.by_client_id(client_id) if client_id else next(iter(assigned), None)
    if principal is None or not (principal.everywhere or principal in assigned):
        return _no_token("invalid_request", "Identity not found")
    token, expires_on = azure.identity.issue(principal, audience=audience)
    document = {
        "access_token": token,
        "client_id": principal.client_id,
        "refresh_token": "",
        "expires_in": str(azure.identity.lifetime_s),
        "expires_on": str(expires_on),
        "not_before": str(expires_on - azure.identity.lifetime_s),
        "resource": audience,
        "token_type": "Bearer",
    }
    return json_answer(document)


def _no_token(error: str, text: str) -> Answer:
    return json_answer({"error": error, "error_description": text}, status=400)


def _attested(azure: "FakeAzure", request: Request, vm: Vm, rest: list[str]) -> Answer:
    if rest != ["document"]:
        return json_answer({"error": "Not found"}, status=404)
    stale = azure.faults.take(faults.Stale, "imds.attested", vm.name) is not None
    nonce = request.query.get("nonce", "")
    signature = azure.attester.document(vm.guid, azure.subscription_id, nonce=nonce, now=azure.now(), stale=stale)
    return json_answer({"encoding": "pkcs7", "signature": signature})


def _instance(azure: "FakeAzure", request: Request, vm: Vm, rest: list[str]) -> Answer:
    stale = azure.faults.take(faults.Stale, "imds.instance", vm.name) is not None
    node: Any = document(azure, vm, stale=stale)
    for part in rest:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return json_answer({"error": "Not found"}, status=404)
    wants_text = request.query.get("format", "json" if isinstance(node, dict | list) else "text") == "text"
    if wants_text and isinstance(node, str):
        return Answer(200, node.encode(), content_type="text/plain; charset=utf-8")
    return json_answer(node)


def document(azure: "FakeAzure", vm: Vm, *, stale: bool = False) -> dict[str, Any]:
    """Instance data as of api-version 2021-10-01: every leaf a string, "" where nothing applies."""
    nics = [azure.network.nics[nic_id.lower()] for nic_id in vm.nic_ids]
    if stale:
        nics = [azure.network.earlier.get(nic.id.lower(), nic) for nic in nics]
    resource = parse_path(vm.id)
    return {
        "compute": {
            "azEnvironment": "AzurePublicCloud",
            "location": vm.location,
            "name": vm.name,
            "osProfile": {
                "adminUsername": "azureuser",
                "computerName": vm.computer_name,
                "disablePasswordAuthentication": "true",
            },
            "osType": "Linux",
            "placementGroupId": "",
            "platformFaultDomain": str(vm.fault_domain),
            "platformUpdateDomain": "0",
            "provider": "Microsoft.Compute",
            "resourceGroupName": resource.group if resource else "",
            "resourceId": vm.id,
            "subscriptionId": resource.subscription if resource else "",
            "tags": ";".join(f"{name}:{value}" for name, value in vm.tags.items()),
            "tagsList": [{"name": name, "value": value} for name, value in vm.tags.items()],
            "vmId": vm.guid,
            "vmScaleSetName": vm.scale_set,
            "vmSize": vm.size,
            "zone": vm.zone,
        },
        "network": {"interface": [_interface(azure, nic) for nic in sorted(nics, key=lambda nic: nic.mac)]},
    }


def _interface(azure: "FakeAzure", nic: Nic) -> dict[str, Any]:
    prefix = azure.network.subnets[nic.subnet_id.lower()].prefix
    shown = nic.effective_nic()
    addresses = sorted(shown.addresses, key=lambda address: not address.primary)
    return {
        "ipv4": {
            "ipAddress": [
                {"privateIpAddress": address.address, "publicIpAddress": address.public_ip or ""}
                for address in addresses
            ],
            "subnet": [{"address": str(prefix.network_address), "prefix": str(prefix.prefixlen)}],
        },
        "ipv6": {"ipAddress": [{"privateIpAddress": address} for address in shown.ipv6]},
        "macAddress": nic.mac.replace("-", ""),
    }


def _scheduled_events(azure: "FakeAzure", request: Request, vm: Vm) -> Answer:
    if request.method == "POST":
        wanted = {item["EventId"] for item in request.json().get("StartRequests", [])}
        azure.events.start(vm.name, wanted)
        return Answer(200)
    incarnation, events = azure.events.of(vm.name)
    return json_answer({"DocumentIncarnation": incarnation, "Events": events})
