"""The steps that a plan can say are next: what is done to the NIC, or why nothing is."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, TypeAlias

from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, StaticConfiguration, total_size
from azure_cni.model.text import addresses, counted


@dataclass(frozen=True, slots=True)
class NoOp:
    """Nothing to do now."""


@dataclass(frozen=True, slots=True)
class AwaitGrant:
    """More is needed than is granted: ask to hold `requested` addresses, and decide again when that is answered."""

    requested: int
    recover: bool = False
    """For what pods lost: no pause of growth keeps it from being asked for."""


@dataclass(frozen=True, slots=True)
class Recover:
    """Add these configurations, whose addresses pods have and another tool took off the NIC, in one write."""

    configs: tuple[StaticConfiguration, ...]

    @property
    def reason(self) -> str:
        """For people."""
        blocks = ", or others of their blocks" if self.add > len(self.configs) else ""
        return f"another tool removed {addresses(self.add)} that pods have{blocks}"

    @property
    def add(self) -> int:
        """How many addresses that is."""
        return total_size(self.configs)


@dataclass(frozen=True, slots=True)
class Grow:
    """Add `add` addresses in configurations of `size` each, and what goes with them of `ipv6`, in one write that also
    changes what pods have attached.
    """

    add: int
    attach: tuple[AttachmentChange, ...] = ()
    size: int = 1
    ipv6: IPv6Growth = NO_IPV6


@dataclass(frozen=True, slots=True)
class Attach:
    """Note in the ledger which addresses get something, then change in one write what pods have attached."""

    changes: tuple[AttachmentChange, ...]

    @property
    def reason(self) -> str:
        """For people."""
        return f"a change in what {counted(len(self.changes), 'pod')} may have attached"


@dataclass(frozen=True, slots=True)
class Shrink:
    """Release `addresses` in the ledger, then leave the configurations `names` out in one write."""

    names: tuple[ConfigName, ...]
    addresses: tuple[IPv4Address, ...]
    reason: str = field(default="more free addresses than wanted", compare=False)
    """For people: why these leave."""


@dataclass(frozen=True, slots=True)
class WaitForAzure:
    """Azure is still working on the NIC: nothing may be written. Look again."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Write the NIC once more as it is: to end a failed state, or so that an older write cannot come through; or with
    what it lacks of `ipv6`.
    """

    reason: str = field(default="the last operation failed", compare=False)
    """For people."""
    ipv6: IPv6Growth = NO_IPV6


@dataclass(frozen=True, slots=True)
class Regroup:
    """Put all of the NIC into these application security groups, and no other, in one write."""

    groups: tuple[str, ...]


LATE: Final = Rewrite("a write with an unknown outcome must not come through late")

Write: TypeAlias = Recover | Grow | Attach | Shrink | Rewrite | Regroup
"""Those that are a write of the NIC."""

Step: TypeAlias = NoOp | AwaitGrant | WaitForAzure | Write
