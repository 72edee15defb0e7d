"""Pods' addresses on interfaces of the node, which then answers in their place: taken off the NIC's interface, and
reported on all others.

The NIC's interface is configured by programs that know of no pods, so what they put there is a mistake, and removed: it
would come back only with their next look at the NIC. An address on any other interface was meant (a person's on `lo`,
keepalived's, kube-proxy's on `kube-ipvs0` for an external IP of a Service), and its owner would put it back at once:
only a person can end that.

cloud-init puts every secondary address there at boot, of both families (its Azure datasource's default,
`apply_network_config_for_secondary_ips`); nm-cloud-setup and cloud-netconfig do so whenever the NIC changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

from azure_cni.datapath import policy
from azure_cni.datapath.conflicts import Conflict, address_elsewhere
from azure_cni.datapath.node_table import NodeTable
from azure_cni.datapath.policy import PolicyRule
from azure_cni.datapath.uplink import Link, Uplink
from azure_cni.linux import rtnetlink, switches
from azure_cni.linux.netlink import Netlink
from azure_cni.model.nic import Address
from azure_cni.model.text import few

Held: TypeAlias = Sequence[tuple[int, Address, int]]
"""Addresses with their interface's index and prefix length."""


def of_ipv6(kernel: Netlink, table: NodeTable, index: int = 0) -> Held:
    """What the node's interfaces have of IPv6, where pods have that; one of them if `index` is given."""
    return rtnetlink.ipv6_addresses(kernel, index) if table.dual else []


def take_off(kernel: Netlink, link: Uplink, table: NodeTable, present: Collection[PolicyRule]) -> list[str]:
    """Bare the uplink of them; returns what there was, and by whom, as its policy rules `present` show."""
    held: Held = [*rtnetlink.addresses(kernel, link.index), *of_ipv6(kernel, table, link.index)]
    strays: list[tuple[Address, int]] = [(address, prefix) for _, address, prefix in held if address in table.addresses]
    if not strays:
        return []
    kernel.change(
        switches.promote_secondaries(link.name, link.index),
        *(rtnetlink.delete_address(link.name, link.index, address, prefix=prefix) for address, prefix in strays),
    )
    named = few([address for address, _ in sorted(strays, key=_order)])
    return [f"{link.name} had addresses of pods ({named}): removed; {policy.culprit(present, table.pool)}"]


def elsewhere(links: Sequence[Link], found: Held, uplink: Uplink, table: NodeTable) -> tuple[Conflict, ...]:
    """The conflict with those on other interfaces than the uplink."""
    names = {link.index: link.name for link in links}
    others = [(names.get(index, "?"), address) for index, address, _ in found if index != uplink.index]
    return address_elsewhere(others, table.addresses)


def _order(stray: tuple[Address, int]) -> tuple[int, int]:
    return stray[0].version, int(stray[0])
