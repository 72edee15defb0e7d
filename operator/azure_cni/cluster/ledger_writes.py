"""Writing the ledger where the API server refuses it: the entries that it refuses are found, and the others written.

All that a round reserves is one write, so one entry that the API server does not take would keep all nodes from their
addresses. Such a write is halved until the entries stand alone. What a half writes was decided together with the other
half, and each write is a compare-and-swap on the version that the one before it made: whoever writes in between ends
it, as it ends a single write. Entries that lower the sum go first, because others may need that room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from azure_cni.api.quota import Draft, LedgerEntry, VNetQuota
from azure_cni.cluster import words
from azure_cni.cluster.books import FORMER, Changes
from azure_cni.cluster.census import Member
from azure_cni.cluster.ports import Clock
from azure_cni.cluster.quota_keeper import QuotaKeeper
from azure_cni.cluster.words import Remark
from azure_cni.errors import KubeInvalid

log = logging.getLogger(__name__)

AGAIN_S: Final = 300.0
"""When an entry that was refused is tried again, if its node asks for nothing else before."""
MOST_ALONE: Final = 8
"""Entries that are found in one round. Where there are more it is hardly the entries: the round fails."""

Drafting = Callable[[VNetQuota, Changes], Draft]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What one node asked when its entry was refused."""

    request_id: int
    nic: str
    until_s: float
    why: str


class LedgerWrites:
    """Writes one VNet's ledger, and knows whose entries were refused."""

    def __init__(self, keeper: QuotaKeeper, clock: Clock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._refused: dict[str, _Refusal] = {}

    def refused(self, members: Iterable[Member]) -> dict[str, Remark]:
        """The nodes that are left out, and what they are told. One that asks for something else is tried."""
        now_s, present = self._clock.monotonic_s(), {member.name: member for member in members}
        for name, known in list(self._refused.items()):
            member = present.get(name)
            asks = None if member is None else (member.view.request.number, member.nic)
            if now_s >= known.until_s or asks != (known.request_id, known.nic):
                del self._refused[name]
        return {name: words.on_refused_entry(name, known.why) for name, known in self._refused.items()}

    async def write(
        self, quota: VNetQuota, changes: Changes, *, members: Mapping[str, Member], draft: Drafting
    ) -> VNetQuota:
        """Write what can be written of the changes; returns the quota as it is then.

        `draft` makes the draft for some of the changes. KubeInvalid when it is not for an entry that it is refused.
        """
        try:
            return await self._keeper.write(quota, draft(quota, changes))
        except KubeInvalid:
            if self._has_changed(quota):
                raise
        quota = await self._keeper.write(quota, draft(quota, {}))
        pending, alone = [_groups(quota, changes)], 0
        while pending:
            groups = pending.pop(0)
            part = {key: entry for group in groups for key, entry in group.items()}
            try:
                quota = await self._keeper.write(quota, draft(quota, part)) if part else quota
            except KubeInvalid as error:
                if self._has_changed(quota):
                    raise
                half = len(groups) // 2
                if half:
                    pending[:0] = [groups[:half], groups[half:]]
                    continue
                alone += 1
                if alone > MOST_ALONE:
                    raise
                self._note(next(iter(part)).partition(FORMER)[0], members, error)
        return quota

    def _has_changed(self, quota: VNetQuota) -> bool:
        """Whether the object is no longer as it was: then it was refused for what somebody changed."""
        known = self._keeper.quota
        return known is None or known.version != quota.version

    def _note(self, name: str, members: Mapping[str, Member], error: KubeInvalid) -> None:
        log.warning("the api server refuses a node's entry", extra={"node": name, "error": str(error)})
        member = members.get(name)
        if member is not None:
            until_s = self._clock.monotonic_s() + AGAIN_S
            self._refused[name] = _Refusal(member.view.request.number, member.nic, until_s, str(error))


def _groups(quota: VNetQuota, changes: Changes) -> list[Changes]:
    """The changes of each node together; those that lower the sum first."""
    groups: dict[str, Changes] = {}
    for key, entry in changes.items():
        groups.setdefault(key.partition(FORMER)[0], {})[key] = entry

    def growth(group: Changes) -> int:
        before = sum(quota.entries.get(key, LedgerEntry()).count for key in group)
        return sum(entry.count for entry in group.values() if entry is not None) - before

    return sorted(groups.values(), key=growth)
