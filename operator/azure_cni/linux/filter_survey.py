"""Looks from time to time whether another program's filter drops pods' traffic (`datapath.foreign_filters`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from azure_cni.datapath import foreign_filters
from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.foreign_filters import BaseChain, Sample
from azure_cni.datapath.snat import NodeTable
from azure_cni.errors import DatapathError
from azure_cni.linux import nft

log = logging.getLogger(__name__)

PERIOD_S = 50.0
"""At most so often, for others' tables may be large: with each pass by the clock, and not with each change."""

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
"""Of rules that an nft writes in a way which is not known here: they are somebody else's, and no reason to stop."""


class FilterSurvey:
    """Remembers what it found last."""

    def __init__(self) -> None:
        self._found: tuple[Conflict, ...] = ()
        self._read_s = float("-inf")

    def conflicts(self, table: NodeTable, *, uplink: str) -> tuple[Conflict, ...]:
        """What stands against this node's pods. Tables that cannot be read say nothing: ours is another."""
        now_s = time.monotonic()
        if now_s - self._read_s >= PERIOD_S:
            self._read_s = now_s
            try:
                self._found = _survey(foreign_filters.samples(table.pool, table.primary, uplink=uplink))
            except (DatapathError, *_UNREADABLE) as error:
                log.info("the filters of others cannot be examined", extra={"error": repr(error)})
        return self._found


def _survey(packets: Sequence[Sample]) -> tuple[Conflict, ...]:
    blocking: list[tuple[BaseChain, Sequence[Sample]]] = []
    for chain in foreign_filters.base_chains(nft.all_chains()):
        lost = foreign_filters.dropped(chain, packets, nft.rules_of(chain.family, chain.table).get)
        if lost:
            blocking.append((chain, lost))
    return foreign_filters.conflict(blocking)
