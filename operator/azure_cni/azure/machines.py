"""The machines of others, for the controller that writes their NICs: the node's own adapters, asked from elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import Adopt, ConfigName, NicID, NicView
from azure_cni.azure.arm import Arm
from azure_cni.azure.claims import ClaimedInstance
from azure_cni.azure.cloud import ArmCloud
from azure_cni.azure.nic import ArmNic


class ArmMachines:
    """Implements `azure_cni.cluster.ports.Machines`. `chance` names new configurations."""

    def __init__(self, arm: Arm, *, chance: Random, adopt: Adopt = Adopt.PLAIN) -> None:
        self._arm = arm
        self._chance = chance
        self._adopt = adopt

    async def identify(self, claim: MachineClaim) -> NodeIdentity:
        """The VM with that id and GUID, and its primary NIC; CloudNotFound when there is no such pair."""
        return await ArmCloud(ClaimedInstance(claim), self._arm).identify()

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """Prefixes of the VNet and of its connected peers."""
        claim = MachineClaim(identity.vm_id, identity.vm_resource_id, macs=(identity.mac,))
        return await ArmCloud(ClaimedInstance(claim), self._arm).vnet(identity)

    async def read(self, nic_id: NicID) -> NicView:
        """One GET. What worked before an operation began, its node remembers: nothing is kept here."""
        return await self._nic(nic_id).read()

    async def write(self, seen: NicView, *, add: int, remove: Collection[ConfigName]) -> NicView:
        """As `azure_cni.node.ports.Nic.write`, of the NIC that was seen."""
        return await self._nic(seen.nic_id).write(seen, add=add, remove=remove)

    def _nic(self, nic_id: NicID) -> ArmNic:
        return ArmNic(self._arm, nic_id, chance=self._chance, adopt=self._adopt)
