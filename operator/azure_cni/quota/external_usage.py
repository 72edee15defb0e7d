"""How many addresses of a VNet others use: other clusters, VMs, load balancers. They reduce what may be granted.

Azure counts what is in use in the VNet altogether; this cluster's part is known better from its own ledger and pools.
The two are not of one moment: for a NIC that is being written, Azure may count what was on it before or what will be,
and a write that ends while Azure is asked, or before a round uses the answer, is over in the pools and may not be in
the count. So what nodes hold is looked at before Azure is asked (`held_bounds`) and in the round, and one count only
gives bounds for the use of others: the last known figure stays while it lies within them. Taking either bound would let
others' addresses be granted while many nodes grow, or make each write look like somebody else's use until the next
count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.api.quota_usage import AzureUse
from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota
from azure_cni.model.nic import SubnetUsage
from azure_cni.quota import ledger_changes, messages
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord

HeldBounds: TypeAlias = Mapping[str, tuple[int, int]]
"""By key of the ledger: how many addresses that NIC holds at least and at most, the node's own included."""
UNKNOWN: Final[HeldBounds] = MappingProxyType({})
NOTHING_HELD: Final = (0, 0)


@dataclass(slots=True)
class UsageReading:
    """What others find out for the rounds, which alone write the quota. `cluster.usage_reader` is its only writer."""

    used: tuple[int, float] | None = None
    """Addresses in use in the VNet as Azure counts them, and when it said so (since 1970)."""
    before: HeldBounds = field(default_factory=lambda: UNKNOWN)
    """What this cluster held when Azure was asked for it, as far as was known."""
    subnets: tuple[SubnetUsage, ...] = ()
    """The same of each of its subnets."""
    silence: Explanation = messages.NOTHING
    """Why Azure did not say it when it was last asked; nothing when it did."""
    throttled_until_s: float = float("-inf")
    """Monotonic time until which Azure asked the controller itself to wait."""
    nodes: int = 0
    """How many nodes were known then. A node that came later counts as somebody else's use until the next reading."""


def looseness(held: HeldBounds) -> int:
    """How many addresses may be on these NICs or not: what a count of Azure cannot tell from others' use now."""
    return sum(most - least for least, most in held.values())


def azure_use(quota: VNetQuota, nodes: Sequence[NodeRecord], reading: UsageReading) -> AzureUse | None:
    """The newest reading, less what this cluster uses; what the quota has where there is no newer one."""
    known, used = quota.azure, reading.used
    if used is None or (known is not None and used[1] <= known.read_s):
        return known
    entries = dict(ledger_changes.initial_entries(nodes, limit=quota.limits.limit)) if quota.is_new else quota.entries
    before = known.outside if known else None
    return AzureUse(used[0], used_outside(used[0], nodes, entries, known=before, before=reading.before), used[1])


def used_outside(
    used: int,
    nodes: Iterable[NodeRecord],
    entries: Mapping[str, LedgerEntry],
    *,
    known: int | None,
    before: HeldBounds = UNKNOWN,
) -> int:
    """Azure's count less what this cluster uses, as near to what is `known` as can be; never below 0.

    `before`: what this cluster held when Azure was asked. Where nothing is known it is the most that can be.
    """
    now = held_bounds(nodes, entries)
    # What is in one of the two only has come or gone since: a node that joined has had its NIC before that.
    both = {key: (now.get(key, NOTHING_HELD), before.get(key, now.get(key, NOTHING_HELD))) for key in {*now, *before}}
    least = sum(min(one[0], other[0]) for one, other in both.values())
    most = sum(max(one[1], other[1]) for one, other in both.values())
    lowest, highest = max(0, used - most), max(0, used - least)
    return highest if known is None else min(max(known, lowest), highest)


def held_bounds(nodes: Iterable[NodeRecord], entries: Mapping[str, LedgerEntry]) -> dict[str, tuple[int, int]]:
    """How many addresses each of this cluster's NICs holds at least and at most: the pods', and each node's own.

    A vanished node's count too, until they are reclaimed: they are in the ledger still. What a node says that it holds
    is believed up to its entry: beyond that it would hide others' addresses, and these would be granted.
    """
    found = {key: (1 + entry.count, 1 + entry.count) for key, entry in entries.items()}
    for node in nodes:
        entry = entries.get(node.name, LedgerEntry())
        allocated = min(node.view.allocated, entry.count)
        writes = node.write_intent if node.answered else WriteIntent.NONE
        least = min(node.assigned, allocated) if writes is WriteIntent.SHRINK else allocated
        most = entry.count if writes is WriteIntent.GROW else allocated
        found[node.name] = (1 + least, 1 + most)
    return found
