"""The requests of the admin API as types: the fields of each, checked on arrival, and what it does.

`run` gives what is answered as JSON; KeyError, ValueError and ArmError are told to whoever asked.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec

from fakes.azure.adminviews import fault_view, nic_view, subnet_view, vm_view
from fakes.azure.faultkinds import effect_of

if TYPE_CHECKING:
    from fakes.azure.fake import FakeAzure


class Message(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request of the admin API: its fields, and what it does."""

    def run(self, azure: "FakeAzure") -> Any:
        raise NotImplementedError


class ListNics(Message):
    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        return [nic_view(azure, nic) for nic in azure.network.nics.values()]


class OneNic(Message):
    name: str

    def run(self, azure: "FakeAzure") -> Any:
        return azure.nic(self.name)


class DeleteNic(OneNic):
    def run(self, azure: "FakeAzure") -> Any:
        now = azure.settle()
        azure.nics.delete(azure.nic_record(self.name), now=now, duration_s=0)
        azure.settle()


class TouchNic(OneNic):
    def run(self, azure: "FakeAzure") -> Any:
        return {"etag": azure.outside.touch(self.name).etag}


class WriteNic(OneNic):
    keeps_ours: bool = True

    def run(self, azure: "FakeAzure") -> Any:
        azure.outside.write(self.name, keeps_ours=self.keeps_ours)
        return azure.nic(self.name)


class Appear(OneNic):
    count: int = 1

    def run(self, azure: "FakeAzure") -> Any:
        return {"addresses": azure.outside.appear(self.name, count=self.count)}


class Vanish(OneNic):
    addresses: tuple[str, ...]

    def run(self, azure: "FakeAzure") -> Any:
        azure.outside.vanish(self.name, *self.addresses)


class ListVms(Message):
    def run(self, azure: "FakeAzure") -> Any:
        return [vm_view(azure, vm) for vm in azure.network.vms.values()]


class AddVm(Message):
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


class DeleteVm(Message):
    name: str
    keep_nic: bool = False

    def run(self, azure: "FakeAzure") -> Any:
        azure.delete_vm(self.name, keep_nic=self.keep_nic)


class ListSubnets(Message):
    def run(self, azure: "FakeAzure") -> Any:
        azure.settle()
        return [subnet_view(azure, subnet) for subnet in azure.network.subnets.values()]


class ResizeSubnet(Message):
    prefix: str
    subnet: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        azure.resize_subnet(self.prefix, self.subnet)
        return subnet_view(azure, azure.subnet(self.subnet))


class Take(Message):
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
    count: int | None = None
    subnet: str = ""

    def run(self, azure: "FakeAzure") -> Any:
        return {"count": azure.outside.give_back(self.count, self.subnet)}


class ListFaults(Message):
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
    id: int | None = None

    def run(self, azure: "FakeAzure") -> Any:
        azure.faults.clear(self.id)


class ListPermissions(Message):
    def run(self, azure: "FakeAzure") -> Any:
        return azure.identity.named_permissions()


class SetPermissions(Message):
    actions: tuple[str, ...]
    principal: str = "*"

    def run(self, azure: "FakeAzure") -> Any:
        found = azure.identity.find(self.principal)
        if self.principal != "*" and found is None:
            raise KeyError(f"no principal {self.principal!r}")
        if found is None:
            azure.identity.permissions.clear()
        azure.identity.permit(self.actions, principal=found.object_id if found else "*")
        return azure.identity.named_permissions()


class Settings(Message):
    def run(self, azure: "FakeAzure") -> Any:
        return {"operation_duration_s": azure.operation_duration_s}


class SetSettings(Message):
    operation_duration_s: float

    def run(self, azure: "FakeAzure") -> Any:
        azure.operation_duration_s = self.operation_duration_s


class ScheduleEvent(Message):
    vm: str
    kind: str = "Freeze"
    in_seconds: float = 900

    def run(self, azure: "FakeAzure") -> Any:
        return {"EventId": azure.schedule_event(self.vm, self.kind, in_seconds=self.in_seconds)}


class Calls(Message):
    def run(self, azure: "FakeAzure") -> Any:
        return dict(azure.calls)


class Writes(Message):
    since: int = 0

    def run(self, azure: "FakeAzure") -> Any:
        return [
            {"at": call.at, "nic": call.resource, "status": call.status} for call in azure.history.writes[self.since :]
        ]


class Changes(Message):
    since: int = 0

    def run(self, azure: "FakeAzure") -> Any:
        return [asdict(change) for change in azure.changes[self.since :]]


ROUTES: dict[tuple[str, str], type[Message]] = {
    ("GET", "/nics"): ListNics,
    ("GET", "/nics/{name}"): OneNic,
    ("DELETE", "/nics/{name}"): DeleteNic,
    ("POST", "/nics/{name}/touch"): TouchNic,
    ("POST", "/nics/{name}/write"): WriteNic,
    ("POST", "/nics/{name}/appear"): Appear,
    ("POST", "/nics/{name}/vanish"): Vanish,
    ("GET", "/vms"): ListVms,
    ("POST", "/vms"): AddVm,
    ("DELETE", "/vms/{name}"): DeleteVm,
    ("GET", "/subnets"): ListSubnets,
    ("PUT", "/subnets"): ResizeSubnet,
    ("POST", "/take"): Take,
    ("POST", "/give-back"): GiveBack,
    ("GET", "/faults"): ListFaults,
    ("POST", "/faults"): AddFault,
    ("DELETE", "/faults"): ClearFaults,
    ("DELETE", "/faults/{id}"): ClearFaults,
    ("GET", "/permissions"): ListPermissions,
    ("PUT", "/permissions"): SetPermissions,
    ("GET", "/settings"): Settings,
    ("PUT", "/settings"): SetSettings,
    ("POST", "/events"): ScheduleEvent,
    ("GET", "/calls"): Calls,
    ("GET", "/writes"): Writes,
    ("GET", "/changes"): Changes,
}
