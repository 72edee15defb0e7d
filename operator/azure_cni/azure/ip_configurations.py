"""One ipConfiguration of a NIC's document: what it says, and whether a pod may have its address. Pure.

Other people's configurations are in the same list as those for pods, in whatever state they were left. One that cannot
be read is an answer too: it is kept as it came, and no pod gets it. The same holds for one that serves somebody: a
pod on an address with an inbound NAT rule would receive that service's traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any, Final

import msgspec

from azure_cni.azure import documents
from azure_cni.azure.documents import ConfigurationProperties

SUCCEEDED: Final = "succeeded"

_ATTACHMENTS: Final = (
    ("public_ip_address", "has the public IP address"),
    ("load_balancer_inbound_nat_rules", "serves the inbound NAT rule"),
    ("load_balancer_backend_address_pools", "is in the load balancer pool"),
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

    @property
    def flagged(self) -> bool:
        """It says that it is the primary one."""
        return bool(self.properties.primary)

    @property
    def works(self) -> bool:
        """The last operation on it Succeeded."""
        return self.address is not None and (self.properties.provisioning_state or "").lower() == SUCCEEDED

    @property
    def dynamic(self) -> bool:
        """Azure chose its address, and forgets it with the configuration."""
        return (self.properties.private_ip_allocation_method or "").lower() == "dynamic"

    @property
    def public(self) -> bool:
        """It has a public address of its own."""
        return bool(self.properties.public_ip_address)

    @property
    def subnet_id(self) -> str:
        """Of its subnet, "" where it names none."""
        return (self.properties.subnet.id if self.properties.subnet else None) or ""


def read(raw: object) -> Configuration:
    """Never raises: what cannot be read says so in `why`."""
    try:
        shown = msgspec.convert(raw, documents.Configuration)
    except msgspec.ValidationError as error:
        return _unreadable(raw, f"cannot be read: {error}")
    if not shown.name:
        return _unreadable(raw, "has no name")
    address, odd = _address(shown.properties)
    return Configuration(raw, shown.name, address, odd or _attached(shown.properties), shown.properties)


def _unreadable(raw: object, why: str) -> Configuration:
    """With as much as can be made out: a pod that has its address keeps it."""
    fields = raw if isinstance(raw, Mapping) else {}
    name, properties = fields.get("name"), fields.get("properties")
    text = properties.get("privateIPAddress") if isinstance(properties, Mapping) else None
    address, _ = _address(ConfigurationProperties(private_ip_address=text if isinstance(text, str) else None))
    return Configuration(
        raw, name if isinstance(name, str) else "", address, why, ConfigurationProperties(), readable=False
    )


def _address(properties: ConfigurationProperties) -> tuple[IPv4Address | None, str]:
    """The one IPv4 address, and why no pod can have it. The address decides its family, not the label beside it."""
    text = properties.private_ip_address or ""
    if ":" in text or (not text and (properties.private_ip_address_version or "").lower() == "ipv6"):
        return None, "is IPv6"
    if "/" in text or properties.private_ip_address_prefix_length not in {None, 0, 32}:
        return None, "is a block of addresses"
    if not text:
        return None, ""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return None, f"shows {text[:64]!r}, which is no address"
    return (address, "") if is_host(address) else (None, f"shows {address}, which no host can have")


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


def _attached(properties: ConfigurationProperties) -> str:
    """Whom it serves; "" if nobody."""
    for field, serves in _ATTACHMENTS:
        if attached := getattr(properties, field):
            return f"{serves} {_named(attached)}"
    return ""


def _named(attached: object) -> str:
    """The last part of its resource ID, or of the first of several."""
    first = attached[0] if isinstance(attached, list) else attached
    resource_id = first.get("id") if isinstance(first, Mapping) else None
    name = resource_id.rstrip("/").rpartition("/")[2] if isinstance(resource_id, str) else ""
    return name[:80] or "?"
