"""The shapes of Azure's documents, as far as this product reads them: decoded here and nowhere else. Pure.

A field that Azure omits or sends as null is None; fields not named here are ignored. A document of another shape raises
CloudUnreachable, which names the field: something other than Azure may have answered, and a later answer may be right.
Lists hold raw items where one malformed item must not spoil the others: the module that needs an item decodes it.
Shapes: azure-rest-api-specs, network 2025-05-01 and compute 2025-04-01.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from azure_cni.errors import CloudUnreachable

T = TypeVar("T")


class _Shape(msgspec.Struct, rename="camel", frozen=True):
    pass


class Reference(_Shape, frozen=True):
    """`{"id": ...}`."""

    id: str | None = None


class ConfigurationProperties(_Shape, frozen=True):
    """Of an ipConfiguration. What can be attached to it has no type: whatever stands there, something is attached."""

    provisioning_state: str | None = None
    primary: bool | None = None
    private_ip_address: str | None = msgspec.field(default=None, name="privateIPAddress")
    private_ip_address_version: str | None = msgspec.field(default=None, name="privateIPAddressVersion")
    private_ip_address_prefix_length: int | None = msgspec.field(default=None, name="privateIPAddressPrefixLength")
    private_ip_allocation_method: str | None = msgspec.field(default=None, name="privateIPAllocationMethod")
    subnet: Reference | None = None
    application_security_groups: list[Any] | None = None
    public_ip_address: Any = msgspec.field(default=None, name="publicIPAddress")
    load_balancer_inbound_nat_rules: Any = None
    load_balancer_backend_address_pools: Any = None
    application_gateway_backend_address_pools: Any = None
    gateway_load_balancer: Any = None


class ConfigurationShape(_Shape, frozen=True):
    """An ipConfiguration."""

    name: str
    properties: ConfigurationProperties


class NicProperties(_Shape, frozen=True):
    """Of a NIC. One that was never attached has no MAC."""

    provisioning_state: str | None = None
    mac_address: str | None = None
    primary: bool | None = None
    virtual_machine: Any = None
    ip_configurations: list[Any] | None = None


class NicShape(_Shape, frozen=True):
    """A network interface."""

    id: str
    properties: NicProperties
    etag: str | None = None
    name: str | None = None


class _AttachedProperties(_Shape, frozen=True):
    primary: bool | None = None


class AttachedNic(_Shape, frozen=True):
    """A NIC as its VM names it."""

    id: str
    properties: _AttachedProperties | None = None

    @property
    def is_primary(self) -> bool:
        """The VM says so; it need not, where it has only one."""
        return self.properties is not None and bool(self.properties.primary)


class _NetworkProfile(_Shape, frozen=True):
    network_interfaces: list[Any] | None = None


class _VmProperties(_Shape, frozen=True):
    vm_id: str | None = None
    network_profile: _NetworkProfile | None = None


class Vm(_Shape, frozen=True):
    """A virtual machine."""

    properties: _VmProperties

    @property
    def guid(self) -> str:
        """`vmId` in lower case, "" where Azure shows none."""
        return (self.properties.vm_id or "").lower()

    @property
    def attached(self) -> list[Any]:
        """Its NICs, each an `AttachedNic` to be decoded."""
        profile = self.properties.network_profile
        return (profile.network_interfaces if profile else None) or []


class ConfigurationModel(_Shape, frozen=True):
    """An ipConfiguration in the model of an instance: without an address, which the NIC has."""

    name: str
    properties: dict[str, Any]


class _NicModelProperties(_Shape, frozen=True):
    ip_configurations: list[Any] | None = None


class NicModel(_Shape, frozen=True):
    """A NIC in the model of an instance; its configurations are `ConfigurationModel`s to be decoded."""

    name: str
    properties: _NicModelProperties


class _NetworkModel(_Shape, frozen=True):
    network_interface_configurations: list[Any] | None = None


class _InstanceProperties(_Shape, frozen=True):
    provisioning_state: str | None = None
    network_profile_configuration: _NetworkModel | None = None


class InstanceShape(_Shape, frozen=True):
    """An instance of a Uniform scale set, as far as its model goes; as a machine it is a `Vm`."""

    location: str
    properties: _InstanceProperties
    etag: str | None = None

    @property
    def nics(self) -> list[Any]:
        """The NICs of its model, each a `NicModel` to be decoded."""
        profile = self.properties.network_profile_configuration
        return (profile.network_interface_configurations if profile else None) or []


class AddressSpace(_Shape, frozen=True):
    """Prefixes, each a text to be read."""

    address_prefixes: list[Any] | None = None


class _PeeringProperties(_Shape, frozen=True):
    peering_state: str | None = None
    remote_virtual_network_address_space: AddressSpace | None = None
    remote_address_space: AddressSpace | None = None


class Peering(_Shape, frozen=True):
    """Of one VNet with another."""

    properties: _PeeringProperties


class _VNetProperties(_Shape, frozen=True):
    address_space: AddressSpace | None = None
    virtual_network_peerings: list[Any] | None = None


class VNet(_Shape, frozen=True):
    """A virtual network; its peerings are `Peering`s to be decoded."""

    properties: _VNetProperties


class Usage(_Shape, frozen=True):
    """How many addresses of one subnet are used; a gateway's subnet shows -1 (REST specification, ListUsage)."""

    current_value: float | None = None
    limit: float | None = None
    id: str | None = None


def decoded(document: object, kind: type[T], *, what: str) -> T:
    """The document as that kind; CloudUnreachable says where it is another. `what` completes "cannot ..."."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise CloudUnreachable(f"cannot {what}: the answer is not what Azure documents: {error}") from error


def readable(document: object, kind: type[T]) -> T | None:
    """The document as that kind; None where it is another."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError:
        return None
