"""What is not working now, per activity, and when it may be tried again.

Each activity of the reconciler has at most one trouble. It is reported once when it appears or changes its reason,
repeated attempts are spaced by jittered backoff (or by Azure's Retry-After), and it ends with the first success. That
there was nothing to do is no success.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from azure_cni.errors import AzureCniError, CloudError, PreconditionFailed, SubnetFull, Throttled
from azure_cni.ipam.backoff import delay_s
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S

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
    PLAN = "plan"
    GROW = "grow"
    RELEASE = "release"
    STATUS = "status"
    TAINT = "taint"


BLOCKS_PODS = frozenset(Activity) - {Activity.SPEC, Activity.STATUS, Activity.TAINT}
"""Troubles that can keep pods waiting. Which of them do not now, `prospects` says."""

WRITES = frozenset({Activity.GROW, Activity.RELEASE})
"""Each attempt at these is a write of the NIC, which all nodes share a budget for."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An activity that failed `attempts` times in a row and may be tried again at `retry_at_s` (boot time)."""

    activity: Activity
    error: AzureCniError
    attempts: int
    retry_at_s: float
    failed_at_s: float

    @property
    def is_refusal(self) -> bool:
        """A write that Azure refuses as it stands: repeating it does not help before somebody changes something."""
        error = self.error
        return self.activity in WRITES and isinstance(error, CloudError) and not error.retriable

    @property
    def withstands_a_try(self) -> bool:
        """A write under way is no reason to expect addresses, for the one before was refused: it has to succeed."""
        return self.is_refusal or isinstance(self.error, SubnetFull)

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
        went_on = isinstance(error, SubnetFull) and error.added  # some fitted: the pauses begin again
        attempts = 1 if before is None or went_on else before.attempts + 1
        trouble = Trouble(activity, error, attempts, retry_at_s=now_s, failed_at_s=now_s)
        self._current[activity] = replace(trouble, retry_at_s=now_s + self._delay_s(trouble))
        return before is None or before.reason != error.reason

    def __iter__(self) -> Iterator[Trouble]:
        """All of them, in the order in which a person should look at them."""
        return (self._current[activity] for activity in Activity if activity in self._current)

    def clear(self, activity: Activity) -> Trouble | None:
        """The activity succeeded; returns the trouble that this ends."""
        return self._current.pop(activity, None)

    def lapse(self, activity: Activity, *, now_s: float) -> None:
        """Nothing is to be done for now. The trouble outlives that by the longest pause: work that is wanted every few
        seconds, by pods that come and go, must not begin the pauses again, nor make a condition waver.
        """
        trouble = self._current.get(activity)
        if trouble is not None and now_s >= max(trouble.retry_at_s, trouble.failed_at_s + BACKOFF_MAX_S):
            del self._current[activity]

    def hurry(self, *, now_s: float) -> None:
        """Something changed that may help: all may be tried at once, but what Azure asked to wait for."""
        for activity, trouble in self._current.items():
            if not isinstance(trouble.error, Throttled):
                self._current[activity] = replace(trouble, attempts=0, retry_at_s=now_s)

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
        return next((trouble for trouble in self if trouble.activity in blocking), None)

    def first(self) -> Trouble | None:
        """The first trouble of any kind."""
        return next(iter(self), None)

    def find(self, kind: type[AzureCniError]) -> Trouble | None:
        """The trouble of this kind of error, if there is one."""
        return next((trouble for trouble in self._current.values() if isinstance(trouble.error, kind)), None)

    def next_due_s(self, *, after_s: float) -> float | None:
        """Boot time, later than `after_s`, at which the earliest one may be tried again."""
        due = (trouble.retry_at_s for trouble in self._current.values())
        return min((at_s for at_s in due if at_s > after_s), default=None)

    def _delay_s(self, trouble: Trouble) -> float:
        error, attempts = trouble.error, trouble.attempts
        if isinstance(error, PreconditionFailed) and attempts <= AT_ONCE:
            return 0.0
        retry_after_s = error.retry_after_s if isinstance(error, CloudError) else None
        if isinstance(error, Throttled) and retry_after_s is None:
            attempts += 2  # Azure named no time: begin further up the ladder
        longest_s = BACKOFF_REFUSED_S if trouble.is_refusal else BACKOFF_MAX_S
        return delay_s(attempts, retry_after_s=retry_after_s, jitter=self._jitter(), longest_s=longest_s)
