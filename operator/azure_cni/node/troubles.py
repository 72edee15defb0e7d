"""What is not working now, per activity, and when it may be tried again.

Each activity of the reconciler has at most one trouble. It is told once when it appears or changes its reason,
repeated attempts are spaced by jittered backoff (or by Azure's Retry-After), and it ends with the first success.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from azure_cni.errors import AzureCniError, CloudError, PreconditionFailed, Throttled
from azure_cni.ipam.backoff import delay_s

AT_ONCE = 3
"""How often a write that lost a race (412) is tried again without waiting: the NIC is read anew each time."""

RACES = 4
"""How often a lost race for an object of Kubernetes is run again at once: who else writes it does so rarely."""


class Activity(StrEnum):
    """What the reconciler does, as logs name it; in the order in which a person should look at them."""

    POOL = "pool"
    SPEC = "spec"
    IDENTITY = "identity"
    VNET = "vnet"
    READ = "read"
    KERNEL = "kernel"
    LEDGER = "ledger"
    GROW = "grow"
    RELEASE = "release"
    STATUS = "status"
    TAINT = "taint"


BLOCKS_PODS = frozenset(Activity) - {Activity.SPEC, Activity.STATUS, Activity.TAINT}
"""Troubles that can keep pods waiting. Which of them do not now, `prospects` says."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An activity that failed `attempts` times in a row and may be tried again at `retry_at_s` (boot time)."""

    activity: Activity
    error: AzureCniError
    attempts: int
    retry_at_s: float

    @property
    def reason(self) -> str:
        """CamelCase, for conditions and events."""
        return self.error.reason


class Troubles:
    """The current troubles of one node."""

    def __init__(self, *, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._current: dict[Activity, Trouble] = {}

    def record(self, activity: Activity, error: AzureCniError, *, now_s: float) -> bool:
        """Note a failure; True when it is news (first of its reason), so that it is told once."""
        before = self._current.get(activity)
        attempts = before.attempts + 1 if before else 1
        self._current[activity] = Trouble(activity, error, attempts, now_s + self._delay_s(error, attempts))
        return before is None or before.reason != error.reason

    def clear(self, activity: Activity) -> Trouble | None:
        """The activity succeeded; returns the trouble that this ends."""
        return self._current.pop(activity, None)

    def of(self, activity: Activity) -> Trouble | None:
        """The activity's trouble, if any."""
        return self._current.get(activity)

    def blocks(self, activity: Activity, *, now_s: float) -> bool:
        """It is too early to try the activity again."""
        trouble = self._current.get(activity)
        return trouble is not None and now_s < trouble.retry_at_s

    def worst(self, *, harmless: Collection[Activity] = ()) -> Trouble | None:
        """The trouble that keeps pods waiting: the first in the order of activities, `harmless` ones left out."""
        blocking = BLOCKS_PODS.difference(harmless)
        return next((self._current[a] for a in Activity if a in self._current and a in blocking), None)

    def first(self) -> Trouble | None:
        """The first trouble of any kind."""
        return next((self._current[a] for a in Activity if a in self._current), None)

    def find(self, kind: type[AzureCniError]) -> Trouble | None:
        """The trouble of this kind of error, if there is one."""
        return next((trouble for trouble in self._current.values() if isinstance(trouble.error, kind)), None)

    def next_due_s(self, *, after_s: float) -> float | None:
        """Boot time, later than `after_s`, at which the earliest one may be tried again."""
        due = (trouble.retry_at_s for trouble in self._current.values())
        return min((at_s for at_s in due if at_s > after_s), default=None)

    def _delay_s(self, error: AzureCniError, attempts: int) -> float:
        if isinstance(error, PreconditionFailed) and attempts <= AT_ONCE:
            return 0.0
        retry_after_s = error.retry_after_s if isinstance(error, CloudError) else None
        if isinstance(error, Throttled) and retry_after_s is None:
            attempts += 2  # Azure named no time: begin further up the ladder
        return delay_s(attempts, retry_after_s=retry_after_s, jitter=self._jitter())
