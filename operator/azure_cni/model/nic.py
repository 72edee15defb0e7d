"""A NIC as the rest of the product sees it: one read, frozen.

The adapter keeps Azure's whole document beside it (a write must send back what it does not know); nothing else
ever sees that document. An address counts only while `ready`: the operation that brought it has Succeeded.
What no pod may get is not among `configs` but among `excluded`, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final, NewType, TypeAlias

from azure_cni.model.attachments import AttachedResource, AttachmentKind
from azure_cni.model.config_names import ConfigName as ConfigName  # noqa: PLC0414  # a part of what a view says
from azure_cni.model.config_names import made_here
from azure_cni.model.ipv6 import IPv6Configuration
from azure_cni.model.text import legible

Address: TypeAlias = IPv4Address | IPv6Address
"""What a sandbox gets: one of IPv4, which the NIC holds and the ledger counts; in dual stack one of IPv6 beside it."""

NicID = NewType("NicID", str)
SubnetID = NewType("SubnetID", str)
VNetID = NewType("VNetID", str)

BLOCK_LENGTH: Final = 28
BLOCK_SIZE: Final = 16
"""The only prefix that one ipConfiguration may hold, and how many addresses that is (`privateIPAddressPrefixLength`, in
Azure's documentation "Assign private IP address prefixes to VMs"); it is aligned, and all of it admitted by the fabric.
"""

MAX_CONFIGS_PER_NIC = 256
"""ipConfigurations per NIC and per VM, the primary included: "private IP addresses" in Azure's subscription limits
(networking), of which a block of addresses counts as one."""

MAX_SECURITY_GROUPS: Final = 20
"""Application security groups of one ipConfiguration (Azure's subscription limits, networking)."""

MAX_ADDRESSES_PER_NODE = 250
"""Pods per node in Azure's container networking (Azure documentation, container networking overview).

The difference to `MAX_CONFIGS_PER_NIC` is left to operators.
"""

MOST_ON_NIC: Final = MAX_CONFIGS_PER_NIC - 1
"""Addresses for pods that a view shows, of one NIC: as many as it could hold without blocks. Pool, ledger and status
are made for that many.
"""


def block_of(address: IPv4Address) -> IPv4Address:
    """The first address of the block that has this one."""
    return IPv4Address(int(address) & -BLOCK_SIZE)


MOST_USED: Final = 2**31 - 1
"""What is believed of what Azure counts. A subnet of IPv6 may have more, and the API server takes no such number."""


@dataclass(frozen=True, slots=True)
class SubnetUsage:
    """How full one subnet is, as Azure counts it: addresses `used` by whomever, of `limit` that it has for use."""

    subnet_id: SubnetID
    used: int
    limit: int
    """0 where Azure shows none, as of a gateway's subnet."""


class NicWriter(StrEnum):
    """Who adds addresses to the NICs and removes them: `nicWriter` of the chart."""

    AGENT = "agent"
    """Each node's agent, its own NIC."""
    CONTROLLER = "controller"
    """The controller, all NICs; agents need no permission in Azure."""
    NONE = "none"
    """Nobody in azure-cni: pods get the addresses that a NIC already has."""


class Adopt(StrEnum):
    """Which secondary configurations that others made are for pods."""

    PLAIN = "plain"
    """Those that serve nobody else: one IPv4 address and nothing attached."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class IPConfiguration:
    """One ipConfiguration: its name, address (None until Azure chose one), and whether its last operation Succeeded.

    `size`: how many addresses it holds, `address` being the first of them: 16 in a block.
    """

    name: ConfigName
    address: IPv4Address | None
    primary: bool
    ready: bool
    static: bool = False
    """Azure does not say that it is Dynamic, as this product makes them: somebody wants to keep it."""
    size: int = 1
    attached: frozenset[AttachedResource] = frozenset()
    """What it has for the pod that holds its address. Only in configurations that this product made."""
    kept: bool = False
    """It is not to be removed, whoever made it (scaleSets.shrink)."""
    attachable: bool = True
    """A pod may have something attached to it: not on the NIC of an instance of a Uniform scale set."""

    @property
    def public(self) -> bool:
        """Has a public address of its own."""
        return has_public_ip(self.attached)

    @property
    def ours(self) -> bool:
        """Made by this product, so it may be deleted by it, unless it is `kept`."""
        return not self.primary and made_here(self.name, static=self.static)

    @property
    def removable(self) -> bool:
        """To be deleted when no pod needs it, or when it never came to work."""
        return self.ours and not self.kept

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All that it holds; none until Azure chose."""
        return () if self.address is None else addresses_from(self.address, self.size)


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
    attached: frozenset[AttachedResource] = frozenset()
    """What of it a pod asked for: it is removed when no pod does any more."""
    size: int = 0
    """How many addresses azure-cni made it for, before something else was attached; 0 where others made it."""
    span: int = 1
    """How many it shows, `address` being the first of them, whoever made it."""

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All that it shows."""
        return () if self.address is None else addresses_from(self.address, self.span)

    def __str__(self) -> str:
        shown = " ".join(filter(None, (self.name, str(self.address or ""))))
        return f"{legible(shown) or 'unnamed'}: {legible(self.why)}"


@dataclass(frozen=True, slots=True)
class StaticConfiguration:
    """One to be made with just this address, or with `size` from this one on. They must be free."""

    name: ConfigName
    address: IPv4Address
    size: int = 1

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All that it is to hold."""
        return addresses_from(self.address, self.size)

    def __str__(self) -> str:
        return str(self.address) if self.size == 1 else f"{self.address}/{BLOCK_LENGTH}"


def total_size(configs: Iterable[StaticConfiguration]) -> int:
    """How many addresses these hold together."""
    return sum(one.size for one in configs)


def addresses_from(first: IPv4Address, size: int) -> tuple[IPv4Address, ...]:
    """`size` addresses, from the first one on."""
    if size == 1:  # nearly all; a sum of addresses costs ten times as much
        return (first,)
    return tuple(first + offset for offset in range(size))


@dataclass(frozen=True, slots=True)
class AttachmentChange:
    """What to add to one ipConfiguration, and what to remove from it. Whatever else it has stays."""

    config: ConfigName
    add: frozenset[AttachedResource] = frozenset()
    remove: frozenset[AttachedResource] = frozenset()


def has_public_ip(resources: Iterable[AttachedResource]) -> bool:
    """Whether one of them is a public IP address."""
    return any(resource.kind is AttachmentKind.PUBLIC_IP for resource in resources)


@dataclass(frozen=True, slots=True)
class NicView:
    """One read of a NIC.

    `settled` is False while Azure still works on it (Updating): nothing may be written then. `failed`: its last
    operation ended badly, so what its document says need not be what works; writing it once more repairs it.
    `configs` are the primary and those for pods, no two with one address. What people, grants and the ledger count is
    `held`, addresses; what Azure's limit counts is `config_count`.
    """

    nic_id: NicID
    etag: str
    settled: bool
    configs: tuple[IPConfiguration, ...]
    failed: bool = False
    excluded: tuple[ExcludedConfiguration, ...] = ()
    security_groups: tuple[str, ...] = ()
    """Resource IDs of the application security groups that it is in: Azure has all configurations of a NIC in the same.
    """
    beside: int = 0
    """ipConfigurations of the VM's further NICs: Azure's limit is of all."""
    ipv6: tuple[IPv6Configuration, ...] = ()
    """Those of IPv6 that this product made, in Azure's order."""
    held: int = field(init=False, repr=False, compare=False)
    """Addresses for pods. One that Azure has not chosen yet counts: it comes."""

    def __post_init__(self) -> None:
        """Count once what every pass asks for a dozen times."""
        held = sum(config.size for config in self.configs if not config.primary)
        object.__setattr__(self, "held", held)

    def is_in(self, groups: Collection[str]) -> bool:
        """Whether these are its application security groups. Azure's IDs are compared without regard to case."""
        return {one.lower() for one in groups} == {one.lower() for one in self.security_groups}

    @property
    def primary(self) -> IPConfiguration:
        """The primary configuration: the node's own address."""
        return next(config for config in self.configs if config.primary)

    @property
    def secondaries(self) -> tuple[IPConfiguration, ...]:
        """Those for pods, in Azure's order."""
        return tuple(config for config in self.configs if not config.primary)

    @property
    def all_secondaries(self) -> tuple[IPConfiguration | ExcludedConfiguration, ...]:
        """Those for pods, then those for no pod."""
        return (*self.secondaries, *self.excluded)

    def with_address(self, address: IPv4Address) -> IPConfiguration | ExcludedConfiguration | None:
        """The secondary that has it, alone or in a block; None where none does."""
        return next((config for config in self.all_secondaries if address in config.addresses), None)

    @property
    def held_for_others(self) -> int:
        """Addresses that azure-cni added, and no pod gets because of what is attached to them. Whoever attached it, the
        node has them: its grant covers them as well as those that are `held`.
        """
        return sum(config.size for config in self.excluded)

    @property
    def addresses(self) -> frozenset[IPv4Address]:
        """Those for pods that Azure has chosen."""
        return frozenset(address for config in self.secondaries for address in config.addresses)

    @property
    def working(self) -> Mapping[ConfigName, IPv4Address | IPv6Network]:
        """What each configuration holds that works, by its first address or as a whole."""
        ipv4 = {config.name: config.address for config in self.configs if config.ready and config.address}
        return {**ipv4, **{config.name: config.network for config in self.ipv6 if config.usable and config.network}}

    def with_working(self, working: Mapping[ConfigName, IPv4Address | IPv6Network]) -> NicView:
        """The view in which those are ready, too, that still hold what worked before."""
        before = working.items()
        configs = (replace(it, ready=it.ready or (it.name, it.address) in before) for it in self.configs)
        ipv6 = (replace(it, ready=it.ready or (it.name, it.network) in before) for it in self.ipv6)
        return replace(self, configs=tuple(configs), ipv6=tuple(ipv6))

    @property
    def config_count(self) -> int:
        """All that Azure counts against MAX_CONFIGS_PER_NIC: what no pod can use takes up room as well."""
        return len(self.configs) + len(self.excluded) + len(self.ipv6)

    def most(self, *, size: int = 1) -> int:
        """Addresses for pods that the NIC could hold beside all else on the VM, in new configurations of `size`."""
        return self.held + size * max(0, MAX_CONFIGS_PER_NIC - self.config_count - self.beside)
