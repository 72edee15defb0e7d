"""What the ledger must say before anything is granted, and what the quota's status tells besides. Pure.

A new ledger begins with what nodes hold or could hold already; nothing is granted before that is in it. A node's name
that came back on another NIC leaves its former entry behind under another key, to be reclaimed like a vanished node's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from azure_cni.api import quota as quota_api
from azure_cni.api import times
from azure_cni.api.pool import PoolView
from azure_cni.api.quota import AzureUse, Draft, LedgerEntry, VNetQuota
from azure_cni.api.reading import mappings, text
from azure_cni.cluster import words
from azure_cni.cluster.census import Member
from azure_cni.cluster.outside import used_outside
from azure_cni.cluster.words import Remark
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE

FORMER: Final = "~"
"""Stands in the key of an entry whose node came back on another NIC; no node's name holds it."""

Entries = Mapping[str, LedgerEntry]
Changes = dict[str, LedgerEntry | None]


@dataclass(slots=True)
class Findings:
    """What is found out beside the rounds for them to write: they are the only writer of their quota."""

    used: tuple[int, float] | None = None
    """Addresses in use in the VNet as Azure counts them, and when it said so (since 1970)."""
    silence: Remark = words.NOTHING
    """Why Azure did not say it when it was last asked; nothing when it did."""
    throttled_until_s: float = 0.0
    """Until when Azure asked the controller itself to wait, since 1970; 0 when it did not."""
    nodes: int = 0
    """How many nodes were known then. The own address of any other was taken for somebody else's."""


def after(entries: Entries, changes: Mapping[str, LedgerEntry | None]) -> dict[str, LedgerEntry]:
    """The ledger once the changes are made."""
    merged = {**entries, **changes}
    return {key: entry for key, entry in merged.items() if entry is not None}


def corrections(quota: VNetQuota, members: Iterable[Member], vanished: Entries) -> Changes:
    """What the ledger must say before anything is granted. `vanished` was found of this version of it."""
    if quota.is_new:
        return dict(_held(members, limit=quota.limits.limit))
    changes: Changes = dict.fromkeys(vanished)
    left = after(quota.entries, changes)
    for member in members:
        if member.view.request.number:
            changes |= _settled_in(left, member)
    return changes


def holding(view: PoolView) -> int:
    """What a node holds, or could hold by what it was last granted."""
    return max(view.allocated, min(view.request.count, view.granted))


def uncovered(quota: VNetQuota, members: Iterable[Member]) -> int:
    """Addresses on NICs that the ledger has no room for: the limit was set below what nodes held already.

    Those of a node whose entry is only still to come, for which there is room, are not among them.
    """
    missing = sum(max(0, member.view.allocated - _of(quota.entries, member).count) for member in members)
    return max(0, min(missing, quota.granted + missing - quota.grantable))


def _held(members: Iterable[Member], *, limit: int) -> Iterator[tuple[str, LedgerEntry]]:
    """The entries of a new ledger. The smallest first, so that as many nodes as possible are covered."""
    room = limit
    for member in sorted(members, key=lambda member: (holding(member.view), member.name)):
        count = min(holding(member.view), MAX_ADDRESSES_PER_NODE, room)
        if count:
            room -= count
            yield member.name, LedgerEntry(count, member.view.granted_for, member.nic)


def changes_nic(entries: Entries, member: Member) -> bool:
    """Whether the node's pool names another NIC than its entry is for."""
    entry = entries.get(member.name)
    return bool(member.view.request.number and entry and entry.nic and member.nic and entry.nic != member.nic)


def former(entries: Entries, name: str) -> dict[str, LedgerEntry]:
    """What the ledger keeps of NICs that the node had before."""
    return {key: entry for key, entry in entries.items() if key.startswith(f"{name}{FORMER}")}


def held_by_former(entries: Entries, name: str) -> int:
    """How many addresses those are: they count within the node's own limit."""
    return sum(entry.count for entry in former(entries, name).values())


