"""azure-cni's policy rules and the default routes of their tables: compared with what should be, added, removed.

The kernel itself is the memory of what an earlier agent added: preferences and tables are nobody else's. Rules and
routes are marked as the kernel's own, so that systemd-networkd leaves them when it (re)starts (see `rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Address

from azure_cni.datapath.policy import PolicyRule
from azure_cni.datapath.uplink import Link
from azure_cni.linux import rtnetlink, rules, switches
from azure_cni.linux.netlink import Netlink
from azure_cni.model.text import few


def ask_with_mark(kernel: Netlink, links: Sequence[Link], indexes: Collection[int]) -> list[str]:
    """Let the reverse path filters of these interfaces ask with a packet's mark; returns what was changed, in words."""
    unready = [link for link in links if link.index in indexes and not switches.asks_with_mark(link)]
    kernel.change(*(switches.ask_with_mark(link.name, link.index) for link in unready))
    return [f"sysctl net.ipv4.conf.{link.name}.src_valid_mark was 0: set to 1" for link in unready]


def put_default(kernel: Netlink, table: int, gateway: IPv4Address | None, *, index: int, name: str) -> list[str]:
    """Make a default route by the interface the only one of the table; none where there is no gateway."""
    present = rtnetlink.default_routes(kernel, table)
    way = [] if gateway is None else [(index, gateway)]
    if present == way:
        return []
    strays = [one for one in present if one not in way]
    kernel.change(
        *(rtnetlink.delete_default(stray, former, table=table) for stray, former in strays),
        *(rtnetlink.add_default(wanted, new, table=table) for wanted, new in way),
    )
    return [f"the default route of table {table} by {name} was missing: added"] if way else []


def put_rules(
    kernel: Netlink,
    present: Collection[PolicyRule],
    wanted: Collection[PolicyRule],
    *,
    ours: Callable[[PolicyRule], bool],
    of: str,
) -> list[str]:
    """Add what is missing of `wanted`, and remove what else is `ours`. `of` names the NICs that they are for."""
    missing = [rule for rule in wanted if rule not in present]
    strays = sorted((rule for rule in present if ours(rule) and rule not in wanted), key=str)
    kernel.change(*map(rules.add, missing), *map(rules.delete, strays))
    words = [f"policy rules of {of} were missing ({few(missing)}): added"] if missing else []
    return [*words, *([f"policy rules were left of NICs that are gone ({few(strays)}): removed"] if strays else [])]
