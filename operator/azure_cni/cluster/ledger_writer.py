"""Writes the ledger even if the API server refuses some entries: it finds those, and writes the others.

All that a round reserves is one write, so a single refused entry would keep all nodes from their addresses. A refused
write is halved until the refused entries stand alone. Both halves come from one decision, and each write is a
compare-and-swap on the version that the one before it made, so a write by anyone else in between ends the series as it
would end a single write. Entries that lower the sum go first, because others may need that room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from azure_cni.api.vnet_quota import Draft, VNetQuota
from azure_cni.cluster.ports import ControllerClock
from azure_cni.cluster.quota_cache import QuotaCache
from azure_cni.errors import KubeInvalid
from azure_cni.quota import messages
from azure_cni.quota.ledger_changes import Changes, by_node, node_of
from azure_cni.quota.messages import Explanation
from azure_cni.quota.node_record import NodeRecord

log = logging.getLogger(__name__)

REFUSED_RETRY_S: Final = 300.0
"""When a refused entry is retried, if its node does not ask for something else before."""
MOST_REFUSED: Final = 8
"""Refused entries found in one round. If there are more, the cause is hardly the entries, and the round fails."""

Drafting = Callable[[VNetQuota, Changes], Draft]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What one node asked when its entry was refused."""

    request_id: int
    nic: str
    until_s: float
    why: str


class LedgerWriter:
    """Writes one VNet's ledger, and knows whose entries were refused."""

    def __init__(self, cache: QuotaCache, clock: ControllerClock) -> None:
        self._cache = cache
        self._clock = clock
        self._refused: dict[str, _Refusal] = {}

    def refused(self, nodes: Iterable[NodeRecord]) -> dict[str, Explanation]:
        """The nodes that are left out, and why. An entry is retried when its node asks for something else."""
        now_s, present = self._clock.monotonic_s(), {node.name: node for node in nodes}
        for name, known in list(self._refused.items()):
            node = present.get(name)
            asks = None if node is None else (node.view.request.number, node.nic)
            if now_s >= known.until_s or asks != (known.request_id, known.nic):
                del self._refused[name]
        return {name: messages.on_refused_entry(name, known.why) for name, known in self._refused.items()}

    async def write(
        self, quota: VNetQuota, changes: Changes, *, nodes: Mapping[str, NodeRecord], draft: Drafting
    ) -> VNetQuota:
        """Write as many of the changes as possible; returns the quota afterwards.

        `draft` makes the draft for some of the changes. KubeInvalid when no single entry is the cause of the refusal.
        """
        try:
            return await self._cache.write(quota, draft(quota, changes))
        except KubeInvalid:
            if self._has_changed(quota):
                raise
        quota = await self._cache.write(quota, draft(quota, {}))
        pending, alone = [by_node(quota.entries, changes)], 0
        while pending:
            groups = pending.pop(0)
            part = {key: entry for group in groups for key, entry in group.items()}
            try:
                quota = await self._cache.write(quota, draft(quota, part)) if part else quota
            except KubeInvalid as error:
                if self._has_changed(quota):
                    raise
                half = len(groups) // 2
                if half:
                    pending[:0] = [groups[:half], groups[half:]]
                    continue
                alone += 1
                if alone > MOST_REFUSED:
                    raise
                self._note(node_of(next(iter(part))), nodes, error)
        return quota

    def _has_changed(self, quota: VNetQuota) -> bool:
        """Whether the object has changed: then the refusal was caused by somebody's edit."""
        known = self._cache.quota
        return known is None or known.version != quota.version

    def _note(self, name: str, nodes: Mapping[str, NodeRecord], error: KubeInvalid) -> None:
        log.warning("the api server refuses a node's entry", extra={"node": name, "error": str(error)})
        node = nodes.get(name)
        if node is not None:
            until_s = self._clock.monotonic_s() + REFUSED_RETRY_S
            self._refused[name] = _Refusal(node.view.request.number, node.nic, until_s, str(error))
