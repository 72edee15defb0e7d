"""Looks from time to time at what others have in nftables that concerns pods.

Whether their filters drop pods' traffic (`datapath.foreign_filters`); and whether the rules of pods' hostPorts are
still there. The plugin `portmap` makes those once, when a pod starts: after a flush they come back with the pod only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from azure_cni.datapath import foreign_filters
from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.foreign_filters import BaseChain, Sample
from azure_cni.datapath.node_table import NodeTable
from azure_cni.errors import DatapathError
from azure_cni.linux import nft

log = logging.getLogger(__name__)

PERIOD_S = 50.0
"""At most so often, for others' tables may be large: with each pass by the clock, and not with each change."""

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
"""Of rules that an nft writes in a way which is not known here: they are somebody else's, and no reason to stop."""


class FilterSurvey:
    """Remembers what it found last."""

    def __init__(self, *, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._found: tuple[Conflict, ...] = ()
        self._read_s = float("-inf")
        self._host_ports = False
        """portmap's chain for all hostPorts was there; it never removes that itself."""

    def conflicts(self, table: NodeTable, *, uplink: str) -> tuple[Conflict, ...]:
        """What stands against this node's pods. Tables that cannot be read say nothing: ours is another."""
        now_s = time.monotonic()
        if now_s - self._read_s >= self._period_s:
            self._read_s = now_s
            try:
                chains = nft.all_chains()
                self._miss_host_ports(chains)
                packets = foreign_filters.samples(table.pool, table.primary, uplink=uplink, pods=table.pods)
                self._found = foreign_filters.conflict(_blocking(chains, packets), pods=table.pods)
            except (DatapathError, *_UNREADABLE) as error:
                log.info("the filters of others cannot be examined", extra={"error": repr(error)})
        return self._found

    def _miss_host_ports(self, chains: Iterable[Mapping[str, Any]]) -> None:
        """Say once that they were flushed: nothing but the pods' end and new start brings them back."""
        before = self._host_ports
        named = (item["chain"] for item in chains if "chain" in item)
        self._host_ports = any(
            chain["name"] == "CNI-HOSTPORT-DNAT" or chain["table"] == "cni_hostport" for chain in named
        )
        if before and not self._host_ports:
            log.warning(
                "the rules of hostPorts are gone: somebody flushed nftables. Pods on this node that have a hostPort "
                "are not reached by it any more; delete these pods, and the new ones have it again"
            )


def _blocking(
    chains: Iterable[Mapping[str, Any]], packets: Sequence[Sample]
) -> list[tuple[BaseChain, Sequence[Sample]]]:
    blocking: list[tuple[BaseChain, Sequence[Sample]]] = []
    for chain in foreign_filters.base_chains(chains):
        dropped = foreign_filters.dropped(chain, packets, nft.rules_of(chain.family, chain.table).get)
        if dropped:
            blocking.append((chain, dropped))
    return blocking
