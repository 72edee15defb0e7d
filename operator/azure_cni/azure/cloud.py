"""Who this node is: the metadata service names the VM, the resource manager its NICs, and the MAC the right one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from azure_cni.api.identity import NodeIdentity, VNetView
from azure_cni.api.nic import NicID, SubnetID, VNetID
from azure_cni.azure.arm import Arm
from azure_cni.azure.imds import Instance, Instances, mac_text
from azure_cni.azure.resources import Resource
from azure_cni.errors import CloudNotFound, CloudUnreachable, RequestRefused

log = logging.getLogger(__name__)

Document = Mapping[str, Any]


class ArmCloud:
    """Implements `azure_cni.node.ports.Cloud`."""

    def __init__(self, imds: Instances, arm: Arm) -> None:
        self._imds = imds
        self._arm = arm

    async def identify(self) -> NodeIdentity:
        """Ask the metadata service, then the resource manager about this VM and its NICs."""
        instance = await self._imds.instance()
        _refuse_uniform(instance)
        vm = await self._arm.get(Resource.parse(instance.resource_id))
        vm_guid = str(vm["properties"].get("vmId", "")).lower()
        if vm_guid != instance.vm_id:
            raise CloudNotFound(
                f"cannot identify this node: {instance.resource_id} is VM {vm_guid or '?'} in Azure, and this one is "
                f"{instance.vm_id}: was it made anew under the same name?"
            )
        nic = await self._primary_nic(vm, instance)
        return _identity(instance, nic)

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """The VNet's prefixes, and those of its connected peers, as they are now (not as they were when peered)."""
        document = await self._arm.get(Resource.parse(identity.vnet_id))
        properties = document["properties"]
        peered: list[IPv4Network] = []
        for peering in properties.get("virtualNetworkPeerings", ()):
            facts = peering.get("properties", {})
            if facts.get("peeringState") == "Connected":
                peered += _prefixes(facts.get("remoteVirtualNetworkAddressSpace"))
                peered += _prefixes(facts.get("remoteAddressSpace"))
        return VNetView(
            prefixes=_distinct(_prefixes(properties.get("addressSpace"))),
            peered=_distinct(peered),
        )

    async def _primary_nic(self, vm: Document, instance: Instance) -> Document:
        """The VM's primary NIC, if its MAC is one that this VM has."""
        attached = vm["properties"].get("networkProfile", {}).get("networkInterfaces", [])
        flagged = [entry for entry in attached if entry.get("properties", {}).get("primary")]
        macs = {interface.mac for interface in instance.interfaces}
        seen = {}
        for entry in flagged or attached:
            nic = await self._arm.get(Resource.parse(entry["id"]))
            mac = mac_text(nic["properties"].get("macAddress", ""))
            is_primary = bool(flagged) or len(attached) == 1 or bool(nic["properties"].get("primary"))
            if is_primary and mac in macs:
                return nic
            seen[nic["name"]] = mac or "none yet"
        raise CloudNotFound(
            f"cannot identify this node's NIC: VM {instance.name} has {seen or 'no primary NIC'} in Azure, and the "
            f"metadata service knows the MACs {', '.join(sorted(macs)) or 'none'}: is a NIC being attached or replaced?"
        )


def _refuse_uniform(instance: Instance) -> None:
    if "/virtualmachinescalesets/" in instance.resource_id.lower():
        raise RequestRefused(
            f"cannot identify this node: not supported yet: {instance.name} is an instance of the Uniform scale set "
            f"{instance.scale_set!r}, whose NICs change only with the set; use plain VMs or a Flexible scale set"
        )


def _identity(instance: Instance, nic: Document) -> NodeIdentity:
    configs = nic["properties"].get("ipConfigurations", [])
    primary = next((config for config in configs if config["properties"].get("primary") or len(configs) == 1), None)
    if primary is None:
        raise CloudUnreachable(f"cannot identify this node: NIC {nic['name']} shows no primary ipConfiguration")
    subnet_id = primary["properties"]["subnet"]["id"]
    identity = NodeIdentity(
        vm_id=instance.vm_id,
        vm_resource_id=instance.resource_id,
        nic_id=NicID(nic["id"]),
        subnet_id=SubnetID(subnet_id),
        vnet_id=VNetID(subnet_id.rsplit("/", 2)[0]),  # .../virtualNetworks/V/subnets/S
        mac=mac_text(nic["properties"]["macAddress"]),
        primary_ip=IPv4Address(primary["properties"]["privateIPAddress"]),
    )
    log.debug("node identified", extra={"nic": identity.nic_id, "mac": identity.mac})
    return identity


def _prefixes(space: Document | None) -> list[IPv4Network]:
    return [IPv4Network(text) for text in (space or {}).get("addressPrefixes", ()) if ":" not in text]


def _distinct(networks: Iterable[IPv4Network]) -> tuple[IPv4Network, ...]:
    return tuple(sorted(set(networks)))
