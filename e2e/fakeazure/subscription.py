"""A subscription and the conveniences by which a test fills it and looks at it.

All names of resources are taken to be unique in it, so that a test needs no id.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeVar

from fakeazure.changelog import Change, History
from fakeazure.clock import Clock, SystemClock
from fakeazure.identity import Identity, Principal
from fakeazure.ipv6 import IPv6Space
from fakeazure.names import Names, leaf, parent
from fakeazure.network import Network
from fakeazure.nics import Nics
from fakeazure.operations import Operations
from fakeazure.records import NIC_TYPE, Document, Nic, Vm, VNet
from fakeazure.subnets import Subnet

SUBSCRIPTION = "00000000-0000-0000-0000-00000000b0c5"
TENANT = "00000000-0000-0000-0000-0000000000a0"

Named = TypeVar("Named", Nic, Vm)


class Subscription:
    """Groups, networks, machines, identities, and the operations on them."""

    def __init__(
        self,
        clock: Clock | None,
        *,
        seed: int,
        subscription_id: str,
        resource_group: str,
        location: str,
        tenant_id: str,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.subscription_id = subscription_id
        self.resource_group = resource_group
        self.location = location
        self.names = Names(seed)
        self.history = History()
        self.network = Network(self.history, groups={resource_group.lower(): resource_group})
        self.operations = Operations(self.names)
        self.nics = Nics(self.network, self.operations, self.names)
        self.identity = Identity(tenant_id, key=self.names.guid().encode())

    def now(self) -> float:
        return self.clock.now()

    def settle(self) -> float:
        """End the operations that are due and give the instant; everything that looks at state calls this first."""
        now = self.clock.now()
        self.operations.settle(now)
        return now

    def id_of(self, group: str, kind: str, name: str) -> str:
        return f"/subscriptions/{self.subscription_id}/resourceGroups/{group}/providers/{kind}/{name}"

    # -- what a test puts there

    def add_vnet(
        self,
        name: str = "vnet",
        prefix: str | Sequence[str] = "10.240.0.0/16",
        *,
        subnets: Mapping[str, str] | None = None,
        default_outbound: bool = True,
    ) -> VNet:
        """A VNet with subnets by name and prefix; without `subnets` one "nodes", 10.240.0.0/22."""
        vnet_id = self.id_of(self.resource_group, "Microsoft.Network/virtualNetworks", name)
        etag = self.names.etag()
        made = [
            Subnet(f"{vnet_id}/subnets/{key}", IPv4Network(value), etag, self.names.guid(), default_outbound)
            for key, value in (subnets or {"nodes": "10.240.0.0/22"}).items()
        ]
        self.network.subnets |= {subnet.id.lower(): subnet for subnet in made}
        prefixes = (prefix,) if isinstance(prefix, str) else tuple(prefix)
        vnet = VNet(vnet_id, self.location, etag, self.names.guid(), prefixes, tuple(subnet.id for subnet in made))
        self.network.vnets[vnet_id.lower()] = vnet
        self.network.notify()
        return vnet

    def add_ipv6(self, prefix: str = "fd00:240::/64", subnet: str = "") -> None:
        """Give a subnet, the first one by default, an IPv6 prefix; its VNet too, where it has none around that."""
        wanted, target = IPv6Space(IPv6Network(prefix)), self.subnet(subnet)
        vnet = self.network.vnet_of(target.id)
        if not any(wanted.prefix.subnet_of(IPv6Network(space)) for space in vnet.ipv6_prefixes):
            vnet = replace(vnet, ipv6_prefixes=(*vnet.ipv6_prefixes, prefix))
            self.network.vnets[vnet.id.lower()] = vnet
        target.ipv6 = wanted
        self.network.notify()

    def peer(self, one: str, other: str) -> None:
        """Peer two VNets by name, both ways."""
        ids = [self.id_of(self.resource_group, "Microsoft.Network/virtualNetworks", name) for name in (one, other)]
        for here, there in (ids, reversed(ids)):
            self.network.peer(here, there)
        self.network.notify()

    def add_public_ip(self, name: str, address: str) -> str:
        """A public IP address for a NIC to refer to; gives its id."""
        properties = {"ipAddress": address, "publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"}
        return self.add_other("publicIPAddresses", name, properties)

    def add_other(self, kind: str, name: str, properties: Mapping[str, Any] | None = None) -> str:
        """Any other resource of Microsoft.Network (networkSecurityGroups, loadBalancers, ...); gives its id."""
        other_id = self.id_of(self.resource_group, f"Microsoft.Network/{kind}", name)
        self.network.others[other_id.lower()] = {
            "name": name,
            "id": other_id,
            "etag": self.names.etag(),
            "type": f"Microsoft.Network/{kind}",
            "location": self.location,
            "properties": {"provisioningState": "Succeeded", **(properties or {})},
        }
        return other_id

    def add_identity(self, name: str, *, client_id: str = "", subject: str = "") -> Principal:
        """A user-assigned identity, which any VM may use; `subject` of its federated credential, "" for any."""
        made = Principal(self.names.guid(), client_id or self.names.guid(), name, subject, everywhere=True)
        return self.identity.add(made)

    def add_vm(
        self,
        name: str,
        *,
        subnet: str = "",
        secondaries: int = 0,
        tags: Mapping[str, str] | None = None,
        address: str = "",
        public_ip: str = "",
        size: str = "Standard_D2s_v3",
        zone: str = "",
        nics: int = 1,
        ipv6: bool = False,
    ) -> Vm:
        """A running VM with NIC `NAME-nic` (further ones `NAME-nic2`...), primary configuration `ipconfig1`.

        `subnet` by name, the first one by default; `address` fixes the primary address; `public_ip` is an address that
        the primary configuration gets; `secondaries` are dynamic and belong to nobody; with `ipv6` a configuration of
        that name has the VM's own address of IPv6.
        """
        now = self.settle()
        if name.lower() in {vm.name.lower() for vm in self.network.vms.values()}:
            raise ValueError(f"cannot add VM {name}: there is one of that name")
        vm_id = self.id_of(self.resource_group, "Microsoft.Compute/virtualMachines", name)
        bodies = {f"{name}-nic": self._nic_body(f"{name}-nic", subnet, secondaries, address, public_ip)}
        if ipv6:
            own = {"subnet": {"id": self.subnet(subnet).id}, "privateIPAddressVersion": "IPv6"}
            bodies[f"{name}-nic"]["properties"]["ipConfigurations"].append({"name": "ipv6", "properties": own})
        bodies |= {f"{name}-nic{i}": self._nic_body(f"{name}-nic{i}", subnet, 0, "", "") for i in range(2, nics + 1)}
        made = [self._attached_nic(nic, body, vm_id, first=nic == f"{name}-nic") for nic, body in bodies.items()]
        principal = self.identity.add(Principal(self.names.guid(), self.names.guid(), name))
        vm = Vm(
            id=vm_id,
            location=self.location,
            guid=self.names.guid(),
            size=size,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            nic_ids=tuple(nic.id for nic in made),
            mac=made[0].mac,
            principal_id=principal.object_id,
            zone=zone,
            tags=dict(tags or {}),
        )
        self.network.vms[vm_id.lower()] = vm
        return vm

    def add_nic(self, vm_name: str, *, subnet: str = "") -> Nic:
        """One NIC more for a VM, `NAME-nic2`..., in a subnet by name. Azure wants the VM deallocated for that."""
        vm = self.vm(vm_name)
        taken = {leaf(nic_id) for nic_id in vm.nic_ids}
        name = next(name for number in range(2, 10) if (name := f"{vm.name}-nic{number}") not in taken)
        nic = self._attached_nic(name, self._nic_body(name, subnet, 0, "", ""), vm.id, first=False)
        self.network.vms[vm.id.lower()] = replace(vm, nic_ids=(*vm.nic_ids, nic.id))
        self.network.notify()
        return nic

    def remove_nic(self, vm_name: str, nic_name: str) -> None:
        """Take a further NIC from its VM and delete it; raises ValueError for the primary one."""
        now, vm, nic = self.settle(), self.vm(vm_name), self.nic_record(nic_name)
        if nic.id not in vm.nic_ids[1:]:
            raise ValueError(f"cannot take {nic_name} from {vm_name}: it is not one of its further NICs")
        self.network.vms[vm.id.lower()] = replace(vm, nic_ids=tuple(one for one in vm.nic_ids if one != nic.id))
        self.network.drop_nic(self.nics.detach(nic, now=now), at=now, cause="taken from its VM")

    def change_vm(self, name: str, *, size: str = "", fault_domain: int | None = None) -> Vm:
        """A stopped VM comes back with another size, or on another host; GUID, NICs, MACs and addresses stay."""
        vm = self.vm(name)
        domain = vm.fault_domain if fault_domain is None else fault_domain
        self.network.vms[vm.id.lower()] = changed = replace(vm, size=size or vm.size, fault_domain=domain)
        return changed

    def delete_vm(self, name: str, *, keep_nic: bool = False) -> None:
        """The VM goes, at once; its NICs go with it or stay with their addresses."""
        now = self.settle()
        vm = self.vm(name)
        del self.network.vms[vm.id.lower()]
        self.identity.principals.pop(vm.principal_id, None)
        for nic_id in vm.nic_ids:
            nic = self.nics.detach(self.network.nics[nic_id.lower()], now=now)
            if not keep_nic:
                self.network.drop_nic(nic, at=now, cause="deleted with its VM")

    def resize_subnet(self, prefix: str, subnet: str = "") -> None:
        """Change a subnet's prefix; raises ValueError when an address in use would fall outside."""
        self.settle()
        self.subnet(subnet).resize(IPv4Network(prefix))
        self.network.notify()

    # -- what a test looks at

    @property
    def changes(self) -> list[Change]:
        """Every change of a NIC's addresses so far."""
        self.settle()
        return self.history.changes

    @property
    def calls(self) -> Mapping[str, int]:
        """How many requests of each operation there were."""
        return self.history.counts

    def nic(self, name: str) -> Document:
        """The NIC's document as the API shows it; raises KeyError."""
        self.settle()
        return self.nic_record(name).document()

    def nic_record(self, name: str) -> Nic:
        return _named(self.network.nics.values(), name, "NIC")

    def vm(self, name: str) -> Vm:
        """By its name, or that of its computer (an instance of a Uniform scale set has two); raises KeyError."""
        computers = {vm.computer_name.lower(): vm.name for vm in self.network.vms.values() if vm.scale_set}
        return _named(self.network.vms.values(), computers.get(name.lower(), name), "VM")

    def subnet(self, name: str = "") -> Subnet:
        """A subnet by name, "VNET/SUBNET" or id; the first one for ""; raises KeyError."""
        for subnet in self.network.subnets.values():
            path = f"{leaf(parent(subnet.id))}/{leaf(subnet.id)}"
            if name in {"", path, leaf(subnet.id), subnet.id}:
                return subnet
        raise KeyError(f"no subnet {name!r} among {sorted(self.network.subnets)}")

    def _attached_nic(self, name: str, body: Document, vm_id: str, *, first: bool) -> Nic:
        now, nic_id = self.settle(), self.id_of(self.resource_group, NIC_TYPE, name)
        nic, _ = self.nics.write(self.nics.read(nic_id, body), now=now, duration_s=0)
        return self.nics.attach(nic, vm_id, primary=first, now=now)

    def _nic_body(self, name: str, subnet: str, secondaries: int, address: str, public_ip: str) -> Document:
        reference = {"subnet": {"id": self.subnet(subnet).id}}
        primary: Document = {"primary": True, **reference}
        if address:
            primary |= {"privateIPAllocationMethod": "Static", "privateIPAddress": address}
        if public_ip:
            primary["publicIPAddress"] = {"id": self.add_public_ip(f"{name}-ip", public_ip)}
        configs = [{"name": "ipconfig1", "properties": primary}]
        configs += [{"name": f"secondary-{index + 1}", "properties": {**reference}} for index in range(secondaries)]
        return {
            "location": self.location,
            "properties": {"enableAcceleratedNetworking": True, "ipConfigurations": configs},
        }


def _named(items: Iterable[Named], name: str, kind: str) -> Named:
    known = {item.name.lower(): item for item in items}
    if name.lower() not in known:
        raise KeyError(f"no {kind} {name!r} among {sorted(known)}")
    return known[name.lower()]
