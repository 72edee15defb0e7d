"""A pool that serves a simulated month of pods, by the rules of `ipam.sizing`: how many it holds, and who waits.

It follows `ipam.plan` in counts alone: one write at a time, each WRITE_S long; growth to the target at once, shrinking
when more than `maxFree` have been free for SHRINK_DELAY_S; what a pod gave back is of use COOLING_S later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from azure_cni.ipam.limits import SHRINK_DELAY_S
from azure_cni.ipam.sizing import Policy, target
from property.usage_months import Happening

WRITE_S: Final = 60.0
COOLING_S: Final = 30.0


@dataclass(slots=True)
class Served:
    """`held`: the mean of addresses on the NIC; `waits`: seconds of each pod that waited; `writes` of the NIC."""

    held: float = 0.0
    waits: list[float] = field(default_factory=list)
    writes: int = 0


@dataclass(slots=True)
class _Pool:
    policy: Policy
    served: Served
    now_s: float = 0.0
    held: int = 0
    free: int = 0
    cooling: deque[float] = field(default_factory=deque)
    waiting: dict[int, float] = field(default_factory=dict)
    having: set[int] = field(default_factory=set)
    change: int = 0
    """What the write under way adds, or removes."""
    written_s: float = float("inf")
    surplus_s: float = float("inf")
    """Since when too many are free."""

    def pass_to(self, at_s: float) -> None:
        """All that happens by itself until then."""
        while (next_s := min(self._due())) <= at_s:
            self._spend(next_s)
            if next_s == self.written_s:
                self._written()
            while self.cooling and self.cooling[0] <= self.now_s:
                self.cooling.popleft()
                self.free += 1
            self._decide()
        self._spend(at_s)

    def happen(self, one: Happening) -> None:
        """A pod comes, or goes."""
        if one.given:
            self.waiting[one.pod] = one.at_s
        elif one.pod in self.having:
            self.having.remove(one.pod)
            self.cooling.append(one.at_s + COOLING_S)
        else:
            self.served.waits.append(one.at_s - self.waiting.pop(one.pod))
        self._decide()

    def _due(self) -> tuple[float, float, float]:
        shrink_s = self.surplus_s + SHRINK_DELAY_S if self.written_s == float("inf") else float("inf")
        return self.written_s, self.cooling[0] if self.cooling else float("inf"), shrink_s

    def _spend(self, until_s: float) -> None:
        self.served.held += self.held * (until_s - self.now_s)
        self.now_s = until_s

    def _written(self) -> None:
        self.held += self.change
        self.free += max(0, self.change)
        self.written_s, self.change = float("inf"), 0

    def _decide(self) -> None:
        while self.free and self.waiting:
            pod = next(iter(self.waiting))
            waited_s = self.now_s - self.waiting.pop(pod)
            if waited_s > 0:
                self.served.waits.append(waited_s)
            self.free -= 1
            self.having.add(pod)
        if self.written_s != float("inf"):
            return
        wanted = target(self.policy, assigned=len(self.having), waiting=len(self.waiting), cooling=len(self.cooling))
        if self.free <= self.policy.max_free:
            self.surplus_s = float("inf")
        elif self.surplus_s == float("inf"):
            self.surplus_s = self.now_s
        if wanted > self.held:
            self._write(wanted - self.held)
        elif self.now_s >= self.surplus_s + SHRINK_DELAY_S:
            self.surplus_s = float("inf")
            self._write(-min(self.free, self.held - wanted))

    def _write(self, change: int) -> None:
        self.change, self.written_s = change, self.now_s + WRITE_S
        self.free -= max(0, -change)
        self.served.writes += 1


def serve(happened: Sequence[Happening], policy: Policy, *, days: int) -> Served:
    """All of it. The pool is not empty at the beginning."""
    served = Served()
    pool = _Pool(policy, served)
    begun = target(policy, assigned=0, waiting=0, cooling=0)
    first = [one.pod for one in happened if one.at_s < 3600 and one.given]
    pool.held = pool.free = begun + len(first)
    for one in happened:
        pool.pass_to(one.at_s)
        pool.happen(one)
    pool.pass_to(days * 86_400)
    served.held /= days * 86_400
    return served
