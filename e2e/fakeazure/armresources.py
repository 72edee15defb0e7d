"""What each request to the resource manager does, once it may: the table HANDLERS, by operation name."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from fakeazure import armwrites, errors, faults, resources, vnets
from fakeazure.armaccepted import (
    check_links,
    injected_ending,
    new_ipv6_block,
    operation_headers,
    operation_named,
    operation_url,
    subnet_full,
)
from fakeazure.armroles import vm_identity
from fakeazure.names import ResourceId
from fakeazure.operations import Ending
from fakeazure.records import NIC_TYPE, Document, Nic, Vm, VNet
from fakeazure.wire import Answer, Call, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

T = TypeVar("T")


def _get_nic(azure: "FakeAzure", call: Call) -> Answer:
    nic = _nic(azure, call.resource)
    if stale := azure.faults.take(faults.Stale, call.operation, nic.name):
        versions = azure.network.rested if stale[0].rested else azure.network.earlier
        nic = versions.get(nic.id.lower(), nic)
    return Answer(200, nic.encoded(), {"ETag": nic.etag})


def _list_nics(azure: "FakeAzure", call: Call) -> Answer:
    inside = [nic for nic in azure.network.nics.values() if _in_scope(nic.id, call.resource)]
    return _page(call, inside, Nic.document, size=azure.page_size)


def _put_nic(azure: "FakeAzure", call: Call) -> Answer:
    path, name = call.request.path, call.resource.leaf
    if azure.faults.take(faults.TouchedMeanwhile, call.operation, name):
        azure.outside.touch(name)
    existing = azure.network.nics.get(path.lower())
    if existing:
        armwrites.check_etag(call, existing.id, existing.etag)
    draft = azure.nics.read(path, call.request.json())
    check_links(azure, call, draft, action=f"{NIC_TYPE}/write")
    full = azure.faults.take(faults.SubnetFull, call.operation, name)
    refusal = subnet_full(azure, draft) if full else None
    if full and refusal and not full[0].late:
        raise refusal
    if (block := new_ipv6_block(draft)) and azure.faults.take(faults.NoIPv6Block, call.operation, name):
        raise errors.bad_prefix_config(block, "IPv6 address prefixes are not available here")
    slow = azure.faults.take(faults.SlowOperation, call.operation, name)
    nic, operation = azure.nics.write(
        draft,
        now=call.now,
        duration_s=slow[0].seconds if slow else azure.operation_duration_s,
        ending=Ending("Failed", refusal) if refusal else injected_ending(azure, call, name),
    )
    if operation is None:
        return Answer(200 if existing else 201, nic.encoded())
    reply = Answer(200, nic.encoded(), operation_headers(call, operation))
    if superseded := azure.faults.take(faults.Superseded, call.operation, name):
        azure.outside.write(nic.name, keeps_ours=superseded[0].keeps_ours)
    return reply


def _delete_nic(azure: "FakeAzure", call: Call) -> Answer:
    nic = azure.network.nics.get(call.request.path.lower())
    if nic is None:
        return Answer(204)
    slow = azure.faults.take(faults.SlowOperation, call.operation, nic.name)
    operation = azure.nics.delete(
        nic,
        now=call.now,
        duration_s=slow[0].seconds if slow else azure.operation_duration_s,
        ending=injected_ending(azure, call, nic.name),
    )
    location = operation_url(call, operation, "operationResults")
    return Answer(200, headers={**operation_headers(call, operation), "Location": location})


def _get_vm(azure: "FakeAzure", call: Call) -> Answer:
    vm = azure.network.vms.get(call.request.path.lower())
    if vm is None:
        raise errors.resource_not_found(call.resource.typed_name, call.resource.group)
    view = call.request.query.get("$expand", "").lower() == "instanceview"
    return json_answer(_vm_document(azure, vm, instance_view=view), headers={"ETag": '"1"'})


def _vm_document(azure: "FakeAzure", vm: Vm, *, instance_view: bool = False) -> Document:
    return vm.document(instance_view=instance_view) | vm_identity(azure, vm.name, vm.principal_id)


def _list_vms(azure: "FakeAzure", call: Call) -> Answer:
    inside = [vm for vm in azure.network.vms.values() if _in_scope(vm.id, call.resource)]
    return _page(call, inside, lambda vm: _vm_document(azure, vm), size=azure.page_size)


def _get_vnet(azure: "FakeAzure", call: Call) -> Answer:
    vnet = _vnet(azure, call.resource)
    return json_answer(vnets.vnet_document(azure.network, vnet), headers={"ETag": vnet.etag})


def _list_vnets(azure: "FakeAzure", call: Call) -> Answer:
    inside = [vnet for vnet in azure.network.vnets.values() if _in_scope(vnet.id, call.resource)]
    return _page(call, inside, lambda vnet: vnets.vnet_document(azure.network, vnet), size=azure.page_size)


def _get_subnet(azure: "FakeAzure", call: Call) -> Answer:
    subnet = azure.network.subnets.get(call.request.path.lower())
    if subnet is None:
        raise errors.resource_not_found(call.resource.typed_name, call.resource.group)
    document = vnets.subnet_document(subnet)
    listed = document["properties"].get("ipConfigurations")
    if listed and call.request.query.get("$expand", "").lower() == "ipconfigurations":
        document["properties"]["ipConfigurations"] = [azure.config_document(item["id"]) or item for item in listed]
    return json_answer(document, headers={"ETag": subnet.etag})


def _list_subnets(azure: "FakeAzure", call: Call) -> Answer:
    vnet = _vnet(azure, call.resource)
    return _page(call, azure.network.subnets_of(vnet), vnets.subnet_document, size=azure.page_size)


def _usages(azure: "FakeAzure", call: Call) -> Answer:
    vnet = _vnet(azure, call.resource)
    return _page(call, azure.network.subnets_of(vnet), vnets.usage, size=azure.page_size)


def _check_address(azure: "FakeAzure", call: Call) -> Answer:
    text = call.request.query.get("ipAddress", "")
    return json_answer(vnets.availability(azure.network, _vnet(azure, call.resource), text))


def _get_operation(azure: "FakeAzure", call: Call) -> Answer:
    operation = operation_named(azure, call)
    wait_s = operation.retry_after_s(call.now) if operation.status == "InProgress" else 0
    return json_answer(operation.document(), headers={"Retry-After": str(wait_s)} if wait_s else {})


def _operation_result(azure: "FakeAzure", call: Call) -> Answer:
    operation = operation_named(azure, call)
    if operation.status == "InProgress":
        wait_s = operation.retry_after_s(call.now)
        location = operation_url(call, operation, "operationResults")
        return Answer(202, headers={"Location": location, **({"Retry-After": str(wait_s)} if wait_s else {})})
    if operation.error:
        raise operation.error
    nic = azure.network.nics.get(operation.resource_id.lower())
    return Answer(200, nic.encoded()) if nic else Answer(204)


def _get_other(azure: "FakeAzure", call: Call) -> Answer:
    document = azure.network.others.get(call.request.path.lower())
    if document is None:
        raise errors.resource_not_found(call.resource.typed_name, call.resource.group)
    return json_answer(resources.shown(azure.network, document), headers={"ETag": document["etag"]})


HANDLERS: dict[str, Callable[["FakeAzure", Call], Answer]] = {
    **armwrites.HANDLERS,
    "nic.get": _get_nic,
    "nic.put": _put_nic,
    "nic.delete": _delete_nic,
    "nic.list": _list_nics,
    "vm.get": _get_vm,
    "vm.list": _list_vms,
    "vnet.get": _get_vnet,
    "vnet.list": _list_vnets,
    "vnet.usages": _usages,
    "vnet.check-address": _check_address,
    "subnet.get": _get_subnet,
    "subnet.list": _list_subnets,
    "operation.get": _get_operation,
    "operation.result": _operation_result,
    "other.get": _get_other,
}


def _nic(azure: "FakeAzure", resource: ResourceId) -> Nic:
    nic = azure.network.nics.get(azure.id_of(resource.group, NIC_TYPE, resource.leaf).lower())
    if nic is None:
        raise errors.resource_not_found(resource.typed_name, resource.group)
    return nic


def _vnet(azure: "FakeAzure", resource: ResourceId) -> VNet:
    """The VNet that a path lies in."""
    vnet = azure.network.vnets.get(
        azure.id_of(resource.group, "Microsoft.Network/virtualNetworks", resource.names[0]).lower()
    )
    if vnet is None:
        typed_name = f"Microsoft.Network/virtualNetworks/{resource.names[0]}"
        raise errors.resource_not_found(typed_name, resource.group)
    return vnet


def _in_scope(resource_id: str, scope: ResourceId) -> bool:
    return not scope.group or f"/resourcegroups/{scope.group}/".lower() in resource_id.lower()


def _page(call: Call, items: Sequence[T], render: Callable[[T], Document], *, size: int) -> Answer:
    """One page of a list, and the link to the next."""
    skip = int(call.request.query.get("$skipToken", "0"))
    document: Document = {"value": [render(item) for item in items[skip : skip + size]]}
    if skip + size < len(items):
        query = urlencode({"api-version": call.api_version, "$skipToken": str(skip + size)})
        document["nextLink"] = f"{call.request.base_url}{call.request.path}?{query}"
    return json_answer(document)
