"""How the admin API shows NICs, VMs, subnets and faults: one line of a table each."""

from typing import TYPE_CHECKING, Any

from fakeazure.faultkinds import kind_of
from fakeazure.faults import Fault
from fakeazure.names import leaf, parent
from fakeazure.records import Nic, Vm
from fakeazure.subnets import Subnet

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure


def nic_view(azure: "FakeAzure", nic: Nic) -> dict[str, Any]:
    operation = azure.operations.table.get(nic.operation_id)
    return {
        "name": nic.name,
        "vm": nic.vm_name,
        "subnet": leaf(nic.subnet_id),
        "primary": nic.primary.address,
        "state": nic.state,
        "configurations": len(nic.configs),
        "allocated": len(nic.held),
        "effective": len(nic.effective),
        "nsg": leaf(nic.security_group_id or "/"),
        "asgs": ",".join(map(leaf, nic.primary.group_ids)),
        "operation_ends_in_s": round(operation.due - azure.now(), 1) if operation else None,
        "etag": nic.etag,
    }


def vm_view(azure: "FakeAzure", vm: Vm) -> dict[str, Any]:
    nic = azure.nic_record(vm.nic)
    public = next((address.public_ip for address in nic.effective if address.primary), None)
    return {
        "name": vm.name,
        "nic": vm.nic,
        "mac": vm.mac,
        "primary": nic.primary.address,
        "public_ip": public or "",
        "vm_id": vm.guid,
        "tags": dict(vm.tags),
    }


def subnet_view(azure: "FakeAzure", subnet: Subnet) -> dict[str, Any]:
    name = f"{leaf(parent(subnet.id))}/{leaf(subnet.id)}"
    return {
        "name": name,
        "prefix": str(subnet.prefix),
        "used": len(subnet.owners),
        "free": subnet.free,
        "by_another_tool": azure.outside.taken(name),
        "nsg": leaf(subnet.security_group_id or "/"),
        "route_table": leaf(subnet.route_table_id or "/"),
        "endpoints": ",".join(subnet.service_endpoints),
    }


def fault_view(azure: "FakeAzure", fault: Fault) -> dict[str, Any]:
    return {
        "id": fault.id,
        "kind": kind_of(fault.effect),
        "operation": fault.operation,
        "resource": fault.resource,
        "times_left": fault.times,
        "seconds_left": None if fault.until is None else round(max(0.0, fault.until - azure.now()), 1),
        "chance": fault.chance,
        "hits": fault.hits,
    }
