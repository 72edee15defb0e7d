"""Keeping one NodeIPPool object: there is one, its newest version is known, and its status is as it should be.

Versions come from two sides, the watch and the answers to our own writes, in no certain order. A write that carries
the request is a compare-and-swap; when it finds the object changed, the object is read and the write made anew. In
another object of that name the request begins anew: its numbers are others.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from azure_cni.api import pool as pool_api
from azure_cni.api.versions import is_newer, version
from azure_cni.errors import KubeConflict, KubeNotFound
from azure_cni.node.narrator import Narrator
from azure_cni.node.reporter import Reporter
from azure_cni.node.troubles import RACES
from azure_cni.node.world import Standing, World

log = logging.getLogger(__name__)


class PoolKeeper:
    """The only writer of `Standing.pool`."""

    def __init__(self, *, world: World, standing: Standing, narrator: Narrator, reporter: Reporter) -> None:
        self._world = world
        self._standing = standing
        self._narrator = narrator
        self._reporter = reporter
        self._uid = ""
        """Of the object that the request was made in."""

    async def ensure(self) -> None:
        """Read the object, or make it."""
        if self._standing.pool is not None:
            return
        pool = await self._world.pools.read()
        if pool is None:
            pool = await self._world.pools.create(await self._world.node.read_node())
            log.info("pool object made", extra={"pool": pool_api.pool_name(pool)})
        self._learn(pool)

    def seen(self, pool: Mapping[str, Any]) -> None:
        """The watch shows a version; one that is older than what is known already is left aside."""
        if self._learn(pool):
            self.notice(pool)

    def gone(self) -> None:
        """Somebody deleted the object: it is made again, and told all."""
        self._standing.pool = None

    async def report(self) -> bool:
        """Write the status, if something differs and it is due; whether the object says all then."""
        for attempt in range(RACES):
            pool = self._standing.pool
            if pool is None:
                return False
            try:
                written = await self._reporter.report(
                    pool, self._narrator.status(), now_s=self._world.clock.boottime_s()
                )
            except KubeNotFound:
                self.gone()
                raise
            except KubeConflict:
                if attempt == RACES - 1:
                    raise
                await self._read_again()
            else:
                if written is not None and self._standing.pool is not None:
                    self._learn(written)
                return self._reporter.due_s() is None
        return False

    def notice(self, pool: Mapping[str, Any]) -> None:
        """A later request than ours is another agent's: ours is void, and must not displace it."""
        if self._standing.asking.overtaken(pool):
            log.warning(
                "another agent asks for this node too; beginning again", extra={"pool": pool_api.pool_name(pool)}
            )
            self._standing.asking.forget()

    def _learn(self, pool: Mapping[str, Any]) -> bool:
        """Hold that version, if none is known that is as new."""
        known, (uid, _) = self._standing.pool, version(pool)
        if known is not None and not is_newer(version(pool), than=version(known)):
            return False
        if self._uid not in {"", uid}:
            log.warning("the pool was recreated: requesting again", extra={"pool": pool_api.pool_name(pool)})
            self._standing.asking.forget()
        self._uid, self._standing.pool = uid, dict(pool)
        return True

    async def _read_again(self) -> None:
        pool = await self._world.pools.read()
        if pool is None:
            self.gone()
        else:
            self.seen(pool)
