"""What the ledger of a VNet must say before anything is granted. Pure.

The ledger (`VNetQuota.status.grants`) has one entry for each node: how many addresses the node may hold, for which of
its requests that was decided, and for which NIC. Grants are decided on top of it (`pacing`); the corrections here come
first, because a grant on a ledger that leaves out what nodes hold could exceed the VNet's limit. There are three:

1. *A new ledger* (the quota was just made, or its status was removed by hand) starts with what nodes hold or could hold
   by their last grants. The smallest go first, so that under a limit that is too low as many nodes as possible keep
   what they have; what does not fit is reported as `HeldBeyondLimit` and no node loses an address.
2. *Vanished nodes* leave the ledger when `cluster.reclaimer` has found in Azure that nothing of theirs is left.
3. *A node that came back on another NIC* gets a new entry. The former NIC may still hold its addresses, in a VM that
   lives on, so its entry moves aside under a key of its own, `NODE~NIC`, and counts within the node's limit until it is
   reclaimed like that of a vanished node. `quota.admission` and `cluster.nic_checks` decide whether a node may do so.

`Changes` maps keys to the new entry, or to None where the entry goes; it becomes one merge patch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from azure_cni.api.node_ip_pool import PoolView
from azure_cni.api.vnet_quota import LedgerEntry, VNetQuota
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.quota.node_record import NodeRecord

FORMER: Final = "~"
"""Separates node and NIC in the key of a former NIC's entry; no node's name contains it."""

Entries = Mapping[str, LedgerEntry]
Changes = dict[str, LedgerEntry | None]


def after(entries: Entries, changes: Mapping[str, LedgerEntry | None]) -> dict[str, LedgerEntry]:
    """The ledger once the changes are made."""
    merged = {**entries, **changes}
    return {key: entry for key, entry in merged.items() if entry is not None}


def corrections(quota: VNetQuota, nodes: Iterable[NodeRecord], vanished: Entries) -> Changes:
    """The changes that precede every grant. `vanished` entries must have been found in this version of the ledger."""
    if quota.is_new:
        return dict(initial_entries(nodes, limit=quota.limits.limit))
    changes: Changes = dict.fromkeys(vanished)
    left = after(quota.entries, changes)
    for node in nodes:
        # A pool without a request was never written by its agent: it says nothing about its NIC.
        if node.view.request.number:
            changes |= _nic_change(left, node)
    return changes


def holding(view: PoolView) -> int:
    """What a node holds, or could hold by what it was last granted."""
    return max(view.allocated, min(view.request.count, view.granted))


def initial_entries(nodes: Iterable[NodeRecord], *, limit: int) -> Iterator[tuple[str, LedgerEntry]]:
    """The entries of a new ledger. The smallest first, so that as many nodes as possible are covered."""
    room = limit
    for node in sorted(nodes, key=lambda node: (holding(node.view), node.name)):
        count = min(holding(node.view), MAX_ADDRESSES_PER_NODE, room)
        if count:
            room -= count
            yield node.name, LedgerEntry(count, node.view.granted_for, node.nic)


def former(entries: Entries, name: str) -> dict[str, LedgerEntry]:
    """What the ledger keeps of NICs that the node had before."""
    return {key: entry for key, entry in entries.items() if key.startswith(f"{name}{FORMER}")}


def held_by_former(entries: Entries) -> Counter[str]:
    """By node, how many addresses those are: they count within the node's own limit. 0 for all other nodes.

    For all nodes at once, because a round looks at each of them.
    """
    held: Counter[str] = Counter()
    for key, entry in entries.items():
        if FORMER in key:
            held[node_of(key)] += entry.count
    return held


def _nic_change(entries: Entries, node: NodeRecord) -> Changes:
    """The changes for a node on another NIC than its entry is for; none for any other node."""
    entry = entries.get(node.name)
    # No entry: the first grant writes one with the NIC. No NIC: the agent has not identified its VM yet.
    if entry is None or not node.nic or entry.nic == node.nic:
        return {}
    # An entry without a NIC was made before the agent had identified its VM: nothing is left anywhere else.
    if not entry.nic:
        return {node.name: replace(entry, nic=node.nic)}
    # The new NIC starts with nothing granted and request 0, so the node's request is decided again for this NIC.
    changes: Changes = {node.name: LedgerEntry(nic=node.nic)}
    # What the former NIC was granted moves aside; an empty entry leaves nothing that would have to be reclaimed.
    if entry.count:
        changes[_former_key(entries, node.name, entry)] = entry
    # The node returned to a NIC that it had before: the entry that moved aside then is its entry again, or the
    # addresses on that NIC would count twice.
    for key, before in former(entries, node.name).items():
        if before.nic == node.nic:
            changes |= {key: None, node.name: before}
    return changes


def _former_key(entries: Entries, name: str, entry: LedgerEntry) -> str:
    key = f"{name}{FORMER}{entry.nic.partition('/')[2]}"
    while key in entries:  # a NIC of the same name in another resource group
        key += FORMER
    return key


def entry_of(entries: Entries, node: NodeRecord) -> LedgerEntry:
    """The node's entry; an empty one where it has none."""
    return entries.get(node.name, LedgerEntry())


def growth(entries: Entries, changes: Changes) -> int:
    """By how much the changes raise the ledger's sum; negative when they lower it."""
    before = sum(entries.get(key, LedgerEntry()).count for key in changes)
    return sum(entry.count for entry in changes.values() if entry is not None) - before


def node_of(key: str) -> str:
    """The node that an entry belongs to, also one of a former NIC."""
    return key.partition(FORMER)[0]


def by_node(entries: Entries, changes: Changes) -> list[Changes]:
    """The changes grouped by node, those that lower the ledger's sum first: others may need that room."""
    groups: dict[str, Changes] = {}
    for key, entry in changes.items():
        groups.setdefault(node_of(key), {})[key] = entry
    return sorted(groups.values(), key=lambda group: growth(entries, group))
