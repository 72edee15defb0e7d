"""Repairs that somebody undoes again and again: a hardening agent, configuration management, a timer. Pure.

One repair is news. The third of the same kind is a state of the host that a person must end, and is reported as one:
a conflict, for as long as it goes on. It is put right each time all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from azure_cni.datapath.conflicts import Conflict, ConflictReason

USUAL = 3
"""So often at least, and..."""
WITHIN_S = 3600.0
"""... no further apart than this, which is also how long a conflict outlives its last repair."""


@dataclass(frozen=True, slots=True)
class _Row:
    count: int
    last_s: float


class Recurrences:
    """Counts repairs by their words. Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def record(self, repairs: Iterable[str], *, now_s: float) -> None:
        """These were just made. What is long ago is forgotten."""
        self._rows = {words: row for words, row in self._rows.items() if now_s - row.last_s < WITHIN_S}
        for words in repairs:
            known = self._rows.get(words)
            self._rows[words] = _Row(known.count + 1 if known else 1, now_s)

    def is_usual(self, words: str, *, now_s: float) -> bool:
        """It was made often enough, and not long ago."""
        row = self._rows.get(words)
        return row is not None and row.count >= USUAL and now_s - row.last_s < WITHIN_S

    def conflicts(self, *, now_s: float) -> tuple[Conflict, ...]:
        """One for all that are usual, the same from pass to pass while these are the same; none where there is none."""
        usual = sorted(words for words in self._rows if self.is_usual(words, now_s=now_s))
        if not usual:
            return ()
        message = (
            f"something on this host keeps undoing what pods need; it is put right each time: {'; '.join(usual)}. "
            "Find what does it (a hardening agent, configuration management, a timer of the host: "
            "systemctl list-timers) and exempt this node"
        )
        return (Conflict(ConflictReason.REPAIRS_UNDONE, message),)
