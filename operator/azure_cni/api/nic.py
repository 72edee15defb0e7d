"""A NIC as the rest of the product sees it: one read, frozen.

The adapter keeps Azure's whole document beside it (a write must send back what it does not know); nothing else
ever sees that document. An address counts only while `ready`: the operation that brought it has Succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NewType

NicID = NewType("NicID", str)
SubnetID = NewType("SubnetID", str)
VNetID = NewType("VNetID", str)
ConfigName = NewType("ConfigName", str)

OUR_PREFIX = "azure-cni-"
"""ipConfigurations of this name prefix are ours to delete; all others are adopted or left alone."""

MAX_CONFIGS_PER_NIC = 256
"""Private addresses per NIC and per VM, the primary included (Azure subscription limits, networking)."""


@dataclass(frozen=True, slots=True)
class IPConfiguration:
    """One ipConfiguration: its name, address (None until Azure chose one), and whether its last operation Succeeded."""

    name: ConfigName
    address: IPv4Address | None
    primary: bool
    ready: bool
    public: bool = False
    """Has a public address of its own: its traffic must not be source-NATed."""

    @property
    def ours(self) -> bool:
        """Made by this product, so it may be deleted by it."""
        return self.name.startswith(OUR_PREFIX)


@dataclass(frozen=True, slots=True)
class NicView:
    """One read of a NIC.

    `settled` is False while Azure still works on it (Updating): nothing may be written then. `failed`: its last
    operation ended badly, so what its document says need not be what works; writing it once more mends it.
    """

    nic_id: NicID
    etag: str
    settled: bool
    configs: tuple[IPConfiguration, ...]
    failed: bool = False

    @property
    def primary(self) -> IPConfiguration:
        """The primary configuration: the node's own address."""
        return next(config for config in self.configs if config.primary)

    @property
    def secondaries(self) -> tuple[IPConfiguration, ...]:
        """All others, in Azure's order."""
        return tuple(config for config in self.configs if not config.primary)
