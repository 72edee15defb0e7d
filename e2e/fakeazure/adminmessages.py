"""The requests of the admin API as types: the fields of each, validated on arrival, and what it does.

`run` returns the answer, to be encoded as JSON. KeyError, ValueError and ArmError become a 400.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from fakeazure import meddlers
from fakeazure.adminviews import fault_view, nic_view, subnet_view, vm_view
from fakeazure.faultkinds import effect_of

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure


class Message(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request of the admin API: its fields, and what it does."""

    def run(self, azure: "FakeAzure") -> Any:
        raise NotImplementedError


class ListNics(Message):
    """All NICs, each as `nic_view` shows it."""

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        return [nic_view(azure, nic) for nic in azure.network.nics.values()]


class OneNic(Message):
    """A NIC's document, as Resource Manager gives it."""

    name: str

    def run(self, azure: "FakeAzure") -> Any:
        return azure.nic(self.name)


class DeleteNic(OneNic):
    """A NIC is deleted at once."""

    def run(self, azure: "FakeAzure") -> Any:
        now = azure.settle()
        azure.nics.delete(azure.nic_record(self.name), now=now, duration_s=0)
        azure.settle()


class TouchNic(OneNic):
    """Another tool writes a NIC and changes nothing but its etag."""

    def run(self, azure: "FakeAzure") -> Any:
        return {"etag": azure.outside.touch(self.name).etag}


class WriteNic(OneNic):
    """Another tool writes a NIC: what it holds, or (`keeps_ours` false) what it held before the write under way."""

    keeps_ours: bool = True

    def run(self, azure: "FakeAzure") -> Any:
        azure.outside.write(self.name, keeps_ours=self.keeps_ours)
        return azure.nic(self.name)


class Appear(OneNic):
    """Addresses that the agent did not ask for appear at a NIC."""

    count: int = 1

    def run(self, azure: "FakeAzure") -> Any:
        return {"addresses": azure.outside.appear(self.name, count=self.count)}


class Vanish(OneNic):
    """Addresses disappear from a NIC; another tool has them at once if `taken`."""

    addresses: tuple[str, ...]
    taken: bool = False

    def run(self, azure: "FakeAzure") -> Any:
        azure.outside.vanish(self.name, *self.addresses, taken=self.taken)


class Meddle(OneNic):
    """A tool that knows nothing of azure-cni writes a NIC: see `fakeazure.meddlers`."""

    by: str

    def run(self, azure: "FakeAzure") -> Any:
        meddlers.meddle(azure, self.name, self.by)
        return azure.nic(self.name)


class ListVms(Message):
    """All VMs, each as `vm_view` shows it."""

    def run(self, azure: "FakeAzure") -> Any:
        return [vm_view(azure, vm) for vm in azure.network.vms.values()]


class AddVm(Message):
    """A VM with one NIC; without `address`, the first free one of its subnet."""

    name: str
    subnet: str = ""
    secondaries: int = 0
    tags: dict[str, str] = {}
    address: str = ""
    public_ip: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        vm = azure.add_vm(
            self.name,
            subnet=self.subnet,
            secondaries=self.secondaries,
            tags=self.tags,
            address=self.address,
            public_ip=self.public_ip,
        )
        return vm_view(azure, vm)


class ChangeVm(Message):
    """A VM comes back with another size, or on another host, as after a resize or a redeploy."""

    name: str
    size: str = ""
    fault_domain: int | None = None

    def run(self, azure: "FakeAzure") -> Any:
        return vm_view(azure, azure.change_vm(self.name, size=self.size, fault_domain=self.fault_domain))


class DeleteVm(Message):
    """A VM is deleted, its NIC too unless `keep_nic`; an instance of a Uniform scale set always takes its NIC along."""

    name: str
    keep_nic: bool = False

    def run(self, azure: "FakeAzure") -> Any:
        if not azure.vm(self.name).scale_set:
            azure.delete_vm(self.name, keep_nic=self.keep_nic)
        elif self.keep_nic:
            raise ValueError(f"cannot keep the NIC of {self.name}: it is part of an instance of a Uniform scale set")
        else:
            azure.uniform.vanish(self.name)


class ReimageVm(Message):
    """An instance of a Uniform scale set is reimaged: its network is that of the set's model again."""

    name: str

    def run(self, azure: "FakeAzure") -> Any:
        azure.uniform.reset(self.name)


