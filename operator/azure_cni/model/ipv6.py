"""IPv6 on a NIC, as this product puts it there for pods: one block of 65,536 addresses, or single addresses. Pure.

In dual stack a pod has an IPv4 address, and one of IPv6 that is bound to it for as long as the NIC has both
(`ipam.ipv6_binding`). What is counted everywhere, by people, grants and the ledger, is the IPv4 addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from azure_cni.model.config_names import ConfigName

IPV6_BLOCK_LENGTH: Final = 112
"""The only prefix of IPv6 that an ipConfiguration may hold (`privateIPAddressPrefixLength`), one on each NIC."""
IPV6_LENGTH: Final = 128


@dataclass(frozen=True, slots=True)
class IPv6Configuration:
    """One ipConfiguration of IPv6 that this product made.

    `network` is what it holds, None until Azure chose; `ready`: its last operation Succeeded.
    """

    name: ConfigName
    network: IPv6Network | None
    ready: bool
    block: bool = False

    @property
    def usable(self) -> bool:
        """Pods can have what it holds."""
        return self.ready and self.network is not None


@dataclass(frozen=True, slots=True)
class IPv6Growth:
    """What of IPv6 a write adds to a NIC: the block, or a number of single addresses. False for nothing."""

    block: bool = False
    singles: int = 0

    @property
    def configs(self) -> int:
        """How many ipConfigurations that is."""
        return self.block + self.singles

    def __bool__(self) -> bool:
        return self.configs > 0

    def __str__(self) -> str:
        return f"an IPv6 block (/{IPV6_BLOCK_LENGTH})" if self.block else f"{self.singles} IPv6 addresses"


NO_IPV6: Final = IPv6Growth()


def network_of(text: str, *, block: bool) -> IPv6Network:
    """What is written as an address or in CIDR form; of a block also by an address in its middle. ValueError."""
    address = IPv6Address(text.partition("/")[0])
    return IPv6Network((int(address), IPV6_BLOCK_LENGTH if block else IPV6_LENGTH), strict=False)
