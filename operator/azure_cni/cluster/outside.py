"""How many addresses of a VNet others use: other clusters, VMs, load balancers. They are taken off what may be granted.

Azure counts what is used in the VNet altogether; what is ours of it we know best ourselves. The two are not of one
moment: of a NIC that is being written Azure may count what was on it before, or what will be. So a count tells only
between which bounds the use of others lies, and what is known of it stays as long as it lies between them. To take
either bound would let others' addresses be granted while many nodes grow, or each growth look like somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from azure_cni.api.pool import Wants
from azure_cni.api.quota import LedgerEntry
from azure_cni.cluster.census import Member


def used_outside(used: int, members: Iterable[Member], entries: Mapping[str, LedgerEntry], *, known: int | None) -> int:
    """What is left of Azure's count when ours is taken off, as near to what is `known` as can be; never below 0.

    Where nothing is known it is the most that can be.
    """
    least, most = _used_by_us(members, entries)
    lowest, highest = max(0, used - most), max(0, used - least)
    return highest if known is None else min(max(known, lowest), highest)


def _used_by_us(members: Iterable[Member], entries: Mapping[str, LedgerEntry]) -> tuple[int, int]:
    """How many addresses this cluster's NICs hold at least and at most: the pods', and each node's own.

    A vanished node's count too, until they are reclaimed: they are in the ledger still. What a node says that it holds
    is believed up to its entry: beyond that it would hide others' addresses, and these would be granted.
    """
    least, most, present = 0, 0, set()
    for member in members:
        entry = entries.get(member.name, LedgerEntry())
        allocated = min(member.view.allocated, entry.count)
        writes = member.wants if member.answered else Wants.NOTHING
        least += 1 + (min(member.assigned, allocated) if writes is Wants.RELEASE else allocated)
        most += 1 + (entry.count if writes is Wants.GROW else allocated)
        present.add(member.name)
    vanished = sum(1 + entry.count for key, entry in entries.items() if key not in present)
    return least + vanished, most + vanished