class ListSubnets(Message):
    """All subnets, each as `subnet_view` shows it."""

    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        return [subnet_view(azure, subnet) for subnet in azure.network.subnets.values()]


class ResizeSubnet(Message):
    """A subnet gets another prefix. An empty `subnet` is the first one."""

    prefix: str
    subnet: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        azure.resize_subnet(self.prefix, self.subnet)
        return subnet_view(azure, azure.subnet(self.subnet))


class Take(Message):
    """Others take `count` addresses of a subnet, or all but `leave` of those that are free."""

    count: int | None = None
    leave: int | None = None
    subnet: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        if (self.count is None) == (self.leave is None):
            raise ValueError("cannot take addresses: say either count or leave")
        if self.count is not None:
            return {"addresses": azure.outside.take(self.count, self.subnet)}
        return {"addresses": azure.outside.leave(self.leave or 0, self.subnet)}


class GiveBack(Message):
    """Others give back `count` addresses that they took, or all of them."""

    count: int | None = None
    subnet: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        return {"count": azure.outside.give_back(self.count, self.subnet)}


class ListFaults(Message):
    """The faults that are active."""

    def run(self, azure: "FakeAzure") -> Any:
        return [fault_view(azure, fault) for fault in azure.faults.active]


class AddFault(Message):
    """Once, unless `times` or `seconds` is given; `times` 0 is without end."""

    kind: str
    operation: str | None = None
    resource: str = "*"
    times: int | None = None
    seconds: float | None = None
    chance: float = 1.0
    duration: float | None = None

    def run(self, azure: "FakeAzure") -> Any:
        times = self.times if self.times is not None else (1 if self.seconds is None else 0)
        fault = azure.faults.add(
            effect_of(self.kind, duration_s=self.duration),
            operation=self.operation,
            resource=self.resource,
            times=times or None,
            seconds=self.seconds,
            chance=self.chance,
        )
        return fault_view(azure, fault)


class ClearFaults(Message):
    """One fault ends, or all of them."""

    id: int | None = None

    def run(self, azure: "FakeAzure") -> Any:
        azure.faults.clear(self.id)


class ListPermissions(Message):
    """The actions that each principal may perform."""

    def run(self, azure: "FakeAzure") -> Any:
        return azure.identity.named_permissions()


class SetPermissions(Message):
    """The actions that a principal, or everybody, may perform from now on."""

    actions: tuple[str, ...]
    principal: str = "*"

    def run(self, azure: "FakeAzure") -> Any:
        found = azure.identity.find(self.principal)
        if self.principal != "*" and found is None:
            raise KeyError(f"no principal {self.principal!r}")
        if found is None:
            azure.identity.permissions.clear()
        azure.identity.set_permissions(self.actions, principal=found.object_id if found else "*")
        return azure.identity.named_permissions()


class Settings(Message):
    """What may be changed while the fake runs."""

    def run(self, azure: "FakeAzure") -> Any:
        return {"operation_duration_s": azure.operation_duration_s}


class SetSettings(Message):
    """How long a write of an attached NIC takes, in seconds."""

    operation_duration_s: float

    def run(self, azure: "FakeAzure") -> Any:
        azure.operation_duration_s = self.operation_duration_s


class ScheduleEvent(Message):
    """Azure announces a scheduled event of a VM."""

    vm: str
    kind: str = "Freeze"
    in_seconds: float = 900

    def run(self, azure: "FakeAzure") -> Any:
        return {"EventId": azure.schedule_event(self.vm, self.kind, in_seconds=self.in_seconds)}


class Calls(Message):
    """How often each operation was called."""

    def run(self, azure: "FakeAzure") -> Any:
        return dict(azure.calls)


class Writes(Message):
    """The writes of NICs from number `since` on."""

    since: int = 0

    def run(self, azure: "FakeAzure") -> Any:
        return [
            {"at": call.at, "nic": call.resource, "operation": call.operation, "status": call.status}
            for call in azure.history.writes[self.since :]
        ]


class Changes(Message):
    """What became of NICs, from number `since` on."""

    since: int = 0

    def run(self, azure: "FakeAzure") -> Any:
        return [asdict(change) for change in azure.changes[self.since :]]
