"""VMs and NICs of other machines, for the controller that writes NICs for agents. It uses the agent's own adapters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from random import Random

from azure_cni.azure.arm import Arm
from azure_cni.azure.instance_document import ImdsInterface, Instance
from azure_cni.azure.nics import AnyNic, nic_at
from azure_cni.azure.vm_identity import ArmVmIdentity
from azure_cni.model.identity import IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import Adopt, AttachmentChange, ConfigName, NicID, NicView


class DelegatedAzure:
    """Implements `azure_cni.cluster.ports.Machines`. `chance` names new configurations."""

    def __init__(
        self, arm: Arm, *, chance: Random, adopt: Adopt = Adopt.PLAIN, shrink_scale_sets: bool = False
    ) -> None:
        self._arm = arm
        self._chance = chance
        self._adopt = adopt
        self._shrink_scale_sets = shrink_scale_sets

    async def identify(self, claim: IdentityClaim) -> NodeIdentity:
        """The VM with that id and GUID, and its primary NIC, or that in the pod subnet that it claims.

        CloudNotFound when there is no such pair, NicMissing when there is no such NIC.
        """
        return await ArmVmIdentity(ClaimedInstance(claim), self._arm).identify(claim.pod_subnet)

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""
        claim = IdentityClaim(identity.vm_id, identity.vm_resource_id, macs=(identity.mac,))
        return await ArmVmIdentity(ClaimedInstance(claim), self._arm).vnet(identity)

    async def read(self, nic_id: NicID, *, beside: Sequence[NicID] = ()) -> NicView:
        """One GET, and one of each further NIC of the VM. What worked before an operation began, its node remembers:
        nothing is kept here.
        """
        return await self._nic(nic_id, beside).read()

    async def write(
        self,
        observed: NicView,
        *,
        add: int,
        size: int = 1,
        remove: Collection[ConfigName],
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        """As `azure_cni.node.azure_ports.Nic.write`, of the NIC that was observed."""
        return await self._nic(observed.nic_id).write(
            observed, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6
        )

    async def set_security_groups(self, observed: NicView, groups: Sequence[str]) -> NicView:
        """As `azure_cni.node.azure_ports.Nic.set_security_groups`, of the NIC that was observed."""
        return await self._nic(observed.nic_id).set_security_groups(observed, groups)

    def _nic(self, nic_id: NicID, beside: Sequence[NicID] = ()) -> AnyNic:
        return nic_at(
            self._arm,
            nic_id,
            chance=self._chance,
            adopt=self._adopt,
            shrink_scale_sets=self._shrink_scale_sets,
            beside=beside,
        )


class ClaimedInstance:
    """Implements `azure_cni.azure.imds.Instances` for a machine elsewhere."""

    def __init__(self, claim: IdentityClaim) -> None:
        self._claim = claim

    async def instance(self) -> Instance:
        """The claim, as the metadata service over there would put it."""
        parts = self._claim.vm_resource_id.strip("/").split("/")
        scale_set = parts[7] if parts[6].lower() == "virtualmachinescalesets" else ""
        return Instance(
            vm_id=self._claim.vm_id,
            name=parts[-1],
            resource_id=self._claim.vm_resource_id,
            environment="",
            scale_set=scale_set,
            interfaces=tuple(ImdsInterface(mac, addresses=(), subnets=()) for mac in self._claim.macs),
        )
