"""What the controller asks of Azure: how full a VNet is, and whether a NIC still holds addresses of ours."""

from __future__ import annotations

from typing import Final

from azure_cni.api.nic import OUR_PREFIX, VNetID
from azure_cni.azure import nic_document
from azure_cni.azure.arm import Arm
from azure_cni.azure.resources import Resource
from azure_cni.errors import CloudNotFound, ResourceBusy

GONE: Final = frozenset({"ResourceNotFound", "NotFound", "ResourceGroupNotFound"})
"""A 404 that says that the NIC does not exist. Others (of a subscription that this identity cannot see) do not."""


class ArmVNets:
    """Implements `azure_cni.cluster.ports.VNets`."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    async def used(self, vnet_id: VNetID) -> int:
        """The sum over its subnets; a gateway's subnet tells -1 (Azure REST specification, VirtualNetworkListUsage)."""
        usages = await self._arm.items(Resource.parse(vnet_id), "usages")
        return sum(max(0, int(usage.get("currentValue", 0))) for usage in usages)

    async def ours_on(self, nic_id: str) -> int | None:
        """How many of the NIC's ipConfigurations are ours; None when Azure has no such NIC."""
        resource = Resource.parse(nic_id)
        try:
            document = nic_document.check(await self._arm.get(resource), what=f"read {resource.label}")
        except CloudNotFound as error:
            if error.azure_code not in GONE:
                raise
            return None
        if not nic_document.is_settled(document):
            raise ResourceBusy(f"cannot say what {resource.label} holds: Azure is still working on it")
        configs = document["properties"]["ipConfigurations"]
        return sum(1 for config in configs if config["name"].startswith(OUR_PREFIX))
