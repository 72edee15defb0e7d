"""Security rules, routes and storage rules as the fabric enforces them: values that `EffectiveNetwork` carries.

Words of Azure (tags such as VirtualNetwork, next hop types) are kept as Azure spells them; what a tag means depends on
the subnet in question and is the fabric's to say.
"""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["Inbound", "Outbound"]
NextHop = Literal["VirtualAppliance", "None", "Internet", "VnetLocal", "VirtualNetworkGateway"]


@dataclass(frozen=True, slots=True)
class EffectiveEnd:
    """One end of a rule: prefixes and tags ("*" for any), or application security groups by id; and ports.

    A port is "*", "80" or "80-90".
    """

    prefixes: tuple[str, ...]
    group_ids: tuple[str, ...]
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """A security rule; `protocol` is "*", "Tcp", "Udp", "Icmp", "Esp" or "Ah"."""

    name: str
    priority: int
    direction: Direction
    allow: bool
    protocol: str
    source: EffectiveEnd
    destination: EffectiveEnd


@dataclass(frozen=True, slots=True)
class EffectiveSecurityGroup:
    """A network security group; its rules in the order in which they are judged, Azure's default rules last."""

    group_id: str
    name: str
    rules: tuple[EffectiveRule, ...]


@dataclass(frozen=True, slots=True)
class EffectiveRoute:
    """A user-defined route; `next_hop` is the appliance's address, None for any other type."""

    name: str
    prefix: str
    kind: NextHop
    next_hop: str | None


@dataclass(frozen=True, slots=True)
class EffectiveRouteTable:
    """The user-defined routes of the subnets that refer to it."""

    table_id: str
    routes: tuple[EffectiveRoute, ...]


@dataclass(frozen=True, slots=True)
class EffectiveStorage:
    """A storage account: whether it lets everybody in, and the subnets that it lets in otherwise."""

    name: str
    open: bool
    subnet_ids: tuple[str, ...]
