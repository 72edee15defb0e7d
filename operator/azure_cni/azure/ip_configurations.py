"""One ipConfiguration of a NIC's document: what it says, and whether a pod may have its address. Pure.

The list holds the configurations of other people and those for pods, in any state. One that cannot be read is kept
unchanged, and no pod gets its address. The same holds for one that something else uses: a pod on an address with an
inbound NAT rule would receive that service's traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network
from typing import Any, Final

import msgspec

from azure_cni.azure import documents
from azure_cni.azure.documents import ConfigurationProperties
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.ipv6 import IPV6_BLOCK_LENGTH, IPV6_LENGTH, network_of
from azure_cni.model.nic import BLOCK_LENGTH, BLOCK_SIZE, block_of

SUCCEEDED: Final = "succeeded"
_IPV6: Final = "is IPv6"

_OF_PODS: Final = (
    ("public_ip_address", "has the public IP address"),
    ("load_balancer_backend_address_pools", "is in the load balancer pool"),
)
"""What a pod may ask for: in configurations that this product made it need not be somebody else's."""
_OF_OTHERS: Final = (
    ("load_balancer_inbound_nat_rules", "serves the inbound NAT rule"),
    ("application_gateway_backend_address_pools", "is in the application gateway pool"),
    ("gateway_load_balancer", "sends its traffic through the gateway load balancer"),
)
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_PLATFORM: Final = IPv4Address("168.63.129.16")
"""Azure's own, in every virtual network."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One ipConfiguration. `raw` is what goes back to Azure, whatever it is.

    `why` completes "no pod gets it: it ...", "" where a pod may; it looks at this configuration alone.
    """

    raw: Any
    name: str
    address: IPv4Address | None
    why: str
    properties: ConfigurationProperties
    readable: bool = True
    size: int = 1
    """How many addresses it holds, from `address` on."""
    attached: frozenset[AttachedResource] = frozenset()
    """What it has that a pod can ask for."""
    ipv6: IPv6Network | None = None
    """What it holds of IPv6; then it has no `address`."""
    why_attached: str = ""
    """As `why`, of that: for a configuration that this product did not make, or where it cannot be read."""

    @property
    def flagged(self) -> bool:
        """It says that it is the primary one."""
        return bool(self.properties.primary)

    @property
    def works(self) -> bool:
        """The last operation on it Succeeded."""
        shown = self.ipv6 if self.address is None else self.address
        return shown is not None and (self.properties.provisioning_state or "").lower() == SUCCEEDED

    @property
    def plain_ipv6(self) -> bool:
        """It is of IPv6, and serves nobody."""
        return self.readable and self.why == _IPV6 and not _attached(self.properties, _OF_OTHERS + _OF_PODS)

    @property
    def dynamic(self) -> bool:
        """Azure chose its address, and forgets it with the configuration."""
        return (self.properties.private_ip_allocation_method or "").lower() == "dynamic"

    @property
    def public(self) -> bool:
        """It has a public address of its own."""
        return bool(self.properties.public_ip_address)

    @property
    def security_groups(self) -> tuple[str, ...]:
        """Resource IDs of its application security groups."""
        groups = self.properties.application_security_groups
        return tuple(filter(None, map(id_of, groups))) if isinstance(groups, list) else ()

    @property
    def subnet_id(self) -> str:
        """Of its subnet, "" where it names none."""
        return (self.properties.subnet.id if self.properties.subnet else None) or ""


def read(raw: object) -> Configuration:
    """Never raises: what cannot be read says so in `why`."""
    try:
        shown = msgspec.convert(raw, documents.ConfigurationShape)
    except msgspec.ValidationError as error:
        return _unreadable(raw, f"cannot be read: {error}")
    if not shown.name:
        return _unreadable(raw, "has no name")
    address, size, odd = _addresses(shown.properties)
    attached, unread = _resources(shown.properties)
    why = odd or _attached(shown.properties, _OF_OTHERS)
    why_attached = _attached(shown.properties, _OF_PODS)
    return Configuration(
        raw,
        shown.name,
        address,
        why or (why_attached if unread else ""),
        shown.properties,
        size=size,
        attached=attached,
        ipv6=_ipv6(shown.properties),
        why_attached=why_attached,
    )