def _settled_in(entries: Entries, member: Member) -> Changes:
    """Nothing, unless the node came back on another NIC than its entry is for (`nic_changes` let it)."""
    entry = entries.get(member.name)
    if entry is None or not member.nic or entry.nic == member.nic:
        return {}
    if not entry.nic:
        return {member.name: replace(entry, nic=member.nic)}
    changes: Changes = {member.name: LedgerEntry(nic=member.nic)}
    if entry.count:
        changes[_former_key(entries, member.name, entry)] = entry
    for key, before in former(entries, member.name).items():
        if before.nic == member.nic:  # it was there before
            changes |= {key: None, member.name: before}
    return changes


def _former_key(entries: Entries, name: str, entry: LedgerEntry) -> str:
    key = f"{name}{FORMER}{entry.nic.partition('/')[2]}"
    while key in entries:  # a NIC of the same name in another resource group
        key += FORMER
    return key


def _of(entries: Entries, member: Member) -> LedgerEntry:
    return entries.get(member.name, LedgerEntry())


def status_fields(
    quota: VNetQuota, members: Sequence[Member], *, silence: Remark, now_s: float, refused: Collection[str] = ()
) -> dict[str, Any]:
    """The sums and conditions of a quota whose ledger and limits are as `quota` has them; all but the budget.

    `silence`: why Azure does not say how full the VNet is. `refused`: nodes whose entries the API server refuses.
    """
    short = [count for member in members if (count := _short(quota, member))]
    throttled_until_s = quota.throttled_until_s
    findings = (
        words.exhausted(quota, short=sum(short), nodes=len(short), uncovered=uncovered(quota, members)),
        words.throttled(throttled_until_s),
        words.usage(quota, silence),
        words.refused_entries(refused),
    )
    before = mappings(quota.status.get("conditions"))
    return {
        "granted": quota.granted,
        "assigned": sum(member.assigned for member in members),
        "nodes": sum(1 for entry in quota.entries.values() if entry.count),
        "azure": quota_api.azure_document(quota.azure) if quota.azure else None,
        "throttledUntil": times.text(throttled_until_s) if throttled_until_s else None,
        "conditions": quota_api.conditions(before, findings, now=times.text(now_s), generation=quota.generation),
        "observedGeneration": quota.generation,
    }


def _short(quota: VNetQuota, member: Member) -> int:
    """What the VNet's limit keeps from a node, beyond what the node's own limit does."""
    entry, request = _of(quota.entries, member), member.view.request
    if entry.request_id != request.number:
        return 0
    per_node = quota.limits.per_node - held_by_former(quota.entries, member.name)
    return max(0, min(request.count, per_node) - entry.count)


def is_due(quota: VNetQuota, draft: Draft, *, calm: bool) -> bool:
    """Whether to write what differs, for no entry's sake: at once what people or nodes wait for, else when `calm`."""
    sudden = {"granted", "nodes", "azure", "throttledUntil", "observedGeneration"}
    turned = "conditions" in draft.fields and _facts(quota.status) != _facts(draft.fields)
    return turned or not sudden.isdisjoint(draft.fields) or (calm and bool(draft.fields))


def _facts(status: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        text(one.get("type")): (text(one.get("status")), text(one.get("reason")))
        for one in mappings(status.get("conditions"))
    }


def azure_use(quota: VNetQuota, members: Sequence[Member], used: tuple[int, float] | None) -> AzureUse | None:
    """The newest reading, with what is ours taken off; what the quota has where there is no newer one."""
    known = quota.azure
    if used is None or (known is not None and used[1] <= known.read_s):
        return known
    entries = dict(_held(members, limit=quota.limits.limit)) if quota.is_new else quota.entries
    outside = used_outside(used[0], members, entries, known=known.outside if known else None)
    return AzureUse(used[0], outside, used[1])
