"""The controller's reads from Azure: how full a VNet is, and whether a NIC still holds addresses for pods."""

from __future__ import annotations

import math
from random import SystemRandom
from typing import Final

from azure_cni.azure import documents, nic_document
from azure_cni.azure.arm import Arm
from azure_cni.azure.nic_document import NicDocument
from azure_cni.azure.nics import nic_at
from azure_cni.azure.resources import Resource
from azure_cni.errors import CloudNotFound, CloudUnreachable, ResourceBusy
from azure_cni.model.nic import MOST_USED, Adopt, NicID, SubnetID, SubnetUsage, VNetID
from azure_cni.model.text import legible

GONE: Final = frozenset({"ResourceNotFound", "NotFound", "ResourceGroupNotFound", "InvalidParameter"})
"""What says that the NIC does not exist, the last of these of an instance of a scale set. Other 404s (of a subscription
that this identity cannot see) do not."""


class ArmVNets:
    """Implements `azure_cni.cluster.ports.VNets`."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    async def used(self, vnet_id: VNetID) -> int:
        """The sum over its subnets. CloudError."""
        return sum(usage.used for usage in await self.usages(vnet_id))

    async def usages(self, vnet_id: VNetID) -> tuple[SubnetUsage, ...]:
        """Its subnets'; a gateway's subnet shows -1 (Azure REST specification, VirtualNetworkListUsage).

        CloudUnreachable when a subnet shows no number: its usage is then unknown, not 0.
        """
        resource = Resource.parse(vnet_id)
        usages = await self._arm.items(resource, "usages")
        return tuple(_usage(usage, what=f"read usages of {resource.label}") for usage in usages)

    async def ours_on(self, nic_id: str) -> int | None:
        """How many of the NIC's ipConfigurations are ours, with what only the model of an instance has; None when Azure
        has no such NIC.
        """
        nic = nic_at(self._arm, NicID(nic_id), chance=SystemRandom(), adopt=Adopt.PLAIN, shrink_scale_sets=False)
        try:
            view = await nic.read()
        except CloudNotFound as error:
            if error.azure_code not in GONE:
                raise
            return None
        if not view.settled:
            raise ResourceBusy(f"cannot say what {legible(view.nic_id)} holds: Azure is still working on it")
        return sum(config.ours for config in view.configs)

    async def vm_of(self, nic_id: str) -> str:
        """The VM that the NIC is on, whatever works on it; "" when it is on none, or there is no such NIC."""
        nic = await self._nic(nic_id)
        return "" if nic is None else nic.vm_id

    async def _nic(self, nic_id: str) -> NicDocument | None:
        resource = Resource.parse(nic_id)
        try:
            return nic_document.check(await self._arm.get(resource), what=f"read {resource.label}")
        except CloudNotFound as error:
            if error.azure_code not in GONE:
                raise
            return None


def _usage(document: object, *, what: str) -> SubnetUsage:
    usage = documents.decoded(document, documents.Usage, what=what)
    if usage.current_value is None or not math.isfinite(usage.current_value):
        raise CloudUnreachable(f"cannot {what}: Azure shows no number for {legible(usage.id or 'a subnet')}")
    limit = usage.limit if usage.limit is not None and math.isfinite(usage.limit) else 0
    return SubnetUsage(SubnetID(usage.id or ""), used=_count(usage.current_value), limit=_count(limit))


def _count(shown: float) -> int:
    return int(min(max(0.0, shown), MOST_USED))
