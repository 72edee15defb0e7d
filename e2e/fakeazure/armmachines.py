"""Machines made by a request, and commands that run on them: ROUTES, and HANDLERS by operation name.

Azure's REST reference, "Virtual Machines - Create Or Update" (a NIC that is there is named in networkProfile; 201 with
an operation) and "Virtual Machines - Run Command" (202 with a Location, whose answer in the end is a list of messages);
the form of a message is that of "Run scripts in your Linux VM by using action Run Commands", which also says that the
last 4,096 bytes of the output are shown, and that one script runs at a time. What runs the script is the test's choice.
Left out: images, disks, and everything else of a machine but its NIC and size; changing a machine.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fakeazure import errors
from fakeazure.armaccepted import operation_headers
from fakeazure.identity import Principal
from fakeazure.records import Nic, Vm
from fakeazure.wire import Answer, Call, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

MACHINES: Final = "Microsoft.Compute/virtualMachines"
RESULTS: Final = "microsoft.compute/locations/*/operationresults"
ROUTES: Final = {
    ("PUT", f"{MACHINES.lower()}/*"): ("vm.put", f"{MACHINES}/write"),
    ("POST", f"{MACHINES.lower()}/*/runcommand"): ("vm.run", f"{MACHINES}/runCommand/action"),
    ("GET", f"{RESULTS}/*"): ("vm.run-result", "Microsoft.Compute/locations/operations/read"),
}
SHOWN_BYTES: Final = 4096


def _nowhere(_vm: Vm, _script: str) -> "Future[str]":
    raise errors.ArmError(409, "OperationNotAllowed", "this Azure runs no commands: nobody has said how")


@dataclass(slots=True)
class Commands:
    """`run` starts a script of a machine; its result is what the script prints."""

    run: Callable[[Vm, str], "Future[str]"] = _nowhere
    running: dict[str, tuple[str, "Future[str]"]] = field(default_factory=dict)
    """By their operations: of which machine, and what will come of it."""


def _put_vm(azure: "FakeAzure", call: Call) -> Answer:
    body = call.request.json() or {}
    if not body.get("location"):
        raise errors.location_required()
    if call.request.path.lower() in azure.network.vms:
        raise errors.invalid_content("this Azure changes no machine that is there")
    properties = body.get("properties") or {}
    for needed in ("hardwareProfile", "storageProfile", "osProfile", "networkProfile"):
        if not properties.get(needed):
            raise errors.invalid_parameter("it is missing", needed)
    nics = [_nic(azure, item["id"], call) for item in properties["networkProfile"].get("networkInterfaces") or ()]
    if not nics:
        raise errors.invalid_parameter("a machine needs a NIC", "networkInterfaces")
    made = [
        azure.nics.attach(nic, call.request.path, primary=not index, now=call.now) for index, nic in enumerate(nics)
    ]
    principal = azure.identity.add(Principal(azure.names.guid(), azure.names.guid(), call.resource.leaf))
    vm = Vm(
        id=call.request.path,
        location=body["location"],
        guid=azure.names.guid(),
        size=str(properties["hardwareProfile"].get("vmSize")),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(call.now)),
        nic_ids=tuple(nic.id for nic in made),
        mac=made[0].mac,
        principal_id=principal.object_id,
    )
    azure.network.vms[vm.id.lower()] = vm
    operation = azure.operations.start(
        "vm.put", vm.id, location=vm.location, due=call.now + azure.operation_duration_s, ending=None
    )
    return json_answer(vm.document(), status=201, headers=operation_headers(call, operation))


def _nic(azure: "FakeAzure", nic_id: str, call: Call) -> Nic:
    nic = azure.network.nics.get(nic_id.lower())
    if nic is None:
        raise errors.missing_reference(nic_id, by=call.request.path)
    if nic.vm_id:
        raise errors.nic_in_use(nic.id, nic.vm_id)
    return nic


def _run(azure: "FakeAzure", call: Call) -> Answer:
    vm_id = call.request.path.rpartition("/")[0].lower()
    vm = azure.network.vms.get(vm_id)
    if vm is None:
        raise errors.resource_not_found(f"{MACHINES}/{call.resource.names[0]}", call.resource.group)
    if any(whose == vm_id and not future.done() for whose, future in azure.commands.running.values()):
        raise errors.ArmError(409, "Conflict", "Run command extension execution is in progress. Please wait.")
    body: Any = call.request.json() or {}
    if body.get("commandId") != "RunShellScript":
        raise errors.invalid_parameter("only RunShellScript is known", "commandId")
    name = azure.names.guid()
    azure.commands.running[name] = (vm_id, azure.commands.run(vm, "\n".join(body.get("script") or ())))
    where = f"/subscriptions/{azure.subscription_id}/providers/Microsoft.Compute/locations/{vm.location}"
    url = f"{call.request.base_url}{where}/operationResults/{name}?api-version={call.api_version}"
    return Answer(202, headers={"Location": url, "Retry-After": "1"})


def _result(azure: "FakeAzure", call: Call) -> Answer:
    _, future = azure.commands.running.get(call.resource.leaf, ("", None))
    if future is None:
        raise errors.ArmError(404, "OperationNotFound", f"The operation '{call.resource.leaf}' was not found.")
    if not future.done():
        return Answer(202, headers={"Location": call.request.base_url + call.request.path, "Retry-After": "1"})
    shown = future.result().encode()[-SHOWN_BYTES:].decode(errors="replace")
    message = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "message": f"Enable succeeded: \n[stdout]\n{shown}\n[stderr]\n",
    }
    return json_answer({"value": [message]})


HANDLERS: Final[dict[str, Callable[["FakeAzure", Call], Answer]]] = {
    "vm.put": _put_vm,
    "vm.run": _run,
    "vm.run-result": _result,
}
