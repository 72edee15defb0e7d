"""Scale sets in Uniform mode: their instances, and the model of each, which is not its NIC.

An instance's network is written through the compute provider: the model says which ipConfigurations there are, the NIC
shows what became of it. The two part when an operation ends badly (the model keeps what was asked for: cilium pull
43598), when a removal does not reach the NIC (cilium issue 46073), and they come back together with the next write.
A NIC can be read and not written, under the instance's ID; all addresses are Dynamic.

Sources: exchanges recorded by kubernetes-sigs/cloud-provider-azure (an instance's document, its etag `"1"` and the 412
of another, a PUT without a network profile, after which nothing had changed); Azure documentation, "Networking for
Azure virtual machine scale sets". Chosen where nothing is known: the etag counts the writes that have a network
profile; of an instance that is gone the NIC is answered with 404 where the instance is with 400; reimaging and
upgrading an instance both put its model back to that of the set. A write changes one NIC. Left out: address blocks and
public addresses of instances.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from fakeazure import errors
from fakeazure.identity import Principal
from fakeazure.names import called
from fakeazure.records import Document, IpConfig, Nic, Vm

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

SETS: Final = "Microsoft.Compute/virtualMachineScaleSets"
IMAGE: Final = (
    "/subscriptions/109a5e88-712a-48ae-9078-9ca8b3c81345/resourceGroups/images/providers/Microsoft.Compute/galleries/"
    "gallery/images/node/versions/1.0.0"
)
"""Of a gallery in another tenant, as the images of AKS are."""
MEMBERS: Final = frozenset(
    {
        "subnet", "primary", "privateIPAddressVersion", "privateIPAddressPrefixLength", "applicationSecurityGroups",
        "applicationGatewayBackendAddressPools", "loadBalancerBackendAddressPools", "loadBalancerInboundNatPools",
        "publicIPAddressConfiguration",
    }
)  # fmt: skip
"""Of an ipConfiguration in a model: no address is chosen there, nor whether it is Dynamic."""


@dataclass(frozen=True, slots=True)
class Instance:
    """`configs` is the network of its model, of NICs by name; `own`: its model was changed apart from the set's."""

    vm_id: str
    etag: int
    configs: Mapping[str, tuple[IpConfig, ...]]
    latest: bool = True
    own: bool = False