def _unreadable(raw: object, why: str) -> Configuration:
    """With as much as can be made out: a pod that has its address keeps it."""
    fields = raw if isinstance(raw, Mapping) else {}
    name, properties = fields.get("name"), fields.get("properties")
    text = properties.get("privateIPAddress") if isinstance(properties, Mapping) else None
    address, size, _ = _addresses(ConfigurationProperties(private_ip_address=text if isinstance(text, str) else None))
    return Configuration(
        raw, name if isinstance(name, str) else "", address, why, ConfigurationProperties(), readable=False, size=size
    )


def _addresses(properties: ConfigurationProperties) -> tuple[IPv4Address | None, int, str]:
    """The first IPv4 address, how many there are, and why no pod can have them.

    The address decides its family, not the label beside it. A block may be shown by an address in its middle, without
    its length (the model of an instance does so).
    """
    text, _, prefix = (properties.private_ip_address or "").partition("/")
    if ":" in text or (not text and (properties.private_ip_address_version or "").lower() == "ipv6"):
        return None, 1, _IPV6
    length = prefix or str(properties.private_ip_address_prefix_length or 32)
    if length not in {"32", str(BLOCK_LENGTH)}:
        return None, 1, f"is a block of addresses of another size than /{BLOCK_LENGTH}: /{length[:8]}"
    size = 1 if length == "32" else BLOCK_SIZE
    if not text:
        return None, size, ""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return None, size, f"shows {text[:64]!r}, which is no address"
    first = address if size == 1 else block_of(address)
    if all(map(is_host, {first, first + (size - 1)})):
        return first, size, ""
    return None, size, f"shows {address}, which no host can have"


def _ipv6(properties: ConfigurationProperties) -> IPv6Network | None:
    """What it holds of IPv6, if that is an address or a block that pods can be given addresses of."""
    text, _, prefix = (properties.private_ip_address or "").partition("/")
    length = prefix or str(properties.private_ip_address_prefix_length or IPV6_LENGTH)
    if ":" not in text or length not in {str(IPV6_LENGTH), str(IPV6_BLOCK_LENGTH)}:
        return None
    try:
        return network_of(text, block=length == str(IPV6_BLOCK_LENGTH))
    except AddressValueError:
        return None


def is_host(address: IPv4Address) -> bool:
    """Whether a host in a virtual network can have it."""
    return not (
        address in _THIS_NETWORK
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address == _PLATFORM
    )


def _resources(properties: ConfigurationProperties) -> tuple[frozenset[AttachedResource], bool]:
    """What a pod can ask for, and whether there is some of it that cannot be read."""
    pools, public_ip = properties.load_balancer_backend_address_pools, properties.public_ip_address
    references = [
        *(pools if isinstance(pools, list) else [pools] if pools else []),
        *([public_ip] if public_ip else []),
    ]
    found = [AttachedResource.parse(id_of(reference)) for reference in references]
    return frozenset(resource for resource in found if resource is not None), None in found


def _attached(properties: ConfigurationProperties, kinds: tuple[tuple[str, str], ...]) -> str:
    """What uses it; "" if nothing does."""
    for field, serves in kinds:
        if attached := getattr(properties, field):
            return f"{serves} {_named(attached)}"
    return ""


def _named(attached: object) -> str:
    """The last part of its resource ID, or of the first of several."""
    first = attached[0] if isinstance(attached, list) else attached
    return id_of(first).rstrip("/").rpartition("/")[2][:80] or "?"


def id_of(reference: object) -> str:
    """A reference's resource ID, "" where it has none."""
    resource_id = reference.get("id") if isinstance(reference, Mapping) else None
    return resource_id if isinstance(resource_id, str) else ""
