"""Asks the metadata service every few seconds whether the NIC is worth a reading. A task of its own.

Between two readings of the NIC another tool may take an address off it, and Azure may give that to another node while
the pod still answers for it. Where the pool is on another NIC than the node's own address, readings of the NIC say
nothing of that address, and the service alone shows soon that it is another one. Nothing depends on this task: a
service that is away, slow or wrong costs a line in the log, and readings that find nothing, fewer and fewer of them
(`ipam.nic_hints`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from ipaddress import IPv4Address
from typing import Final

from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.ipam.nic_hints import HintState, held_addresses, judged, weighed, withdrawn
from azure_cni.model.nic import NicView
from azure_cni.model.text import few
from azure_cni.node.azure_ports import ShownAddresses
from azure_cni.node.pool.pool_state import NodeCore, PoolState

log = logging.getLogger(__name__)

SPREAD: Final = 0.2
"""Of the period, by chance: nodes that started together do not ask, and read, together."""


class ReadingHints:
    """`wake` is called with each hint; the pool task then takes it (`take`) and reads the NIC."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        wake: Callable[[], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._core = core
        self._pool_state = pool_state
        self._wake = wake
        self._chance = chance
        self._state = HintState()
        self._taken = False
        """The next reading is made because of the hint."""
        self._doubt: tuple[IPv4Address, float] | None = None
        """The node's own address that was last said not to be shown, and when."""
        self._doubted = False
        """It was said, and not taken yet."""
        self._failing = ""
        """The reason for which the service could not be asked, as last logged."""

    async def run(self, faults: Faults) -> None:
        """Until cancelled; at once where there is nothing to ask."""
        source = self._core.ports.shown_addresses
        while source is not None:
            await asyncio.sleep(self._core.settings.timing.hint_s * (1 + SPREAD * (self._chance() - 0.5)))
            try:
                with faults.guard("reading hints"):
                    await self._look(source)
            except AzureCniError as error:
                if error.reason != self._failing:
                    facts = {"reason": error.reason, "error": str(error)}
                    log.warning("cannot ask for a hint: changes of the nic by others are found later", extra=facts)
                self._failing = error.reason
            else:
                self._failing = ""

    def take(self) -> bool:
        """The NIC is to be read now, because of a hint. True once for each."""
        hint, read_s = self._state.given, self._core.state.nic_read_s
        if hint is None or read_s is None or self._taken:
            return False
        if hint.at_s <= read_s:  # it was read meanwhile, after a write perhaps
            self._state = withdrawn(self._state)
            return False
        self._taken = True
        return True

    def take_doubt(self) -> bool:
        """The node's own address on the primary NIC is another one: who it is, is to be asked again. Once for each."""
        doubted, self._doubted = self._doubted, False
        return doubted

    def observe(self, view: NicView) -> None:
        """The NIC was read: that judges a hint which was taken before."""
        if not self._taken:
            return
        self._taken, self._state = False, judged(self._state, held_addresses(view), now_s=self._now_s())
        if self._state.false:
            quiet_s = round(self._state.quiet_until_s - self._now_s())
            log.info("the hint was false", extra={"in_a_row": self._state.false, "no_other_within_s": quiet_s})

    async def _look(self, source: ShownAddresses) -> None:
        identity = self._core.state.identity
        if identity is None or self._core.state.nic_read_s is None:
            return
        shown = await source.addresses(identity.mac)
        before, held = self._state, self._held()
        self._state = weighed(before, shown, held, now_s=self._now_s())
        if self._state.given is not None and before.given is None:
            facts = {"not_shown": few(sorted(held - shown)), "new": few(sorted(shown - held))}
            log.info("the metadata service shows another nic than was read: it is read now", extra=facts)
            self._wake()
        if identity.node_nic is not None:
            self._doubt_unless(identity.node_nic.address, await source.addresses(identity.node_nic.mac))

    def _doubt_unless(self, own: IPv4Address, shown: Collection[IPv4Address]) -> None:
        """Said of one address no more often than the NIC is read anyway: the service may be wrong, or Azure be late."""
        now_s, again_s = self._now_s(), self._core.settings.timing.nic_s
        said = self._doubt is not None and self._doubt[0] == own and now_s < self._doubt[1] + again_s
        if own in shown or said:
            return
        self._doubt, self._doubted = (own, now_s), True
        facts = {"was": str(own), "shown": few(sorted(shown))}
        log.info("the metadata service shows another address of the node: it is asked for now", extra=facts)
        self._wake()

    def _held(self) -> frozenset[IPv4Address]:
        view = self._pool_state.unapplied_view or self._pool_state.view
        return held_addresses(view) if view is not None else frozenset()

    def _now_s(self) -> float:
        return self._core.ports.clock.boottime_s()
