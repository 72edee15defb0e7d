"""Writes what a round of grants decided to the pools of its nodes, several at a time.

Each write is a compare-and-swap on the version from which it was decided. One that fails is not repeated: the pool is
read again, and the next round, soon, decides from what it is then. Nor does a round wait for hundreds of writes that
only say something, as when the room of a VNet comes to an end: what there was no time for, the next one decides again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ClusterPorts
from azure_cni.errors import KubeConflict, KubeError, KubeNotFound
from azure_cni.quota.node_record import NodeRecord
from azure_cni.quota.pool_updates import PoolUpdate

log = logging.getLogger(__name__)

CONCURRENT_POOL_WRITES: Final = 16
WORDS_S: Final = 0.5
"""A round begins no write that is not urgent after so long: it would keep other nodes from their grants."""
RETRY_S, LONGEST_RETRY_S = 0.3, 5.0
"""The pause before a pool that could not be written is decided again: it doubles each time, up to the longest."""


class PoolWriter:
    """The pools of one VNet."""

    def __init__(self, *, ports: ClusterPorts, node_index: NodeIndex) -> None:
        self._ports = ports
        self._node_index = node_index
        self._places = asyncio.Semaphore(CONCURRENT_POOL_WRITES)
        self._losses: dict[str, int] = {}
        """By node: how many times in a row its pool changed before it could be written."""
        self._unsaid = 0
        """Updates of the last round that it had no time for."""

    @property
    def retry_in_s(self) -> float:
        """Seconds after which pools that were not written are decided again; infinite where all were."""
        unsaid_s = RETRY_S if self._unsaid else float("inf")
        return min(unsaid_s, min(map(_retry_s, self._losses.values()), default=float("inf")))

    async def write(
        self, quota: VNetQuota, updates: Sequence[PoolUpdate], *, asked: Mapping[str, int]
    ) -> list[PoolUpdate]:
        """Write the pools, in this order; returns those that were written.

        `asked`: how many idle addresses which nodes are newly asked to give back.
        """
        begun_s = self._ports.clock.monotonic_s()
        async with asyncio.TaskGroup() as writes:
            done = [writes.create_task(self._write_pool(update, begun_s=begun_s)) for update in updates]
        results = [(update, task.result()) for update, task in zip(updates, done, strict=True)]
        written = [update for update, result in results if result]
        lost = [update.node.name for update, result in results if result is False]
        self._unsaid = len(updates) - len(written) - len(lost)
        if updates:
            counts = Counter(update.result for update in written)
            facts = {"quota": quota.name, **counts, "lost": len(lost), "unsaid": self._unsaid}
            log.info("pools written", extra=facts)
        for update in written:
            if update.node.name in asked:
                self._ports.observer.recalled(asked[update.node.name])
        # Pools that could not be written are decided again soon; one that keeps changing, less and less often.
        self._losses = {name: self._losses.get(name, 0) + 1 for name in lost}
        return written

    async def _write_pool(self, update: PoolUpdate, *, begun_s: float) -> bool | None:
        """Write a pool that is as it was when this was decided; False when it is not: then it has been read again.
        None where it is not urgent and the round, begun at that monotonic time, has no time for it.
        """
        node, observer = update.node, self._ports.observer
        async with self._places:
            if not update.urgent and self._ports.clock.monotonic_s() - begun_s >= WORDS_S:
                return None
            try:
                pool = await self._ports.pools.write(node.name, version=node.version.number, status=update.status)
            except KubeError as error:
                observer.granted(error.reason)
                await self._look_again(node, error)
                return False
        self._node_index.see(pool, now_s=self._ports.clock.monotonic_s())
        observer.granted(update.result)
        return True

    async def _look_again(self, node: NodeRecord, error: KubeError) -> None:
        """Read a pool again that could not be written; if it had not changed, log why."""
        try:
            pool = await self._ports.pools.read(node.name)
        except KubeError as silent:
            error = silent
        else:
            if pool is None:
                self._node_index.forget(node.name, uid=node.version.uid)
            else:
                self._node_index.see(pool, now_s=self._ports.clock.monotonic_s())
        if not isinstance(error, KubeConflict | KubeNotFound):
            log.warning("cannot answer a node", extra={"pool": node.name, "error": str(error)})


def _retry_s(losses: int) -> float:
    return min(LONGEST_RETRY_S, RETRY_S * 2.0 ** (min(losses, 8) - 1))
