"""VMs and their NICs in memory, as a controller reads and writes them for its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from ipaddress import IPv4Network

from azure_cni.errors import CloudError, CloudNotFound
from azure_cni.model.identity import IdentityClaim, NodeIdentity, NodeNic, VNetView
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicID, NicView
from azure_cni.model.pod_subnets import NicMissing, nic_missing
from fakes.cloud import IDENTITY
from fakes.nic import FakeNic


def identity_of(name: str) -> NodeIdentity:
    """A VM of that name with its NIC, in the VNet of all."""
    group = IDENTITY.vm_resource_id.removesuffix("/Microsoft.Compute/virtualMachines/vm1")
    return replace(
        IDENTITY,
        vm_id=f"guid-of-{name}",
        vm_resource_id=f"{group}/Microsoft.Compute/virtualMachines/{name}",
        nic_id=NicID(f"{group}/Microsoft.Network/networkInterfaces/{name}-nic"),
    )


class FakeMachines:
    """Implements `azure_cni.cluster.ports.Machines`. `fail_next` is raised by the next call, then forgotten."""

    def __init__(self, *names: str) -> None:
        self.nics = {name: FakeNic() for name in names}
        self.identities = {name: identity_of(name) for name in names}
        self.pod_nics: dict[str, NodeIdentity] = {}
        """NICs in other subnets, by the subnet: on whichever VM is asked for."""
        self.fail_next: CloudError | None = None
        self.latency_s = 0.0
        self.asked = 0
        self.busiest = 0
        """The most questions under way at one time."""
        self.under_way = 0

    async def identify(self, claim: IdentityClaim) -> NodeIdentity:
        self.asked += 1
        self.under_way += 1
        self.busiest = max(self.busiest, self.under_way)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.under_way -= 1
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
        for identity in self.identities.values():
            if (identity.vm_resource_id, identity.vm_id) == (claim.vm_resource_id, claim.vm_id):
                return self._on_pod_nic(identity, claim) if claim.pod_subnet else identity
        raise CloudNotFound(f"cannot identify this node: {claim.vm_resource_id} is another VM than {claim.vm_id}")

    def _on_pod_nic(self, primary: NodeIdentity, claim: IdentityClaim) -> NodeIdentity:
        found = self.pod_nics.get(claim.pod_subnet)
        if found is None:
            raise NicMissing(nic_missing(claim.pod_subnet, primary, {}))
        return replace(found, node_nic=NodeNic(primary.mac, primary.primary_ip))

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        return VNetView(prefixes=(IPv4Network("10.240.0.0/16"),), peered=())

    async def read(self, nic_id: NicID, *, beside: Sequence[NicID] = ()) -> NicView:
        return replace(await self._nic(nic_id).read(), nic_id=nic_id, beside=len(beside))

    async def write(
        self,
        seen: NicView,
        *,
        add: int,
        size: int = 1,
        remove: Collection[ConfigName],
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        written = await self._nic(seen.nic_id).write(seen, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6)
        return replace(written, nic_id=seen.nic_id)

    async def set_security_groups(self, seen: NicView, groups: Sequence[str]) -> NicView:
        written = await self._nic(seen.nic_id).set_security_groups(seen, groups)
        return replace(written, nic_id=seen.nic_id)

    def _nic(self, nic_id: NicID) -> FakeNic:
        return next(self.nics[name] for name, identity in self.identities.items() if identity.nic_id == nic_id)
