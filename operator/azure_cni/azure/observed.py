"""The NIC as the metadata service shows it: a hint for nodes that read it elsewhere, and the pool of those that do not.

A node without any permission in Azure has the addresses that a template gave its NIC, and nothing is ever written. What
the metadata service does not know stays "": the ids of NIC, subnet and VNet. Prefixes of peers come from the
configuration, because they cannot be read here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from ipaddress import IPv4Address

from azure_cni.azure.imds import Imds
from azure_cni.azure.instance_document import ImdsAddress, ImdsInterface, Instance
from azure_cni.azure.ip_configurations import is_host
from azure_cni.errors import REFUSALS, CloudNotFound, CloudUnreachable, RequestRefused
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity, VNetView
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import (
    MOST_ON_NIC,
    AttachmentChange,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
    StaticConfiguration,
    SubnetID,
    VNetID,
    addresses_from,
)
from azure_cni.model.text import addresses


class ImdsAddresses:
    """Implements `azure_cni.node.azure_ports.ShownAddresses`."""

    def __init__(self, imds: Imds) -> None:
        self._imds = imds

    async def addresses(self, mac: str) -> frozenset[IPv4Address]:
        """As the port says; CloudNotFound when no NIC with that MAC is shown."""
        interface = _chosen(await self._imds.glance(), mac)
        return frozenset(
            one for address in interface.addresses for one in addresses_from(address.private, address.size)
        )


class ObservedCloud:
    """Implements `azure_cni.node.azure_ports.Cloud`. `mac` chooses the NIC on a VM with several, "" the only one."""

    def __init__(self, imds: Imds, *, mac: str = "") -> None:
        self._imds = imds
        self._mac = mac.lower()

    async def identify(self, pod_subnet: SubnetID = PRIMARY_NIC) -> NodeIdentity:
        """The VM and its NIC, as far as the VM itself can see: no NIC's subnet, so none can be chosen by that."""
        if pod_subnet:
            raise RequestRefused(
                f"cannot put the pool into subnet {pod_subnet}: nicWriter is none, and the metadata service does not "
                "show which NIC is in it"
            )
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

    async def other_subnets(self) -> tuple[SubnetID, ...]:
        """None is shown."""
        return ()

    async def vnet(self, identity: NodeIdentity) -> VNetView:
        """The NIC's own subnet: the only part of the VNet that the metadata service shows."""
        interface = _chosen(await self._imds.instance(), identity.mac)
        if not interface.subnets:
            raise CloudUnreachable(
                f"cannot read the VNet: the metadata service shows no subnet of the NIC {identity.mac}"
            )
        return VNetView(prefixes=interface.subnets, peered=())


class ObservedNic:
    """Implements `azure_cni.node.azure_ports.Nic` for the interface with that MAC."""

    conclusive = REFUSALS
    recovers = False
    takes_blocks = False

    def __init__(self, imds: Imds, *, mac: str) -> None:
        self._imds = imds
        self._mac = mac

    async def read(self) -> NicView:
        """What the metadata service shows: it shows only what works, so all is ready and settled."""
        interface = _chosen(await self._imds.instance(), self._mac)
        primary, *others = interface.addresses
        configs, excluded = [_config(primary, primary=True)], []
        for address in others:
            taken = {one for config in configs for one in config.addresses}
            if why := _why(address, taken=taken):
                excluded.append(
                    ExcludedConfiguration(
                        _name(address), address.private, why, public=address.public, span=address.size
                    )
                )
            else:
                configs.append(_config(address, primary=False))
        shown = ",".join(map(_name, interface.addresses))
        etag = f"imds-{sha256(shown.encode()).hexdigest()[:16]}"
        return NicView(NicID(""), etag, settled=True, configs=tuple(configs), excluded=tuple(excluded))

    async def write(
        self,
        observed: NicView,
        *,
        add: int = 0,
        size: int = 1,  # noqa: ARG002  # the port's
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),  # noqa: ARG002  # the port's
        ipv6: IPv6Growth = NO_IPV6,  # noqa: ARG002  # the port's
    ) -> NicView:
        """Refused: with `nicWriter: none` nobody writes the NIC."""
        raise RequestRefused(
            f"cannot add {addresses(add)} to the {len(observed.configs)} of NIC {self._mac}, nor remove {len(remove)}"
            ": nicWriter is none; change the NIC where it is defined"
        )

    async def recover(self, observed: NicView, configs: Sequence[StaticConfiguration]) -> NicView:  # noqa: ARG002  # the port's
        """Refused as `write` is."""
        raise RequestRefused(
            f"cannot take {addresses(len(configs))} back for NIC {self._mac}: nicWriter is none; change the NIC where "
            "it is defined"
        )

    async def set_security_groups(self, observed: NicView, groups: Sequence[str]) -> NicView:  # noqa: ARG002  # the port's
        """Refused as `write` is."""
        raise RequestRefused(
            f"cannot put NIC {self._mac} into {len(groups)} application security groups: nicWriter is none; change the "
            "NIC where it is defined"
        )


def _name(address: ImdsAddress) -> ConfigName:
    """The metadata service shows no names of configurations: the address serves as one."""
    return ConfigName(f"imds-{address.private}")


def _config(address: ImdsAddress, *, primary: bool) -> IPConfiguration:
    return IPConfiguration(_name(address), address.private, primary=primary, ready=True, static=True, size=address.size)


def _why(address: ImdsAddress, *, taken: set[IPv4Address]) -> str:
    """Why no pod gets it, "" if one may. Load balancers and NAT rules are not shown here."""
    if address.public:
        return "has a public IP address"
    if not is_host(address.private):
        return "is an address that no host can have"
    shown = addresses_from(address.private, address.size)
    if not taken.isdisjoint(shown):
        return "is shown twice"
    room = MOST_ON_NIC + 1 - len(taken)  # the primary one is taken, too
    return "" if len(shown) <= room else f"would be more than the {MOST_ON_NIC} addresses that a pool can have"


def _chosen(instance: Instance, mac: str) -> ImdsInterface:
    """The NIC, complete. Other NICs may be in any state, as long as it is certain which one is meant."""
    named = [interface for interface in instance.interfaces if mac in {"", interface.mac}]
    usable = [interface for interface in named if interface.addresses]
    if len(usable) == 1:
        return usable[0]
    wanted = f"the NIC {mac}" if mac else "this node's NIC"
    if faults := [f"{interface.mac} ({interface.fault})" for interface in named if interface.fault and not usable]:
        raise CloudUnreachable(f"cannot use {wanted}: the metadata service shows it unreadably: {', '.join(faults)}")
    shown = ", ".join(interface.mac for interface in instance.interfaces if interface.addresses) or "none"
    raise CloudNotFound(
        f"cannot find {wanted}: the metadata service of {instance.name} shows the MACs {shown}"
        + ("" if mac or not usable else "; nicWriter: none needs a VM with one NIC")
    )
