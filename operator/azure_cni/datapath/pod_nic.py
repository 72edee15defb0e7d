"""Pods on a NIC of their own: the policy rules that send what they send by it. Pure.

The pool is on a further NIC of the VM, in a pod subnet; the node's own address stays on the primary NIC. Azure carries
a pod's address by the pods' NIC and by no other, whatever the destination is. So there are two rules by source, behind
rule 90, which leads to the pods of this node (`policy`), and rule 91, by which what has the node's address leaves by
the node's NIC (`second_nics`):

    92: from POD SUBNET fwmark 0x40/0x40 lookup 1633906282    by the node's NIC: its table is that of rule 91
    93: from POD SUBNET fwmark 0/0x20 lookup 1633906283       by the pods' NIC: a default route to its subnet's gateway

Packets with the first mark belong to connections that came in by the node's NIC and were led on to a pod, or go to
Azure's platform, which answers the node's address only (`leaving` sets the mark); those with the second to connections
that came in by a third NIC (`second_nics`). The gateway, in Azure's fabric, is the way to the subnet itself as well.

**Reverse path filters** ask the same rules with the addresses exchanged, so they may be strict. What comes in by the
node's NIC for a pod is asked with its mark: `src_valid_mark` is turned on there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from azure_cni.datapath.leaving import NODE_MARK
from azure_cni.datapath.policy import PolicyRule
from azure_cni.datapath.second_nics import DETOUR_PREFERENCE, DETOUR_TABLE, SPARED_MARK, subnet_of
from azure_cni.datapath.uplink import Uplink
from azure_cni.errors import DatapathError

RETURN_PREFERENCE: Final = DETOUR_PREFERENCE + 1
POD_PREFERENCE: Final = DETOUR_PREFERENCE + 2
POD_TABLE: Final = DETOUR_TABLE + 1


@dataclass(frozen=True, slots=True)
class PodNic:
    """The pods' NIC: the index of its interface, and its subnet."""

    index: int
    subnet: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """Azure reserves the first address of each subnet for it (virtual network FAQ)."""
        return self.subnet.network_address + 1

    @property
    def rules(self) -> tuple[PolicyRule, ...]:
        """All policy rules of this module's that the kernel should have."""
        by_node = (RETURN_PREFERENCE, DETOUR_TABLE, (NODE_MARK, NODE_MARK))
        by_pods = (POD_PREFERENCE, POD_TABLE, (0, SPARED_MARK))
        return tuple(
            PolicyRule(preference, table, source=self.subnet, narrowed=True, mark=mark)
            for preference, table, mark in (by_node, by_pods)
        )


def pod_nic(held: Iterable[tuple[int, IPv4Address, int]], *, uplink: Uplink, primary: IPv4Address) -> PodNic:
    """By the node's addresses (index, address, prefix length). DatapathError while the pods' NIC, whose primary address
    is `primary`, does not have it in the kernel: its subnet is not known then.
    """
    subnet = subnet_of(held, index=uplink.index, primary=primary)
    if subnet is None:
        raise DatapathError(
            f"cannot send pods' traffic by {uplink.name}, the NIC of the pod subnet: it does not have its address "
            f"{primary}; let the node's network configuration bring {uplink.name} up with DHCP (see: ip address show "
            f"dev {uplink.name})"
        )
    return PodNic(uplink.index, subnet)


def is_ours(rule: PolicyRule) -> bool:
    """Whether it is one of this module's, of whichever release."""
    return (rule.preference, rule.table) in {(RETURN_PREFERENCE, DETOUR_TABLE), (POD_PREFERENCE, POD_TABLE)}
