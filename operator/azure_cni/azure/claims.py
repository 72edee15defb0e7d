"""What a machine says of itself to whoever may ask the resource manager for it. Knows no SDK: agents load it."""

from __future__ import annotations

from azure_cni.api.identity import MachineClaim
from azure_cni.azure.imds import Imds, ImdsInterface, Instance


class ImdsClaims:
    """Implements `azure_cni.node.ports.Claims`: the metadata service needs no permission."""

    def __init__(self, imds: Imds) -> None:
        self._imds = imds

    async def claim(self) -> MachineClaim:
        """Who this machine says it is. CloudError when the metadata service does not answer."""
        instance = await self._imds.instance()
        macs = tuple(interface.mac for interface in instance.interfaces)
        return MachineClaim(vm_id=instance.vm_id, vm_resource_id=instance.resource_id, macs=macs)


class ClaimedInstance:
    """Implements `azure_cni.azure.imds.Instances` for a machine elsewhere."""

    def __init__(self, claim: MachineClaim) -> None:
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
