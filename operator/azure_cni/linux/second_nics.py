"""The rules and the route of `datapath.second_nics` in the kernel: compared, added, and removed with the NIC.

The kernel itself is the memory of what an earlier agent added: preference and table are nobody else's. Rule and route
are marked as the kernel's own, so that systemd-networkd leaves them when it (re)starts (see `rules`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from azure_cni.datapath.node_table import NodeTable
from azure_cni.datapath.policy import PolicyRule
from azure_cni.datapath.second_nics import DETOUR_TABLE, Detour, detour, is_ours
from azure_cni.datapath.uplink import Link, Uplink
from azure_cni.linux import rtnetlink, rules, switches
from azure_cni.linux.netlink import Netlink
from azure_cni.model.text import few

log = logging.getLogger(__name__)


class SecondNics:
    """What this process wanted last: a subnet that comes or goes with its NIC is no repair."""

    def __init__(self) -> None:
        self._wanted: Detour | None = None

    def wanted(
        self,
        links: Sequence[Link],
        held: Sequence[tuple[int, IPv4Address, int]],
        uplink: Uplink,
        table: NodeTable,
    ) -> Detour | None:
        """What the node needs: where that cannot be known now, what it needed last."""
        found = detour(links, held, uplink=uplink.index, primary=table.primary, routable=table.routable)
        return found or self._wanted

    def put_right(
        self,
        kernel: Netlink,
        present: Collection[PolicyRule] | None,
        wanted: Detour | None,
        links: Sequence[Link],
        uplink: Uplink,
    ) -> list[str]:
        """Make it so; returns what had been changed by others, in words. DatapathError."""
        if wanted is None or present is None:
            return []
        before, self._wanted = self._wanted, wanted
        words = [*_switches(kernel, links, wanted), *_route(kernel, wanted, uplink), *_rules(kernel, present, wanted)]
        if before is not None and before != wanted:
            for what in words:
                log.info("further nics changed", extra={"what": what})
            return []
        return words


def _switches(kernel: Netlink, links: Sequence[Link], wanted: Detour) -> list[str]:
    unready = [link for link in links if link.index in wanted.nics and not switches.asks_with_mark(link)]
    kernel.change(*(switches.ask_with_mark(link.name, link.index) for link in unready))
    return [f"sysctl net.ipv4.conf.{link.name}.src_valid_mark was 0: set to 1" for link in unready]


def _route(kernel: Netlink, wanted: Detour, uplink: Uplink) -> list[str]:
    """Before the rules that ask for it."""
    present = rtnetlink.default_routes(kernel, DETOUR_TABLE)
    way = [(uplink.index, wanted.gateway)] if wanted.destinations else []
    if present == way:
        return []
    strays = [one for one in present if one not in way]
    kernel.change(
        *(rtnetlink.delete_default(index, gateway, table=DETOUR_TABLE) for index, gateway in strays),
        *(rtnetlink.add_default(index, gateway, table=DETOUR_TABLE) for index, gateway in way),
    )
    return [f"the default route of table {DETOUR_TABLE} by {uplink.name} was missing: added"] if way else []


def _rules(kernel: Netlink, present: Collection[PolicyRule], wanted: Detour) -> list[str]:
    missing = [rule for rule in wanted.rules if rule not in present]
    strays = sorted((rule for rule in present if is_ours(rule) and rule not in wanted.rules), key=str)
    kernel.change(*map(rules.add, missing), *map(rules.delete, strays))
    words = [f"policy rules of further NICs were missing ({few(missing)}): added"] if missing else []
    return [*words, *([f"policy rules were left of NICs that are gone ({few(strays)}): removed"] if strays else [])]
