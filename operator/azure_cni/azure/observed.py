"""A node without any permission in Azure: its pool is what the metadata service shows, and nothing is ever written.

For NICs that a template prepared with all their addresses. What the metadata service does not know stays "": ids of
NIC, subnet and VNet. Prefixes of peers come from the configuration, as they cannot be found out here.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

from azure_cni.api.identity import NodeIdentity, VNetView
from azure_cni.api.nic import ConfigName, IPConfiguration, NicID, NicView, SubnetID, VNetID
from azure_cni.api.plurals import addresses
from azure_cni.azure.imds import Imds, ImdsInterface, Instance
from azure_cni.errors import REFUSALS, CloudNotFound, RequestRefused


class ObservedCloud:
    """Implements `azure_cni.node.ports.Cloud`. `mac` chooses the NIC on a VM with several, "" the only one."""

    def __init__(self, imds: Imds, *, mac: str = "") -> None:
        self._imds = imds
        self._mac = mac.lower()

    async def identify(self) -> NodeIdentity:
        """The VM and its NIC, as far as the VM itself can tell."""
        instance = await self._imds.instance()
        interface = _chosen(instance, self._mac)
        return NodeIdentity(
            vm_id=instance.vm_id,
            vm_resource_id=instance.resource_id,
            nic_id=NicID(""),
            subnet_id=SubnetID(""),
            vnet_id=VNetID(""),
            mac=interface.mac,
            primary_ip=interface.addresses[0].private,
        )

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """The NIC's own subnet: all of the VNet that can be seen from here."""
        interface = _chosen(await self._imds.instance(), identity.mac)
        return VNetView(prefixes=interface.subnets, peered=())


class ObservedNic:
    """Implements `azure_cni.node.ports.Nic` for the interface with that MAC."""

    conclusive = REFUSALS

    def __init__(self, imds: Imds, *, mac: str) -> None:
        self._imds = imds
        self._mac = mac

    async def read(self) -> NicView:
        """What the metadata service shows: it shows only what works, so all is ready and settled."""
        interface = _chosen(await self._imds.instance(), self._mac)
        configs = tuple(
            IPConfiguration(
                name=ConfigName(f"imds-{address.private}"),
                address=address.private,
                primary=index == 0,
                ready=True,
                public=address.public,
            )
            for index, address in enumerate(interface.addresses)
        )
        shown = ",".join(config.name for config in configs)
        return NicView(NicID(""), f"imds-{sha256(shown.encode()).hexdigest()[:16]}", settled=True, configs=configs)

    async def write(self, seen: NicView, *, add: int = 0, remove: Collection[ConfigName] = ()) -> NicView:
        """Refused: this node only observes."""
        raise RequestRefused(
            f"cannot add {addresses(add)} to the {len(seen.configs)} of NIC {self._mac}, nor take {len(remove)} away: "
            "this node only observes it (azure.nic is observe); change it where it is defined"
        )


def _chosen(instance: Instance, mac: str) -> ImdsInterface:
    usable = [interface for interface in instance.interfaces if interface.addresses]
    found = [interface for interface in usable if mac in {"", interface.mac}]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(interface.mac for interface in usable) or "none"
    wanted = f"the NIC {mac}" if mac else "this node's NIC"
    raise CloudNotFound(
        f"cannot find {wanted}: the metadata service of {instance.name} shows the MACs {shown}"
        + ("" if mac or not found else "; azure.nic: observe needs a VM with one NIC, use manage")
    )