@dataclass(slots=True)
class UniformSets:
    """All sets and instances, by IDs in lower case."""

    azure: "FakeAzure"
    instances: dict[str, Instance] = field(default_factory=dict)
    models: dict[str, Mapping[str, tuple[IpConfig, ...]]] = field(default_factory=dict)
    """Of the sets: the network that a new instance has."""

    def add(
        self, name: str, *, instances: int = 1, subnet: str = "", secondaries: int = 0, group: str = "", nic: str = ""
    ) -> list[Vm]:
        """A set with running instances NAME_0, NAME_1...; their NICs are NAME_0/NAME-nic... in a subnet by name.

        `secondaries` are in the set's own model; `group` and `nic` name another resource group and NIC.
        """
        azure = self.azure
        set_id = azure.id_of(group or azure.resource_group, SETS, name)
        azure.scale_sets[set_id.lower()] = "Uniform"
        subnet_id = azure.subnet(subnet).id
        names = ["ipconfig1", *(f"secondary-{index + 1}" for index in range(secondaries))]
        model = tuple(IpConfig(one, subnet_id, "", "Dynamic", primary=one == names[0]) for one in names)
        self.models[set_id.lower()] = {nic or f"{name}-nic": model}
        return [self.start(name, number, group=group) for number in range(instances)]

    def start(self, set_name: str, number: int, *, group: str = "") -> Vm:
        """One instance more of a set that was added, with the NICs of the set's model; raises ValueError when there is
        one of that number. Azure counts upwards itself.
        """
        azure, now = self.azure, self.azure.settle()
        vm_id = f"{azure.id_of(group or azure.resource_group, SETS, set_name)}/virtualMachines/{number}"
        if vm_id.lower() in self.instances:
            raise ValueError(f"cannot start instance {number} of scale set {set_name}: there is one of that number")
        made = []
        for index, (name, configs) in enumerate(self._set_model(vm_id).items()):
            nic_id = f"{vm_id}/networkInterfaces/{name}"
            body = {"location": azure.location, "properties": nic_properties({}, configs)}
            nic, _ = azure.nics.write(azure.nics.read(nic_id, body), now=now, duration_s=0)
            made.append(azure.nics.attach(nic, vm_id, primary=index == 0, now=now))
        principal = azure.identity.add(Principal(azure.names.guid(), azure.names.guid(), called(vm_id)))
        vm = Vm(
            id=vm_id,
            location=azure.location,
            guid=azure.names.guid(),
            size="Standard_D2s_v3",
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            nic_ids=tuple(nic.id for nic in made),
            mac=made[0].mac,
            principal_id=principal.object_id,
        )
        azure.network.vms[vm_id.lower()] = vm
        self.instances[vm_id.lower()] = Instance(vm_id, 1, self._set_model(vm_id))
        return vm

    def of(self, vm_name: str) -> Instance:
        """An instance by its name, SET_NUMBER, or its computer's; raises KeyError."""
        vm = self.azure.vm(vm_name)
        if vm.id.lower() not in self.instances:
            raise KeyError(f"VM {vm_name} is no instance of a Uniform scale set")
        return self.instances[vm.id.lower()]

    def touch(self, vm_name: str) -> None:
        """Another tool writes the instance as it is."""
        instance = self.of(vm_name)
        self.instances[instance.vm_id.lower()] = replace(instance, etag=instance.etag + 1)

    def change_set(self, set_name: str) -> None:
        """The set has a newer model: none of its instances has that, and none gets it before it is upgraded."""
        for key, instance in self.instances.items():
            if f"/{SETS}/{set_name}/virtualMachines/".lower() in key:
                self.instances[key] = replace(instance, latest=False)

    def reset(self, vm_name: str) -> None:
        """What reimaging an instance does to its network, and upgrading it: it is the set's again, at once."""
        azure, now = self.azure, self.azure.settle()
        instance = self.of(vm_name)
        model = self._set_model(instance.vm_id)
        for nic_id in azure.vm(vm_name).nic_ids:
            nic = azure.network.nics[nic_id.lower()]
            kept = {config.name for config in model[nic_id.rpartition("/")[2]]}
            left = tuple(config for config in nic.settled if config.name in kept)
            azure.nics.change_behind(nic, left, now=now, cause="the instance was reimaged")
        self.instances[instance.vm_id.lower()] = Instance(instance.vm_id, instance.etag + 1, model)

    def vanish(self, vm_name: str) -> None:
        """An instance that was one too many goes, with its NIC, as one of an overprovisioned set does."""
        instance = self.of(vm_name)
        self.azure.delete_vm(vm_name)
        del self.instances[instance.vm_id.lower()]

    def accept(self, instance: Instance, nic: Nic, configs: Sequence[IpConfig]) -> None:
        """The model of an instance becomes this, on one of its NICs."""
        model = {**instance.configs, nic.id.rpartition("/")[2]: tuple(replace(one, address="") for one in configs)}
        changed = replace(instance, etag=instance.etag + 1, configs=model, own=True)
        self.instances[instance.vm_id.lower()] = changed

    def document(self, instance: Instance) -> Document:
        """The whole of an instance, as GET shows it."""
        azure = self.azure
        vm = azure.network.vms[instance.vm_id.lower()]
        nics = [azure.network.nics[nic_id.lower()] for nic_id in vm.nic_ids]
        states = {nic.state for nic in nics}
        return {
            "name": vm.name,
            "id": vm.id,
            "type": f"{SETS}/virtualMachines",
            "location": vm.location,
            "instanceId": vm.id.rpartition("/")[2],
            "sku": {"name": vm.size, "tier": "Standard"},
            "properties": {
                "latestModelApplied": instance.latest,
                "modelDefinitionApplied": "VirtualMachine" if instance.own else "VirtualMachineScaleSet",
                "networkProfileConfiguration": {"networkInterfaceConfigurations": _models(instance, nics)},
                "provisioningState": next(iter(sorted(states - {"Succeeded"}, reverse=True)), "Succeeded"),
                "hardwareProfile": {"vmSize": vm.size},
                "resilientVMDeletionStatus": "Disabled",
                "vmId": vm.guid,
                "storageProfile": {"imageReference": {"id": IMAGE}, "dataDisks": []},
                "osProfile": {"computerName": vm.computer_name, "adminUsername": "azureuser"},
                "networkProfile": {"networkInterfaces": [{"id": nic.id} for nic in nics]},
                "timeCreated": vm.created,
            },
            "etag": f'"{instance.etag}"',
        }

    def _set_model(self, vm_id: str) -> Mapping[str, tuple[IpConfig, ...]]:
        return self.models[vm_id.lower().rpartition("/virtualmachines/")[0]]


