"""Who this node is: the metadata service names the VM, the resource manager its NICs, and the MAC the right one.

An instance of a Uniform scale set has an ID below its set's, and so have its NICs; one of a Flexible set is a VM like
any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Network

from azure_cni.azure import documents, nic_document
from azure_cni.azure.arm import Arm
from azure_cni.azure.documents import AddressSpace, AttachedNic, Peering, Vm, VNet
from azure_cni.azure.environments import refuse_another
from azure_cni.azure.imds import Instances
from azure_cni.azure.instance_document import Instance, mac_text
from azure_cni.azure.nic_document import NicDocument
from azure_cni.azure.resources import Resource
from azure_cni.errors import AccessDenied, CloudNotFound, CloudUnreachable
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity, NodeNic, VNetView, is_same
from azure_cni.model.nic import NicID, SubnetID
from azure_cni.model.pod_subnets import NicMissing, nic_missing, vnet_of
from azure_cni.model.text import legible

log = logging.getLogger(__name__)


class ArmVmIdentity:
    """Implements `azure_cni.node.azure_ports.Cloud`. `cloud` is the public cloud that the settings name, or ""."""

    def __init__(self, imds: Instances, arm: Arm, *, cloud: str = "") -> None:
        self._imds = imds
        self._arm = arm
        self._cloud = cloud

    async def identify(self, pod_subnet: SubnetID = PRIMARY_NIC) -> NodeIdentity:
        """Ask the metadata service, then the resource manager about this VM and its NICs."""
        instance, primary, others = await self._own_nics()
        identity = _identity(instance, primary)
        if not pod_subnet or is_same(pod_subnet, identity.subnet_id):
            return replace(identity, beside=tuple(others))
        nic = await self._nic_in(pod_subnet, others, identity, instance)
        beside = (identity.nic_id, *(one for one in others if not is_same(one, nic.shown.id)))
        return replace(_identity(instance, nic), node_nic=NodeNic(identity.mac, identity.primary_ip), beside=beside)

    async def other_subnets(self) -> tuple[SubnetID, ...]:
        """Of the NICs that can be read: a pool cannot be on one that this identity has no right to read."""
        _, _, others = await self._own_nics()
        found = []
        for nic_id in sorted(others):
            with suppress(AccessDenied, CloudNotFound):
                nic = await self._read(nic_id)
                found += [SubnetID(nic.primary.subnet_id)] if nic.primary is not None else []
        return tuple(found)

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """The VNet's prefixes, and those of its connected peers, as they are now (not as they were when peered)."""
        resource = Resource.parse(identity.vnet_id)
        what = f"read {resource.label}"
        properties = documents.decoded(await self._arm.get(resource), VNet, what=what).properties
        prefixes = _distinct(_prefixes(properties.address_space, of=resource.label))
        if not prefixes:
            raise CloudUnreachable(f"cannot {what}: the answer shows no IPv4 prefix of its address space")
        peered = [
            prefix
            for raw in properties.virtual_network_peerings or ()
            for prefix in _peered(documents.readable(raw, Peering), of=resource.label)
        ]
        return VNetView(prefixes=prefixes, peered=_distinct(peered))

    async def _own_nics(self) -> tuple[Instance, NicDocument, list[NicID]]:
        """This VM, its primary NIC, and the IDs of its further ones."""
        instance = await self._imds.instance()
        refuse_another(instance.environment, configured=self._cloud)
        resource = Resource.parse(instance.resource_id)
        vm = documents.decoded(await self._arm.get(resource), Vm, what=f"read {resource.label}")
        if vm.guid != instance.vm_id:
            raise CloudNotFound(
                f"cannot identify this node: {resource.label} is VM {legible(vm.guid) or '?'} in Azure, and this one "
                f"is {instance.vm_id}: was it recreated under the same name?"
            )
        attached = [entry for raw in vm.attached if (entry := documents.readable(raw, AttachedNic)) is not None]
        primary = await self._primary_nic(attached, instance)
        return instance, primary, [NicID(entry.id) for entry in attached if not is_same(entry.id, primary.shown.id)]

    async def _primary_nic(self, attached: Sequence[AttachedNic], instance: Instance) -> NicDocument:
        """The VM's primary NIC, if its MAC is one that this VM has."""
        flagged = [entry for entry in attached if entry.is_primary]
        macs = {interface.mac for interface in instance.interfaces}
        others = {}
        for entry in flagged or attached:
            nic = await self._read(entry.id)
            mac = mac_text(nic.mac)
            is_primary = bool(flagged) or len(attached) == 1 or bool(nic.shown.properties.primary)
            if is_primary and mac in macs:
                return nic
            others[legible(nic.shown.name or Resource.parse(entry.id).label)] = legible(mac) or "none yet"
        raise CloudNotFound(
            f"cannot identify this node's NIC: VM {instance.name} has {others or 'no primary NIC'} in Azure, and the "
            f"metadata service knows the MACs {', '.join(sorted(macs)) or 'none'}: is a NIC being attached or replaced?"
        )

    async def _nic_in(
        self, subnet: SubnetID, others: Sequence[NicID], primary: NodeIdentity, instance: Instance
    ) -> NicDocument:
        """The first of the VM's further NICs in that subnet, in the order of their IDs. NicMissing where none is."""
        nics = [await self._read(nic_id) for nic_id in sorted(others)]
        found = [nic for nic in nics if nic.primary is not None and is_same(nic.primary.subnet_id, subnet)]
        if not found:
            subnets = {nic.shown.id: nic.primary.subnet_id if nic.primary else "" for nic in nics}
            raise NicMissing(nic_missing(subnet, primary, subnets))
        macs = {interface.mac for interface in instance.interfaces}
        if mac_text(found[0].mac) not in macs:
            mac = legible(mac_text(found[0].mac)) or "?"
            raise CloudNotFound(
                f"cannot use {legible(found[0].shown.id)} for pods: its MAC is {mac} in Azure, and "
                f"the metadata service knows {', '.join(sorted(macs)) or 'none'}: is it being attached?"
            )
        return found[0]

    async def _read(self, nic_id: str) -> NicDocument:
        resource = Resource.parse(nic_id)
        return nic_document.decoded(await self._arm.get(resource), what=f"read {resource.label}")


