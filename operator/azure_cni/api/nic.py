"""A NIC as the rest of the product sees it: one read, frozen.

The adapter keeps Azure's whole document beside it (a write must send back what it does not know); nothing else
ever sees that document. An address counts only while `ready`: the operation that brought it has Succeeded.
What no pod may get is not among `configs` but among `excluded`, with the reason.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final, NewType

from azure_cni.api.text import legible

NicID = NewType("NicID", str)
SubnetID = NewType("SubnetID", str)
VNetID = NewType("VNetID", str)
ConfigName = NewType("ConfigName", str)

OUR_PREFIX: Final = "azure-cni-"
OUR_ALPHABETS: Final = (string.digits, *(7 * (string.ascii_lowercase + string.digits,)))
"""Of each character after the prefix. A digit comes first, as in no word by which a person would name one."""
_OUR_NAME: Final = re.compile(OUR_PREFIX + "".join(f"[{alphabet}]" for alphabet in OUR_ALPHABETS))

MAX_CONFIGS_PER_NIC = 256
"""Private addresses per NIC and per VM, the primary included (Azure subscription limits, networking)."""


def is_our_name(name: str) -> bool:
    """Whether this product makes names like that. `azure-cni-frontend` is a person's."""
    return _OUR_NAME.fullmatch(name) is not None


class Adopt(StrEnum):
    """Which secondary configurations that others made are for pods."""

    PLAIN = "plain"
    """Those that serve nobody else: one IPv4 address and nothing attached."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class IPConfiguration:
    """One ipConfiguration: its name, address (None until Azure chose one), and whether its last operation Succeeded."""

    name: ConfigName
    address: IPv4Address | None
    primary: bool
    ready: bool
    static: bool = False
    """Azure does not say that it is Dynamic, as this product makes them: somebody wants to keep it."""

    @property
    def ours(self) -> bool:
        """Made by this product, so it may be deleted by it."""
        return not self.primary and not self.static and is_our_name(self.name)


@dataclass(frozen=True, slots=True)
class ExcludedConfiguration:
    """One ipConfiguration that no pod gets, and that is left as it is."""

    name: str
    """"" where it has none that can be read."""
    address: IPv4Address | None
    why: str
    """For people; completes "left alone: it ..."."""
    public: bool = False
    """Has a public address of its own: traffic of a pod that still has its address must not be source-NATed."""

    def __str__(self) -> str:
        shown = " ".join(filter(None, (self.name, str(self.address or ""))))
        return f"{legible(shown) or 'unnamed'}: {legible(self.why)}"


@dataclass(frozen=True, slots=True)
class NicView:
    """One read of a NIC.

    `settled` is False while Azure still works on it (Updating): nothing may be written then. `failed`: its last
    operation ended badly, so what its document says need not be what works; writing it once more mends it.
    `configs` are the primary and those for pods, no two with one address.
    """

    nic_id: NicID
    etag: str
    settled: bool
    configs: tuple[IPConfiguration, ...]
    failed: bool = False
    excluded: tuple[ExcludedConfiguration, ...] = ()

    @property
    def primary(self) -> IPConfiguration:
        """The primary configuration: the node's own address."""
        return next(config for config in self.configs if config.primary)

    @property
    def secondaries(self) -> tuple[IPConfiguration, ...]:
        """Those for pods, in Azure's order."""
        return tuple(config for config in self.configs if not config.primary)

    @property
    def total(self) -> int:
        """All that Azure counts against MAX_CONFIGS_PER_NIC: what no pod can use takes up room as well."""
        return len(self.configs) + len(self.excluded)

    @property
    def most(self) -> int:
        """Addresses for pods that the NIC could hold beside all else on it."""
        return len(self.secondaries) + max(0, MAX_CONFIGS_PER_NIC - self.total)
