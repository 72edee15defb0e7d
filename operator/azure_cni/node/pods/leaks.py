"""Taking back the addresses of dead sandboxes, for which no DEL will come. Who is dead is decided in `liveness`.

To look for processes costs a walk over all of the node, so it is done for suspects alone, once their grace time is
over, and again only after another one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from azure_cni.errors import AzureCniError
from azure_cni.ipam.address_state import Holder
from azure_cni.node.pods.assignment import listed
from azure_cni.node.pods.demand import Demand
from azure_cni.node.pods.liveness import Facts, RollCall, Verdict, judge, superseded, suspicion
from azure_cni.node.pods.sandboxes import Sandboxes
from azure_cni.node.ports import Clock, Datapath, Observer
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)

_HELD = "address held by a sandbox that no pod or container uses"
_REPORTS = {
    Verdict.OCCUPIED: f"{_HELD}: processes still run in it",
    Verdict.UNDECIDED: f"{_HELD}: whether processes run in it cannot be seen",
}


@dataclass(frozen=True, slots=True)
class _Suspect:
    """Since when (boot time), and how many lists of pods or containers had been requested when it became one."""

    since_s: float
    lists: int


class Leaks:
    """Finds dead holders and takes their addresses back. One instance per node."""

    def __init__(
        self,
        *,
        stored: StoredLedger,
        demand: Demand,
        datapath: Datapath,
        sandboxes: Sandboxes,
        clock: Clock,
        observer: Observer,
        relist: Callable[[], None],
        engine: RollCall | None = None,
    ) -> None:
        self._stored = stored
        self._demand = demand
        self._datapath = datapath
        self._sandboxes = sandboxes
        self._clock = clock
        self._observer = observer
        self._relist = relist
        """Asks for the pods of this node to be listed soon."""
        self._engine = engine
        self._suspects: dict[Holder, _Suspect] = {}
        self._reported: dict[Holder, Verdict] = {}
        self._relisting: set[Holder] = set()

    async def take_back(self, *, wired: Collection[Holder]) -> None:
        """One look at all holders, of whom `wired` have a host end. An error of one is logged, and tried again."""
        facts = self._observe(frozenset(wired))
        verdicts = {holder: judge(of_one) for holder, of_one in facts.items()}
        self._relist_for({holder for holder, verdict in verdicts.items() if verdict is Verdict.LIST})
        looked = await self._look([holder for holder, verdict in verdicts.items() if verdict is Verdict.LOOK], facts)
        for holder, of_one in (facts | looked).items():
            verdict = judge(of_one)
            if verdict is Verdict.DEAD:
                await self._free(holder, why=suspicion(of_one))
            elif verdict in _REPORTS:
                self._report(holder, verdict, why=suspicion(of_one))
        self._reported = {holder: verdict for holder, verdict in self._reported.items() if holder in self._suspects}

    def _observe(self, wired: frozenset[Holder]) -> dict[Holder, Facts]:
        """The facts about every suspect; who no longer is one is forgotten as such."""
        now_s = self._clock.boottime_s()
        slots = self._stored.ledger.slots
        older = superseded(slots, self._demand.asked(self._stored.ledger))
        suspects: dict[Holder, _Suspect] = {}
        found: dict[Holder, Facts] = {}
        for holder in (slot.holder for slot in slots if slot.holder is not None):
            roll = self._roll_of(holder)
            facts = Facts(wired=holder in wired, pod=roll.presence(holder), superseded=holder in older)
            if not suspicion(facts):
                continue
            suspect = self._suspects.get(holder) or _Suspect(now_s, roll.lists_requested)
            suspects[holder] = suspect
            found[holder] = replace(
                facts,
                suspected_s=now_s - suspect.since_s,
                relisted=roll.lists_applied > suspect.lists,
            )
        self._suspects = suspects
        return found

    def _relist_for(self, holders: set[Holder]) -> None:
        """Once for each suspect: a list that fails is repeated by whoever does it."""
        fresh = holders - self._relisting
        if any(self._roll_of(holder) is self._demand for holder in fresh):
            self._relist()
        if self._engine is not None and any(self._roll_of(holder) is self._engine for holder in fresh):
            self._engine.request()
        self._relisting = holders

    def _roll_of(self, holder: Holder) -> Demand | RollCall:
        return self._demand if self._engine is None or holder.pod_name else self._engine

    async def _look(self, holders: Sequence[Holder], facts: Mapping[Holder, Facts]) -> dict[Holder, Facts]:
        """Facts with what was seen of processes; whoever is not dead is looked at again after another grace time."""
        if not holders:
            return {}
        seen = await self._datapath.occupancy(holders)
        now_s = self._clock.boottime_s()
        for holder in holders:
            self._suspects[holder] = replace(self._suspects[holder], since_s=now_s)
        return {
            holder: replace(facts[holder], occupancy=occupancy) for holder, occupancy in zip(holders, seen, strict=True)
        }

    async def _free(self, holder: Holder, *, why: str) -> None:
        slots = self._stored.ledger.holding(holder.sandbox)
        if not slots or slots[0].holder != holder:  # it was deleted while others were looked at
            return
        if self._sandboxes.locks.busy(holder.sandbox):  # somebody wires it or ends it now, and may be slow
            return
        facts = {"holder": str(holder), "container": holder.sandbox.container_id, "address": listed(slots)}
        try:
            await self._sandboxes.delete(holder.sandbox)
        except AzureCniError as error:
            log.warning("leaked address not taken back", extra=facts | {"why": why, "error": str(error)})
            return
        log.warning("leaked address taken back", extra=facts | {"why": why})
        self._observer.repaired("leaked_address")

    def _report(self, holder: Holder, verdict: Verdict, *, why: str) -> None:
        if self._reported.get(holder) is verdict:
            return
        self._reported[holder] = verdict
        log.warning(
            _REPORTS[verdict],
            extra={
                "holder": str(holder),
                "container": holder.sandbox.container_id,
                "address": listed(self._stored.ledger.holding(holder.sandbox)),
                "netns": holder.netns,
                "why": why,
            },
        )
