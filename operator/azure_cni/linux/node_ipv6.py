"""What a node needs beyond its table so that its pods' IPv6 is forwarded, and its own goes on. Only where pods have it.

**Forwarding** is one switch of the whole namespace. Turning it on makes the node a router, and a router does not listen
to other routers: the kernel drops every default route that it has learned from one, and with `accept_ra` 1 it learns
none any more. On Azure that would be the node's own default route, which comes by router advertisement. So those that
listen to a router are first set to go on (2). Where a program of the node does that instead of the kernel (0:
systemd-networkd, NetworkManager), nothing is changed.

**A host whose IPv6 is off** cannot have such pods, and somebody wanted it so: that is an error, with the switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from azure_cni.datapath import policy
from azure_cni.datapath.node_table import NodeTable
from azure_cni.datapath.policy import OURS_IPV6
from azure_cni.datapath.uplink import Link, Uplink
from azure_cni.errors import DatapathError
from azure_cni.linux import rtnetlink, rules, switches
from azure_cni.linux import rtnetlink_format as rt
from azure_cni.linux.netlink import Netlink

_CONF: Final = "net/ipv6/conf"
_FORWARDING: Final = f"{_CONF}/all/forwarding"


def put_right(
    kernel: Netlink, directory: Path, links: Sequence[Link], table: NodeTable, *, uplink: Uplink
) -> list[str]:
    """Make it so, and say what was not; nothing in one family. `directory` is where /proc/sys can be written.

    DatapathError where this node cannot have pods with IPv6.
    """
    if not table.dual:
        return []
    if table.node_nic is not None:
        raise DatapathError(
            f"cannot give pods IPv6 addresses on {uplink.name}, the NIC of the pod subnet: what they send would leave "
            "by the node's own NIC, and Azure would drop it; use one family, or a pool on the primary NIC"
        )
    _require_ipv6(directory)
    return [
        *_keep_listening(kernel, directory, links, uplink),
        *([switches.was_off(_FORWARDING)] if switches.turn_on(directory, _FORWARDING) else []),
        *_policy(kernel),
    ]


def _require_ipv6(directory: Path) -> None:
    for scope in ("all", "default"):
        name = f"{_CONF}/{scope}/disable_ipv6"
        if switches.read_sysctl(directory, name) != "0":
            raise DatapathError(
                f"cannot give pods IPv6 addresses: sysctl {switches.dotted(name)} is on; set it to 0 on the node, or "
                "use one family"
            )


def _keep_listening(kernel: Netlink, directory: Path, links: Sequence[Link], uplink: Uplink) -> list[str]:
    """Those that have, or may get, a default route of the node from a router."""
    leading = {index for index, route in rtnetlink.routes(kernel, family=rt.AF_INET6) if route.is_default}
    names = [link.name for link in links if link.index in leading | {uplink.index}]
    paths = [f"{_CONF}/{name}/accept_ra" for name in names]
    listening = [path for path in paths if switches.read_sysctl(directory, path) == "1"]
    return [
        f"sysctl {switches.dotted(path)} was 1: set to 2, so that the node keeps its default route"
        for path in listening
        if switches.put_sysctl(directory, path, "2")
    ]


def _policy(kernel: Netlink) -> list[str]:
    present = rules.read(kernel, rt.AF_INET6)
    missing = policy.absence_ipv6(present) if present is not None else ""
    if missing:
        kernel.change(rules.add(OURS_IPV6))
    return [f"{missing}: added"] if missing else []
