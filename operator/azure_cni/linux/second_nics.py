"""The rules and the route of `datapath.second_nics` in the kernel: compared, added, and removed with the NIC."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from azure_cni.datapath.node_table import NodeTable
from azure_cni.datapath.policy import PolicyRule
from azure_cni.datapath.second_nics import DETOUR_TABLE, Detour, detour, is_ours
from azure_cni.datapath.uplink import Link, Uplink
from azure_cni.linux import policy_tables
from azure_cni.linux.netlink import Netlink

log = logging.getLogger(__name__)


class SecondNics:
    """What this process wanted last: a subnet that comes or goes with its NIC is no repair."""

    def __init__(self) -> None:
        self._wanted: Detour | None = None

    def wanted(
        self,
        links: Sequence[Link],
        held: Sequence[tuple[int, IPv4Address, int]],
        table: NodeTable,
        *,
        node_nic: Uplink,
        uplink: Uplink,
    ) -> Detour | None:
        """What the node needs: where that cannot be known now, what it needed last. `uplink` is the pods' NIC."""
        found = detour(
            links,
            held,
            uplink=node_nic.index,
            primary=table.node_address,
            routable=table.routable,
            pods=uplink.index,
        )
        return found or self._wanted

    def put_right(
        self,
        kernel: Netlink,
        present: Collection[PolicyRule] | None,
        wanted: Detour | None,
        links: Sequence[Link],
        node_nic: Uplink,
    ) -> list[str]:
        """Make it so; returns what had been changed by others, in words. DatapathError."""
        if wanted is None or present is None:
            return []
        before, self._wanted = self._wanted, wanted
        gateway = wanted.gateway if wanted.destinations else None
        words = [
            *policy_tables.ask_with_mark(kernel, links, wanted.nics),
            # Before the rules that ask for it.
            *policy_tables.put_default(kernel, DETOUR_TABLE, gateway, index=node_nic.index, name=node_nic.name),
            *policy_tables.put_rules(kernel, present, wanted.rules, ours=is_ours, of="further NICs"),
        ]
        if before is not None and before != wanted:
            for what in words:
                log.info("further nics changed", extra={"what": what})
            return []
        return words
