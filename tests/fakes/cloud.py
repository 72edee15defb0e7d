"""The `Cloud` port in memory: which VM, NIC and VNet this node is given."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from azure_cni.errors import CloudError, CloudUnreachable
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity, NodeNic, VNetView, is_same
from azure_cni.model.nic import SubnetID, VNetID
from azure_cni.model.pod_subnets import NicMissing, nic_missing
from fakes.nic import NIC_ID

VNET_ID = VNetID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/vnet")

IDENTITY = NodeIdentity(
    vm_id="5c08b38e-4d57-4c23-ac45-aca61037f084",
    vm_resource_id="/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1",
    nic_id=NIC_ID,
    subnet_id=SubnetID(f"{VNET_ID}/subnets/nodes"),
    vnet_id=VNET_ID,
    mac="00:0d:3a:1b:c7:21",
    primary_ip=IPv4Address("10.240.0.4"),
)


class FakeCloud:
    """Implements `azure_cni.node.azure_ports.Cloud`. `fail_next` is raised by the next call, then forgotten."""

    def __init__(
        self,
        identity: NodeIdentity = IDENTITY,
        *,
        prefixes: tuple[str, ...] = ("10.240.0.0/16",),
        peered: tuple[str, ...] = ("10.241.0.0/16",),
        fail_next: CloudError | None = None,
    ) -> None:
        self.identity = identity
        self.pod_nics: dict[str, NodeIdentity] = {}
        """The VM's NICs in other subnets, by the subnet."""
        self.lists_nics = True
        """Says in which subnets the VM has NICs: the controller does not, on behalf of a node."""
        self.prefixes = prefixes
        self.peered = peered
        self.fail_next = fail_next
        self.identified = 0
        """How often somebody asked who the node is."""
        self.silent = False
        """Nothing answers until this is False again."""

    async def identify(self, pod_subnet: SubnetID = PRIMARY_NIC) -> NodeIdentity:
        self.identified += 1
        self._fail()
        if not pod_subnet or is_same(pod_subnet, self.identity.subnet_id):
            return self.identity
        found = next((one for subnet, one in self.pod_nics.items() if is_same(subnet, pod_subnet)), None)
        if found is None:
            others = {str(one.nic_id): subnet for subnet, one in self.pod_nics.items()}
            raise NicMissing(nic_missing(pod_subnet, self.identity, others))
        return replace(found, node_nic=NodeNic(self.identity.mac, self.identity.primary_ip))

    async def other_subnets(self) -> tuple[SubnetID, ...] | None:
        self._fail()
        return tuple(map(SubnetID, self.pod_nics)) if self.lists_nics else None

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        self._fail()
        return VNetView(
            prefixes=tuple(IPv4Network(prefix) for prefix in self.prefixes),
            peered=tuple(IPv4Network(prefix) for prefix in self.peered),
        )

    def _fail(self) -> None:
        if self.silent:
            raise CloudUnreachable("cannot ask Azure: no answer")
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