def _identity(instance: Instance, nic: NicDocument) -> NodeIdentity:
    cannot = f"cannot identify this node: NIC {legible(nic.shown.id)}"
    if nic.primary is None:
        raise CloudUnreachable(f"{cannot} shows no primary ipConfiguration")
    if nic.primary.address is None:
        raise CloudUnreachable(f"{cannot}: its primary ipConfiguration {nic.primary.why or 'has no address yet'}")
    vnet = vnet_of(nic.primary.subnet_id)
    if vnet is None:
        raise CloudUnreachable(
            f"{cannot}: its primary ipConfiguration names no subnet ({legible(nic.primary.subnet_id)!r})"
        )
    identity = NodeIdentity(
        vm_id=instance.vm_id,
        vm_resource_id=instance.resource_id,
        nic_id=NicID(nic.shown.id),
        subnet_id=SubnetID(nic.primary.subnet_id),
        vnet_id=vnet,
        mac=mac_text(nic.mac),
        primary_ip=nic.primary.address,
    )
    log.debug("node identified", extra={"nic": identity.nic_id, "mac": identity.mac})
    return identity


def _peered(peering: Peering | None, *, of: str) -> list[IPv4Network]:
    """The prefixes of a connected peer."""
    if peering is None:
        log.warning("a peering cannot be read; its pods see this node's address", extra={"vnet": of})
        return []
    facts = peering.properties
    if (facts.peering_state or "").lower() != "connected":
        return []
    spaces = (facts.remote_virtual_network_address_space, facts.remote_address_space)
    return [prefix for space in spaces for prefix in _prefixes(space, of=of)]


def _prefixes(space: AddressSpace | None, *, of: str) -> list[IPv4Network]:
    """IPv4 prefixes; one that cannot be read is left aside."""
    found = []
    for text in (space.address_prefixes if space else None) or ():
        shown = text if isinstance(text, str) else ""  # a number would be read as an address
        if ":" in shown:
            continue
        try:
            found.append(IPv4Network(shown, strict=False))
        except ValueError:
            log.warning("an address prefix cannot be read", extra={"vnet": of, "prefix": repr(text)})
    return found


def _distinct(networks: Iterable[IPv4Network]) -> tuple[IPv4Network, ...]:
    return tuple(sorted(set(networks)))
