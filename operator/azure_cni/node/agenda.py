"""When the reconciler looks again: all that is due, as boot times, judged by when the pass began.

What falls due while a pass is under way (it may wait for the API server, or for Azure) is due still when it ends. What
was due when it began had its turn; if it was not done, something holds it up that has a time of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from azure_cni.node.troubles import Activity

LONGEST_REST_S = 30.0
DEBOUNCE_S = 0.05
"""A burst of pods is one pass of the reconciler, not one each."""


class Agenda:
    """The times of one node's reconciler."""

    def __init__(self) -> None:
        self.began_s = float("-inf")
        """Boot time at which the pass began."""
        self._at_s: dict[Activity, float] = {}
        self._anew: set[Activity] = set()
        """What was put since the pass began."""

    def pass_begins(self, now_s: float) -> None:
        """What is due from now on is due after this pass, if it is not done in it."""
        self.began_s = now_s
        self._anew.clear()

    def put(self, activity: Activity, at_s: float) -> None:
        """The activity is due then, and not before."""
        self._at_s[activity] = at_s
        self._anew.add(activity)

    def is_due(self, activity: Activity, *, now_s: float) -> bool:
        """It is time; also for what has no time yet."""
        return now_s >= self._at_s.get(activity, float("-inf"))

    def rest_s(self, others: Iterable[float | None], *, now_s: float) -> float:
        """Seconds until the first thing is due, here or in the `others`' boot times."""
        due = [at_s for at_s in (*self._at_s.values(), *others) if at_s is not None and at_s > self.began_s]
        due += [self._at_s[activity] for activity in self._anew]
        return min(max(DEBOUNCE_S, min(due, default=float("inf")) - now_s), LONGEST_REST_S)
