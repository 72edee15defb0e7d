"""Requests about Uniform scale sets, their instances, NICs and operations: ROUTES, and HANDLERS by operation name.

Azure's REST reference, "Virtual Machine Scale Sets - Create Or Update", gives the form of a set's body; of its network
one NIC is read, with one ipConfiguration. Left out: changing a set, and sets in Flexible mode.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from fakeazure import errors, faults, uniform
from fakeazure.armaccepted import check_links, injected_ending, operation_headers, subnet_full
from fakeazure.names import called
from fakeazure.nicrules import CONFIGS_PER_NIC
from fakeazure.nics import Draft
from fakeazure.operations import Ending
from fakeazure.records import Document, Nic
from fakeazure.uniform import SETS, Instance
from fakeazure.wire import Answer, Call, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

INSTANCES: Final = f"{SETS}/*/virtualMachines"
ACTIONS: Final = f"{SETS}/virtualMachines"
Provider = Literal["network", "compute"]
ROUTES: Final[dict[tuple[str, str], tuple[str, str, Provider]]] = {
    ("PUT", f"{SETS}/*".lower()): ("scale-set.put", f"{SETS}/write", "compute"),
    ("GET", f"{INSTANCES}/*".lower()): ("instance.get", f"{ACTIONS}/read", "compute"),
    ("PUT", f"{INSTANCES}/*".lower()): ("instance.put", f"{ACTIONS}/write", "compute"),
    ("GET", INSTANCES.lower()): ("instance.list", f"{ACTIONS}/read", "compute"),
    ("GET", f"{INSTANCES}/*/networkInterfaces/*".lower()): (
        "instance-nic.get",
        f"{ACTIONS}/networkInterfaces/read",
        "network",
    ),
    ("GET", "microsoft.compute/locations/*/operations/*"): (
        "operation.get",
        "Microsoft.Compute/locations/operations/read",
        "compute",
    ),
}


def _put_set(azure: "FakeAzure", call: Call) -> Answer:
    body = call.request.json() or {}
    if not body.get("location"):
        raise errors.location_required()
    if call.request.path.lower() in azure.scale_sets:
        raise errors.invalid_content("this Azure changes no scale set that is there")
    properties = body.get("properties") or {}
    if properties.get("orchestrationMode") != "Uniform":
        raise errors.invalid_parameter("this Azure makes sets in Uniform mode alone", "orchestrationMode")
    profile = (properties.get("virtualMachineProfile") or {}).get("networkProfile") or {}
    try:
        (nic,) = profile["networkInterfaceConfigurations"]
        (config,) = nic["properties"]["ipConfigurations"]
        subnet = azure.network.subnets[config["properties"]["subnet"]["id"].lower()]
        count = int(body["sku"]["capacity"])
    except (KeyError, ValueError, TypeError) as error:
        raise errors.invalid_parameter("one NIC with one ipConfiguration is understood", "networkProfile") from error
    name, group = call.resource.leaf, call.resource.group
    made = azure.uniform.add(name, instances=count, subnet=subnet.id, group=group, nic=nic["name"])
    operation = azure.operations.start(
        "scale-set.put",
        call.request.path,
        location=azure.location,
        due=call.now + azure.operation_duration_s,
        ending=None,
    )
    shown = {"name": name, "id": call.request.path, "type": SETS, "location": body["location"], "sku": body["sku"]}
    shown["properties"] = {"provisioningState": "Creating" if made else "Succeeded", "orchestrationMode": "Uniform"}
    return json_answer(shown, status=201, headers=operation_headers(call, operation))


def _get_instance(azure: "FakeAzure", call: Call) -> Answer:
    return _shown(azure, _instance(azure, call))


def _list_instances(azure: "FakeAzure", call: Call) -> Answer:
    inside = f"{call.request.path}/".lower()
    found = [one for key, one in azure.uniform.instances.items() if key.startswith(inside)]
    if not found and call.request.path.lower().rpartition("/virtualmachines")[0] not in azure.scale_sets:
        raise errors.resource_not_found(f"{SETS}/{call.resource.names[0]}", call.resource.group)
    return json_answer({"value": [azure.uniform.document(one) for one in found]})


def _get_nic(azure: "FakeAzure", call: Call) -> Answer:
    nic = azure.network.nics.get(call.request.path.lower())
    if nic is None:
        raise errors.resource_not_found(call.resource.typed_name, call.resource.group)
    if stale := azure.faults.take(faults.Stale, call.operation, nic.name):
        versions = azure.network.rested if stale[0].rested else azure.network.earlier
        nic = versions.get(nic.id.lower(), nic)
    return json_answer(uniform.nic_document(nic), headers={"ETag": nic.etag})


def _put_instance(azure: "FakeAzure", call: Call) -> Answer:
    body, name = call.request.json(), called(call.request.path)
    if azure.faults.take(faults.TouchedMeanwhile, call.operation, name):
        azure.uniform.touch(name)
    instance = _instance(azure, call)
    _check_etag(call, instance)
    _check_image(azure, call, body)
    vm = azure.network.vms[instance.vm_id.lower()]
    nics = [azure.network.nics[nic_id.lower()] for nic_id in vm.nic_ids]
    network = uniform.read_network(body, nics)
    if network is None:
        return _unchanged(azure, call, instance, nics[0])
    nic, configs = network
    if len(configs) > CONFIGS_PER_NIC:
        raise errors.too_many_of_instance(call.resource.names[0], count=len(configs), limit=CONFIGS_PER_NIC)
    properties: Document = {**nic.settings, "ipConfigurations": configs}
    draft = azure.nics.read(nic.id, {"location": nic.location, "properties": properties})
    check_links(azure, call, draft, action=f"{ACTIONS}/write")
    return _write(azure, call, instance, draft)


def _write(azure: "FakeAzure", call: Call, instance: Instance, draft: Draft) -> Answer:
    """As the draft of the NIC says, and the model with it."""
    name, nic = called(instance.vm_id), draft.existing
    assert nic is not None
    idle = azure.faults.take(faults.NoEffect, call.operation, name)
    full = azure.faults.take(faults.SubnetFull, call.operation, name)
    refusal = subnet_full(azure, draft) if full else None
    if full and refusal and not full[0].late:
        raise refusal
    slow = azure.faults.take(faults.SlowOperation, call.operation, name)
    after, operation = azure.nics.write(
        replace(draft, configs=nic.configs) if idle else draft,
        now=call.now,
        duration_s=slow[0].seconds if slow else azure.operation_duration_s,
        ending=Ending("Failed", refusal) if refusal else injected_ending(azure, call, name),
        kind="instance.put",
    )
    assert operation is not None
    if idle is None or idle[0].model:
        azure.uniform.accept(instance, after, draft.configs)
    return _shown(azure, azure.uniform.of(name), **operation_headers(call, operation))


def _unchanged(azure: "FakeAzure", call: Call, instance: Instance, nic: Nic) -> Answer:
    operation = azure.operations.start("instance.put", nic.id, location=nic.location, due=call.now, ending=None)
    return _shown(azure, instance, **operation_headers(call, operation))


def _shown(azure: "FakeAzure", instance: Instance, **headers: str) -> Answer:
    return json_answer(azure.uniform.document(instance), headers={"ETag": f'"{instance.etag}"', **headers})


HANDLERS: Final[dict[str, Callable[["FakeAzure", Call], Answer]]] = {
    "scale-set.put": _put_set,
    "instance.get": _get_instance,
    "instance.put": _put_instance,
    "instance.list": _list_instances,
    "instance-nic.get": _get_nic,
}


def _instance(azure: "FakeAzure", call: Call) -> Instance:
    set_name, number = call.resource.names[:2]
    if call.request.path.lower().rpartition("/virtualmachines/")[0] not in azure.scale_sets:
        raise errors.resource_not_found(f"{SETS}/{set_name}", call.resource.group)
    instance = azure.uniform.instances.get(call.request.path.lower())
    if instance is None:
        raise errors.no_such_instance(number)
    return instance


def _check_etag(call: Call, instance: Instance) -> None:
    given, current = call.request.headers.get("if-match"), f'"{instance.etag}"'
    if given not in {None, "*", current}:
        raise errors.instance_changed(given=str(given).strip('"'), current=str(instance.etag))


def _check_image(azure: "FakeAzure", call: Call, body: Document) -> None:
    """An image that is written back as it was read needs a right in the subscription that it is in."""
    image = ((body.get("properties") or {}).get("storageProfile") or {}).get("imageReference") or {}
    if azure.subscription_id.lower() not in str(image.get("id") or azure.subscription_id).lower():
        raise errors.image_of_another_tenant(call.request.path, image["id"], tenant=azure.identity.tenant)
