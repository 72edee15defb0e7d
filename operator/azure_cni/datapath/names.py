"""Names and hardware addresses of a sandbox, all derived from what the runtime calls it.

Nothing has to be remembered to find a sandbox again: the same container ID and interface name give the same host
interface and the same two MACs, in every process and after every restart. The MACs are set when the veth is made, so
udev sees an address that somebody chose and leaves it alone (systemd.link(5), MACAddressPolicy).

**Calico's names.** Calico's policy engine finds a pod by a link whose name it derives from the pod, not from the
sandbox. Such a link has that name, and the one that is derived here as an alternative name (ip-link(8), `property add
altname`). The kernel finds a link by either, so whatever finds a sandbox again does so without knowing how its link was
named, and a change of the setting concerns new sandboxes only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address

PREFIX = "acni"
"""Every host end that the agent makes, and nothing else, begins so: a link of that name that no ledger knows is
removed. No other plugin's names begin so (Azure's own: `azv`, with digits made as here)."""

OFFERED_PREFIX = "acnd"
"""The container's end of a link, until the runtime moves it into the container. Only these names begin so: the end goes
with the node's end."""

GROUP = 0x61636E6A
"""The link group of host ends (`ip link show group 1633906282`), by which a policy rule knows the routes to pods from
all other host routes of the node: see `policy`."""

BRIDGE = "azure0"
"""The bridge of mode `bridge`, one for each node."""

BRIDGE_MAC = "02:61:7a:75:72:65"
"""Of every node's bridge: nothing of it leaves the node, so it need not differ. 02 is locally administered, the rest
says `azure` (ASCII)."""

_HEX_DIGITS = 11  # 4 + 11 = the 15 characters that Linux allows (IFNAMSIZ - 1); 44 bits against collisions


POD_IFNAME = "eth0"
"""The interface that Kubernetes, and so Calico, knows of a pod."""


def calico_ifname(namespace: str, pod: str) -> str:
    """The name by which Calico looks for a pod's link, with its `interfacePrefix` set to `acni`."""
    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False)
    return PREFIX + digest.hexdigest()[:_HEX_DIGITS]


def derived(name: str, aliases: Sequence[str]) -> str:
    """Of the names of a host end the one that `host_ifname` gave."""
    return next((alias for alias in aliases if alias.startswith(PREFIX)), name)


def host_ifname(container_id: str, ifname: str) -> str:
    """The interface in the node's namespace: `acni` and 11 hex digits."""
    return PREFIX + _digest(container_id, ifname).hex()[:_HEX_DIGITS]


def offered_ifname(container_id: str, ifname: str) -> str:
    """The container's end while it is in the node's namespace: `acnd` and the digits of the node's end."""
    return OFFERED_PREFIX + host_ifname(container_id, ifname).removeprefix(PREFIX)


def link_gateway(container_id: str, ifname: str) -> IPv4Address:
    """The next hop of a container whose runtime sets its routes: link-local, and another one for each of its links.

    169.254.64.1 to 169.254.127.254, which nobody serves anything at (the metadata service: 169.254.169.254).
    """
    first, second = _digest(container_id, ifname)[:2]
    return IPv4Address(f"169.254.{64 + first % 64}.{1 + second % 254}")


def host_mac(container_id: str, ifname: str) -> str:
    """The MAC of the host end: the pod's permanent neighbour for its gateway."""
    return _mac(_digest(container_id, ifname)[8:14])


def pod_mac(container_id: str, ifname: str) -> str:
    """The MAC of the pod's end: the node's permanent neighbour for the pod."""
    return _mac(_digest(container_id, ifname)[14:20])


def _digest(container_id: str, ifname: str) -> bytes:
    return hashlib.sha1(f"{container_id}/{ifname}".encode(), usedforsecurity=False).digest()


def _mac(octets: bytes) -> str:
    """Six octets as a unicast, locally administered address (IEEE 802: bit 0 clear, bit 1 set in the first)."""
    return bytes([octets[0] & 0xFC | 0x02, *octets[1:]]).hex(":")
