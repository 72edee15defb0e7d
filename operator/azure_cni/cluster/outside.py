"""How many addresses of a VNet others use: other clusters, VMs, load balancers. They are taken off what may be granted.

Azure counts what is used in the VNet altogether; what is ours of it we know best ourselves. The two are not of one
moment: an entry whose node is growing counts as grown, so that a growth under way never looks like somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from azure_cni.api.pool import Wants
from azure_cni.api.quota import LedgerEntry
from azure_cni.cluster.census import Member


def used_by_us(members: Iterable[Member], entries: Mapping[str, LedgerEntry]) -> int:
    """Addresses that this cluster's NICs hold: the pods', and each node's own.

    A vanished node's count too, until they are reclaimed: they are in the ledger still.
    """
    ours, present = 0, set()
    for member in members:
        entry = entries.get(member.name, LedgerEntry())
        growing = member.wants is Wants.GROW and member.answered and member.view.allocated < entry.count
        ours += 1 + (entry.count if growing else member.view.allocated)
        present.add(member.name)
    return ours + sum(1 + entry.count for key, entry in entries.items() if key not in present)


def used_outside(used: int, members: Iterable[Member], entries: Mapping[str, LedgerEntry]) -> int:
    """What is left of Azure's count when ours is taken off; never below 0."""
    return max(0, used - used_by_us(members, entries))
