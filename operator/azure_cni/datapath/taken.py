"""Addresses of the pool that an interface of the node other than the NIC's has: the node answers in place of a pod.

On the NIC's own they are removed, because programs that configure it put them there for want of knowing better. What
has them on another interface (a person on `lo`, keepalived, kube-proxy's `kube-ipvs0` for an external IP of a Service)
means it and would put them back, so that is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from azure_cni.datapath.conflicts import Conflict, ConflictReason

_NAMED = 3


def conflict(held: Iterable[tuple[str, IPv4Address]], pool: Collection[IPv4Address]) -> tuple[Conflict, ...]:
    """The conflict with interfaces, by name and address, that have addresses of the pool; none where there is none."""
    taken = sorted({(address, name) for name, address in held if address in pool})
    if not taken:
        return ()
    named = ", ".join(f"{address} on {name}" for address, name in taken[:_NAMED])
    more = " and more" if len(taken) > _NAMED else ""
    address, name = taken[0]
    message = (
        f"interfaces of the node have addresses that are for pods: {named}{more}. The node answers for the pods "
        f"that get them. Run: ip address delete {address} dev {name} (on kube-ipvs0: take the address out of the "
        f"externalIPs of its Service)"
    )
    return (Conflict(ConflictReason.ADDRESS_ELSEWHERE, message),)
