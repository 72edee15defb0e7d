"""How much one node takes of what all share: permits for NIC writes, and answers, each a write of the ledger.

A node says itself that its pods wait, and asks as often as it likes. So what it gets in a minute is bounded whatever it
says, and one that had its share goes behind all who did not: to ask often, or for more, gains nothing. What is counted
is what this controller reserved. The next one begins with nothing, which is one more minute's worth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 60.0
MOST_ANSWERS: Final = 30
"""Of one node in a minute, whether or not they allow a write of its NIC. A node whose writes fail needs one after each
pause, and a burst of pods one or two: a node that does its work stays far below. What keeps a node that does not from
the others' writes is its turn, not this bound."""
LEAST_SHARE: Final = 2
"""Permits in a minute that do not yet put a node behind the others: a node needs no more to grow to 250 addresses."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one node had in the last minute. Times are monotonic seconds."""

    permits: int = 0
    answers: int = 0
    last_s: float = float("-inf")
    """Time of its last permit."""
    free_s: float = float("-inf")
    """When the oldest of what was counted stops counting."""

    @property
    def is_spent(self) -> bool:
        """Nothing more before `free_s`."""
        return self.answers >= MOST_ANSWERS


NOTHING: Final = Use()


def share(*, per_minute: int, nodes: int) -> int:
    """With how many permits in a minute a node is behind those that had fewer."""
    return max(LEAST_SHARE, per_minute // max(1, nodes))


class PermitHistory:
    """What was reserved for each node of one VNet in the last minute."""

    def __init__(self) -> None:
        self._had: dict[str, deque[tuple[float, int]]] = {}

    def note(self, costs: Iterable[tuple[str, int]], *, now_s: float) -> None:
        """The ledger with these nodes' requests was written; each with the tokens it cost."""
        for name, cost in costs:
            self._had.setdefault(name, deque()).append((now_s, cost))

    def uses(self, *, now_s: float) -> Mapping[str, Use]:
        """What each node had; nodes that had nothing are left out."""
        for name, had in list(self._had.items()):
            while had and had[0][0] <= now_s - WINDOW_S:
                had.popleft()
            if not had:
                del self._had[name]
        return {name: _use(had) for name, had in self._had.items()}


def _use(had: deque[tuple[float, int]]) -> Use:
    permits = [at_s for at_s, cost in had if cost]
    return Use(len(permits), len(had), max(permits, default=float("-inf")), had[0][0] + WINDOW_S)
