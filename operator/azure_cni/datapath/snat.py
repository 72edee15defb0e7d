"""What the node's own table should hold: whose traffic leaves with the primary address, and what pods may not reach."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True, slots=True)
class NodeTable:
    """The node's data plane apart from its sandboxes.

    `uplink_mac` names the NIC's interface; `pool` are all addresses on the NIC that pods may hold; `public` those of
    them with a public address of their own (never source-NATed); `routable` the prefixes that see pods by their own
    address (VNet, peers, on-premises, configured); `imds_allowed` opens 169.254.169.254 to pods.
    """

    uplink_mac: str
    primary: IPv4Address
    pool: frozenset[IPv4Address]
    public: frozenset[IPv4Address]
    routable: frozenset[IPv4Network]
    imds_allowed: bool
