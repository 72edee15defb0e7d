"""What Azure remembers: network interfaces, virtual machines and virtual networks, as frozen values.

A NIC is three things at once: what was last asked for (`configs`, shown by the API), what the last finished operation
left (`settled`), and what works on the wire now (`effective`). `held` is what it occupies in its subnet meanwhile.
Properties that this fake knows nothing of are kept in `settings` and `IpConfig.rest` and given back as they came.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from fakeazure.effective import EffectiveAddress, EffectiveNic
from fakeazure.names import called, computer_name, leaf
from fakeazure.subnets import is_ipv6

Document = dict[str, Any]

NIC_TYPE = "Microsoft.Network/networkInterfaces"
CONFIG_TYPE = NIC_TYPE + "/ipConfigurations"


@dataclass(frozen=True, slots=True)
class IpConfig:
    """One IP configuration; `address` is "" until allocated, and CIDR text when `prefix_length` is set."""

    name: str
    subnet_id: str
    address: str
    method: str
    primary: bool
    prefix_length: int | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)
    ipv6: bool = False

    def document(self, nic_id: str, *, etag: str, state: str) -> Document:
        block = {} if self.prefix_length is None else {"privateIPAddressPrefixLength": self.prefix_length}
        return {
            "name": self.name,
            "id": f"{nic_id}/ipConfigurations/{self.name}",
            "etag": etag,
            "type": CONFIG_TYPE,
            "properties": {
                "provisioningState": state,
                "privateIPAddress": self.address,
                **block,
                "privateIPAllocationMethod": self.method,
                **self.rest,
                "subnet": {"id": self.subnet_id},
                "primary": self.primary,
                "privateIPAddressVersion": self.family,
            },
        }

    @property
    def family(self) -> str:
        """As Azure writes it."""
        return "IPv6" if self.ipv6 else "IPv4"

    @property
    def public_ip_id(self) -> str | None:
        reference = self.rest.get("publicIPAddress")
        return reference["id"] if reference else None

    @property
    def group_ids(self) -> tuple[str, ...]:
        """Its application security groups."""
        return tuple(group["id"] for group in self.rest.get("applicationSecurityGroups", ()))

    @property
    def pool_ids(self) -> tuple[str, ...]:
        return tuple(pool["id"] for pool in self.rest.get("loadBalancerBackendAddressPools", ()))


@dataclass(frozen=True, slots=True)
class Nic:
    """A network interface; `mac` is "" until a VM has it, `operation_id` "" when no operation runs on it."""

    id: str
    location: str
    etag: str
    guid: str
    state: str
    configs: tuple[IpConfig, ...]
    settled: tuple[IpConfig, ...] = ()
    effective: tuple[EffectiveAddress, ...] = ()
    held: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    mac: str = ""
    vm_id: str = ""
    is_primary: bool = True
    operation_id: str = ""

    @property
    def name(self) -> str:
        return called(self.id)

    @property
    def vm_name(self) -> str:
        return called(self.vm_id) if self.vm_id else ""

    @property
    def primary(self) -> IpConfig:
        return next(config for config in self.configs if config.primary)

    @property
    def subnet_id(self) -> str:
        return self.primary.subnet_id

    @property
    def security_group_id(self) -> str:
        """The id of its network security group, "" for none."""
        group = self.settings.get("networkSecurityGroup")
        return str(group["id"]) if group else ""

    def document(self) -> Document:
        """The whole document, as GET shows it."""
        machine: Document = {}
        if self.mac:
            machine["macAddress"] = self.mac
        if self.vm_id:
            machine |= {"primary": self.is_primary, "virtualMachine": {"id": self.vm_id}}
        return {
            "name": leaf(self.id),
            "id": self.id,
            "etag": self.etag,
            **({} if self.tags is None else {"tags": dict(self.tags)}),
            "properties": {
                "provisioningState": self.state,
                "resourceGuid": self.guid,
                "ipConfigurations": [
                    config.document(self.id, etag=self.etag, state=self.state) for config in self.configs
                ],
                **self.settings,
                **machine,
                "hostedWorkloads": [],
                "tapConfigurations": [],
                "allowPort25Out": True,
                "defaultOutboundConnectivityEnabled": False,
            },
            "type": NIC_TYPE,
            "location": self.location,
            "kind": "Regular",
        }

    def encoded(self) -> bytes:
        return msgspec.json.encode(self.document())

    def effective_nic(self) -> EffectiveNic:
        return EffectiveNic(
            nic_id=self.id,
            name=self.name,
            vm_name=self.vm_name or None,
            mac=self.mac.replace("-", ":").lower(),
            ip_forwarding=bool(self.settings.get("enableIPForwarding")),
            subnet_id=self.subnet_id,
            addresses=tuple(one for one in self.effective if not is_ipv6(one.address)),
            security_group_id=self.security_group_id or None,
            is_primary=self.is_primary,
            ipv6=tuple(one.address for one in self.effective if is_ipv6(one.address)),
        )

    def with_tags(self, tags: Mapping[str, str], etag: str) -> "Nic":
        return replace(self, tags={**(self.tags or {}), **tags}, etag=etag)


@dataclass(frozen=True, slots=True)
class VNet:
    """A virtual network; `subnet_ids` in their order, `peered_vnet_ids` its own direction of each peering."""

    id: str
    location: str
    etag: str
    guid: str
    prefixes: tuple[str, ...]
    subnet_ids: tuple[str, ...]
    peered_vnet_ids: tuple[str, ...] = ()
    ipv6_prefixes: tuple[str, ...] = ()

    @property
    def address_space(self) -> list[str]:
        """The prefixes of both families, IPv4 first."""
        return [*self.prefixes, *self.ipv6_prefixes]


@dataclass(frozen=True, slots=True)
class Vm:
    """A virtual machine; its first NIC is the primary one. `guid` is the vmId, `principal_id` its own identity.

    `fault_domain` stands for the host that it runs on.
    """

    id: str
    location: str
    guid: str
    size: str
    created: str
    nic_ids: tuple[str, ...]
    mac: str
    principal_id: str
    zone: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    fault_domain: int = 0

    @property
    def name(self) -> str:
        return called(self.id)

    @property
    def scale_set(self) -> str:
        """Of an instance of a Uniform scale set, the set's name; "" for a VM of its own."""
        parts = self.id.split("/")
        return parts[8] if parts[7].lower() == "virtualmachinescalesets" else ""

    @property
    def computer_name(self) -> str:
        """What the machine calls itself, and its node: of an instance of a Uniform scale set not its name in Azure."""
        return computer_name(self.scale_set, int(leaf(self.id))) if self.scale_set else self.name

    @property
    def nic(self) -> str:
        """The name of the primary NIC."""
        return called(self.nic_ids[0])

    def document(self, *, instance_view: bool = False) -> Document:
        interfaces = [
            {"id": nic_id, "properties": {"primary": index == 0}} for index, nic_id in enumerate(self.nic_ids)
        ]
        view: Document = {}
        if instance_view:
            view["instanceView"] = {
                "computerName": self.computer_name,
                "osName": "debian",
                "statuses": [
                    {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"},
                    {"code": "PowerState/running", "level": "Info", "displayStatus": "VM running"},
                ],
            }
        return {
            "name": self.name,
            "id": self.id,
            "type": "Microsoft.Compute/virtualMachines",
            "location": self.location,
            **({"tags": dict(self.tags)} if self.tags else {}),
            **({"zones": [self.zone]} if self.zone else {}),
            "properties": {
                "hardwareProfile": {"vmSize": self.size},
                "provisioningState": "Succeeded",
                "vmId": self.guid,
                "osProfile": {"computerName": self.computer_name, "adminUsername": "azureuser"},
                "networkProfile": {"networkInterfaces": interfaces},
                **view,
                "timeCreated": self.created,
            },
            "etag": '"1"',
        }
