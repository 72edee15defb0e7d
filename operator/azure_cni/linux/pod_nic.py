"""The rules and the route of `datapath.pod_nic` in the kernel, and none of them where the pool is on the node's NIC."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from azure_cni.datapath.node_table import NodeTable
from azure_cni.datapath.pod_nic import POD_TABLE, PodNic, is_ours, pod_nic
from azure_cni.datapath.policy import PolicyRule
from azure_cni.datapath.uplink import Link, Uplink
from azure_cni.errors import DatapathError
from azure_cni.linux import policy_tables
from azure_cni.linux.netlink import Netlink

log = logging.getLogger(__name__)


class PodNicRoutes:
    """What this process wanted last: a pool that moved to another NIC is no repair."""

    def __init__(self) -> None:
        self._wanted: PodNic | None = None
        self._begun = False

    def put_right(
        self,
        kernel: Netlink,
        present: Collection[PolicyRule] | None,
        held: Sequence[tuple[int, IPv4Address, int]],
        links: Sequence[Link],
        table: NodeTable,
        *,
        node_nic: Uplink,
        uplink: Uplink,
    ) -> list[str]:
        """Make it so; returns what had been changed by others, in words. DatapathError, also where this kernel has no
        policy routing and pods need it.
        """
        wanted = None if table.node_nic is None else self._needed(held, uplink, table)
        if present is None:
            if wanted is None:
                return []
            raise DatapathError(
                f"cannot send pods' traffic by {uplink.name}, the NIC of the pod subnet: this kernel has no policy "
                "routing (CONFIG_IP_MULTIPLE_TABLES); use a kernel that has it, or a pool on the primary NIC"
            )
        before, self._wanted = self._wanted, wanted
        begun, self._begun = self._begun, True
        gateway, rules = (None, ()) if wanted is None else (wanted.gateway, wanted.rules)
        words = [
            *policy_tables.ask_with_mark(kernel, links, [node_nic.index] if wanted else []),
            *policy_tables.put_default(kernel, POD_TABLE, gateway, index=uplink.index, name=uplink.name),
            *policy_tables.put_rules(kernel, present, rules, ours=is_ours, of="the pods' NIC"),
        ]
        if begun and before != wanted:
            for what in words:
                log.info("the pods' nic changed", extra={"what": what})
            return []
        return words

    def _needed(self, held: Sequence[tuple[int, IPv4Address, int]], uplink: Uplink, table: NodeTable) -> PodNic:
        """Where that cannot be known now (a DHCP client that renews takes the address off for a moment), as before."""
        try:
            return pod_nic(held, uplink=uplink, primary=table.primary)
        except DatapathError:
            if self._wanted is None or self._wanted.index != uplink.index:
                raise
            return self._wanted