def nic_document(nic: Nic) -> Document:
    """A NIC as it is read under its instance: it is no resource of its own, so it has no type and no place."""
    return {key: value for key, value in nic.document().items() if key not in {"type", "location", "kind"}}


def nic_properties(settings: Mapping[str, Any], configs: Sequence[IpConfig]) -> Document:
    """What a write of the NIC itself would have in it."""
    shown = [{"name": config.name, "properties": _of_model(config, alone=False)} for config in configs]
    return {**settings, "ipConfigurations": shown}


def read_network(body: Document, nics: Sequence[Nic]) -> tuple[Nic, list[Document]] | None:
    """The NIC that a body changes, and the ipConfigurations that it asks for; None where it has no network profile."""
    profile = (body.get("properties") or {}).get("networkProfileConfiguration")
    if profile is None:
        return None
    asked = {one.get("name"): one for one in profile.get("networkInterfaceConfigurations") or ()}
    named = {nic.id.rpartition("/")[2]: nic for nic in nics}
    if asked.keys() != named.keys():
        raise errors.invalid_parameter(f"the NICs of an instance cannot change: {sorted(named)}", "networkProfile")
    changed = next((name for name in named if _names(asked[name]) != _names_of(named[name])), next(iter(named)))
    configs = (asked[changed].get("properties") or {}).get("ipConfigurations") or []
    for config in configs:
        for member in (config.get("properties") or {}).keys() - MEMBERS:
            raise errors.unknown_member(member, kind="VirtualMachineScaleSetIPConfigurationProperties")
    return named[changed], configs


def _names(asked: Document) -> set[str]:
    return {str(one.get("name")) for one in (asked.get("properties") or {}).get("ipConfigurations") or ()}


def _names_of(nic: Nic) -> set[str]:
    return {config.name for config in nic.configs}


def _models(instance: Instance, nics: Sequence[Nic]) -> list[Document]:
    return [
        {
            "name": nic.id.rpartition("/")[2],
            "properties": {
                "primary": nic.is_primary,
                "enableAcceleratedNetworking": nic.settings["enableAcceleratedNetworking"],
                "disableTcpStateTracking": False,
                "dnsSettings": {"dnsServers": []},
                "enableIPForwarding": nic.settings["enableIPForwarding"],
                "ipConfigurations": [
                    {"name": config.name, "properties": _of_model(config, alone=len(configs) == 1)}
                    for config in configs
                ],
            },
        }
        for nic in nics
        for configs in [instance.configs[nic.id.rpartition("/")[2]]]
    ]


def _of_model(config: IpConfig, *, alone: bool) -> Document:
    """A sole configuration does not say that it is the primary one."""
    flag = {} if alone else {"primary": config.primary}
    return {**flag, "subnet": {"id": config.subnet_id}, "privateIPAddressVersion": config.family, **config.rest}
