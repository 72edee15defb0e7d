"""Names and hardware addresses of a sandbox, all derived from what the runtime calls it.

Nothing has to be remembered to find a sandbox again: the same container ID and interface name give the same host
interface and the same two MACs, in every process and after every restart. The MACs are set when the veth is made, so
udev sees an address that somebody chose and leaves it alone (systemd.link(5), MACAddressPolicy).
"""

from __future__ import annotations

import hashlib

PREFIX = "acni"
"""Every host end of ours, and nothing else, begins so: rules match on `acni*`, and a link of that name that no ledger
knows is removed. No other plugin's names begin so (Azure's own: `azv`, with digits made as here)."""

_HEX_DIGITS = 11  # 4 + 11 = the 15 characters that Linux allows (IFNAMSIZ - 1); 44 bits against collisions


def host_ifname(container_id: str, ifname: str) -> str:
    """The interface in the node's namespace: `acni` and 11 hex digits."""
    return PREFIX + _digest(container_id, ifname).hex()[:_HEX_DIGITS]


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
