"""How many addresses of a VNet others use: other clusters, VMs, load balancers. They reduce what may be granted.

Azure counts what is in use in the VNet altogether; this cluster's part is known better from its own ledger and pools.
The two are not of one moment: for a NIC that is being written, Azure may count what was on it before or what will be.
So one count only gives bounds for the use of others, and the last known figure stays while it lies within them. Taking
either bound would let others' addresses be granted while many nodes grow, or make each growth
look like somebody else's use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.quota_usage import AzureUse
from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota
from azure_cni.model.nic import SubnetUsage
from azure_cni.quota import ledger_changes, messages
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord


@dataclass(slots=True)
class UsageReading:
    """What others find out for the rounds, which alone write the quota. `cluster.usage_reader` is its only writer."""

    used: tuple[int, float] | None = None
    """Addresses in use in the VNet as Azure counts them, and when it said so (since 1970)."""
    subnets: tuple[SubnetUsage, ...] = ()
    """The same of each of its subnets."""
    silence: Explanation = messages.NOTHING
    """Why Azure did not say it when it was last asked; nothing when it did."""
    throttled_until_s: float = 0.0
    """Until when Azure asked the controller itself to wait, since 1970; 0 when it did not."""
    nodes: int = 0
    """How many nodes were known then. A node that came later counts as somebody else's use until the next reading."""


def azure_use(quota: VNetQuota, nodes: Sequence[NodeRecord], used: tuple[int, float] | None) -> AzureUse | None:
    """The newest reading, less what this cluster uses; what the quota has where there is no newer one."""
    known = quota.azure
    if used is None or (known is not None and used[1] <= known.read_s):
        return known
    entries = dict(ledger_changes.initial_entries(nodes, limit=quota.limits.limit)) if quota.is_new else quota.entries
    outside = used_outside(used[0], nodes, entries, known=known.outside if known else None)
    return AzureUse(used[0], outside, used[1])


def used_outside(
    used: int, nodes: Iterable[NodeRecord], entries: Mapping[str, LedgerEntry], *, known: int | None
) -> int:
    """Azure's count less what this cluster uses, as near to what is `known` as can be; never below 0.

    Where nothing is known it is the most that can be.
    """
    least, most = _used_by_us(nodes, entries)
    lowest, highest = max(0, used - most), max(0, used - least)
    return highest if known is None else min(max(known, lowest), highest)


def _used_by_us(nodes: Iterable[NodeRecord], entries: Mapping[str, LedgerEntry]) -> tuple[int, int]:
    """How many addresses this cluster's NICs hold at least and at most: the pods', and each node's own.

    A vanished node's count too, until they are reclaimed: they are in the ledger still. What a node says that it holds
    is believed up to its entry: beyond that it would hide others' addresses, and these would be granted.
    """
    least, most, present = 0, 0, set()
    for node in nodes:
        entry = entries.get(node.name, LedgerEntry())
        allocated = min(node.view.allocated, entry.count)
        writes = node.write_intent if node.answered else WriteIntent.NONE
        least += 1 + (min(node.assigned, allocated) if writes is WriteIntent.SHRINK else allocated)
        most += 1 + (entry.count if writes is WriteIntent.GROW else allocated)
        present.add(node.name)
    vanished = sum(1 + entry.count for key, entry in entries.items() if key not in present)
    return least + vanished, most + vanished
