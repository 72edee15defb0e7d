"""Nodes whose pools name another NIC than their entries are for: a VM that came back under its name, or a lie.

What such a node was granted before stays in the ledger beside its new entry until Azure says that it is gone. So that
nobody fills the ledger with NICs that never were, an entry moves aside only for a NIC that Azure shows the controller
itself; at most `MOST_FORMER` of a node's entries stay aside, all of them within the node's own limit; and a node
changes its NIC at most once a minute. Until then it is granted nothing, and its pool says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from azure_cni.api.quota import VNetQuota, nic_resource_id
from azure_cni.cluster import books, words
from azure_cni.cluster.census import Member
from azure_cni.cluster.ports import Clock, VNets
from azure_cni.cluster.words import NOTHING, Remark
from azure_cni.errors import AzureCniError, CloudUnreachable, ResourceBusy
from azure_cni.faults import Faults

MOST_FORMER: Final = 2
AGAIN_S: Final = 60.0
"""A node changes its NIC at most so often, and Azure is asked about one at most so often."""
AT_ONCE: Final = 16
"""NICs of one round: other nodes wait for its end."""
PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Changes:
    """The nodes whose NIC is another."""

    held: Mapping[str, Remark] = field(default_factory=dict)
    """Those that are granted nothing for now, and what they are told."""
    more: bool = False
    """There are more than one round asks about."""
    doubtful: frozenset[str] = frozenset()
    """Keys of entries that are for other NICs than their nodes have: Azure is to be asked about these at once."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was found of one node's NIC."""

    nic: str
    found_s: float
    remark: Remark
    """Nothing when it may change."""


class NicChanges:
    """Judges them, for one VNet."""

    def __init__(self, *, vnets: VNets, clock: Clock, faults: Faults) -> None:
        self._vnets = vnets
        self._clock = clock
        self._faults = faults
        self._verdicts: dict[str, _Verdict] = {}
        """By node: the last one, for `AGAIN_S`."""

    async def look(self, quota: VNetQuota, members: Iterable[Member]) -> Changes:
        """Ask Azure about NICs that are new to the ledger."""
        now_s = self._clock.monotonic_s()
        self._verdicts = {name: known for name, known in self._verdicts.items() if now_s < known.found_s + AGAIN_S}
        changing = [member for member in members if books.changes_nic(quota.entries, member)]
        unseen = [member for member in changing if member.name not in self._verdicts]
        unknown = unseen[:AT_ONCE]
        remarks = await asyncio.gather(*(self._judge(quota, member) for member in unknown))
        for member, remark in zip(unknown, remarks, strict=True):
            self._verdicts[member.name] = _Verdict(member.nic, now_s, remark)
        held = {member.name: found for member in changing if (found := self._remark(member)) is not None}
        doubtful = {key for member in unknown for key in books.former(quota.entries, member.name)}
        doubtful |= {member.name for member in unknown}
        return Changes(held, more=len(unseen) > AT_ONCE, doubtful=frozenset(doubtful))

    def _remark(self, member: Member) -> Remark | None:
        """What keeps it from its change now; None when nothing does."""
        known = self._verdicts.get(member.name)
        if known is None:
            return words.on_nic_unseen(member)
        if known.nic != member.nic:
            return words.on_nic_changing(member)
        return None if known.remark == NOTHING else known.remark

    async def _judge(self, quota: VNetQuota, member: Member) -> Remark:
        former = books.former(quota.entries, member.name)
        if not quota.entries[member.name].count or member.nic in {entry.nic for entry in former.values()}:
            return NOTHING  # nothing moves aside, or nothing that is not in the ledger comes in its place
        if len(former) >= MOST_FORMER:
            return words.on_former(member, former)
        try:
            with self._faults.guard("nic", about=member.name):
                return await self._seen(quota, member)
        except AzureCniError as error:
            return words.on_nic_unseen(member, why=str(error))

    async def _seen(self, quota: VNetQuota, member: Member) -> Remark:
        try:
            async with asyncio.timeout(PATIENCE_S):
                ours = await self._vnets.ours_on(nic_resource_id(member.nic, vnet_id=quota.vnet_id))
        except TimeoutError:
            raise CloudUnreachable(f"no answer within {PATIENCE_S:g} s") from None
        except ResourceBusy:  # it is there
            return NOTHING
        return words.on_nic_unseen(member, why="Azure has no such NIC") if ours is None else NOTHING
