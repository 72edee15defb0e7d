"""What is not working now, per activity, and when it may be tried again.

Each activity of the reconciler has at most one failure. It is reported once when it appears or changes its reason,
repeated attempts are spaced by jittered backoff (or by Azure's Retry-After), and it ends with the first success. That
there was nothing to do is no success.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from azure_cni.errors import (
    AzureCniError,
    CloudError,
    PreconditionFailed,
    SubnetFull,
    Throttled,
    WritesSpent,
)
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S, BACKOFF_REPAIR_S, delay_s

AT_ONCE = 3
"""How often a write that lost a race (412) is tried again without waiting: the NIC is read again each time."""

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
    RECOVER = "recover"
    GROW = "grow"
    ATTACH = "attach"
    REPAIR = "repair"
    RELEASE = "release"
    GROUPS = "groups"
    STATUS = "status"
    REQUEST = "request"
    TAINT = "taint"


OF_STATUS = frozenset({Activity.LEDGER, Activity.STATUS, Activity.REQUEST, Activity.TAINT})
"""The status task's; it has LEDGER in common with the pool task."""

OF_POOL = frozenset(Activity) - {Activity.STATUS, Activity.REQUEST, Activity.TAINT}

BLOCKS_PODS = frozenset(Activity) - {
    Activity.SPEC, Activity.RECOVER, Activity.ATTACH, Activity.GROUPS, Activity.STATUS, Activity.REQUEST,
    Activity.TAINT
}  # fmt: skip
"""Failures that can keep pods waiting. `pool_conditions` says which of them do not now."""

WRITES = frozenset(
    {Activity.RECOVER, Activity.GROW, Activity.ATTACH, Activity.REPAIR, Activity.RELEASE, Activity.GROUPS}
)
"""Each attempt at these is a write of the NIC, which all nodes share a budget for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An activity that failed `attempts` times in a row and may be tried again at `retry_at_s` (boot time)."""

    activity: Activity
    error: AzureCniError
    attempts: int
    retry_at_s: float
    failed_at_s: float
    retry_at: str = ""
    """`retry_at_s` for people, RFC 3339; put in words once, so that it does not waver."""

    @property
    def is_refusal(self) -> bool:
        """A write that Azure refuses as it stands: repeating it does not help before somebody changes something."""
        error = self.error
        return self.activity in WRITES and isinstance(error, CloudError) and not error.retriable

    @property
    def is_tried_at_once(self) -> bool:
        """It waits for nothing but the pool task's next pass."""
        return self.retry_at_s <= self.failed_at_s

    @property
    def withstands_a_try(self) -> bool:
        """A write under way is no reason to expect addresses, for the one before was refused: it has to succeed."""
        return self.is_refusal or isinstance(self.error, SubnetFull)

    @property
    def reason(self) -> str:
        """CamelCase, for conditions and events."""
        return self.error.reason


class Failures:
    """The current failures of one node."""

    def __init__(
        self, *, jitter: Callable[[], float] = random.random, utc: Callable[[float], str] = lambda _: ""
    ) -> None:
        self._jitter = jitter
        self._utc = utc
        """Wall clock for people, that many seconds ahead."""
        self._current: dict[Activity, Failure] = {}

    def record(self, activity: Activity, error: AzureCniError, *, now_s: float) -> bool:
        """Note a failure; True when it is news (first of its reason), so that it is reported once."""
        before = self._current.get(activity)
        went_on = isinstance(error, SubnetFull) and error.added  # some fitted: the pauses begin again
        attempts = 1 if before is None or went_on else before.attempts + 1
        failure = Failure(activity, error, attempts, retry_at_s=now_s, failed_at_s=now_s)
        delay_s = self._delay_s(failure)
        self._current[activity] = replace(failure, retry_at_s=now_s + delay_s, retry_at=self._utc(delay_s))
        if activity is Activity.REQUEST and self._reason_of(Activity.STATUS) == error.reason:
            return False  # it is part of the status: one outage is reported once
        return before is None or before.reason != error.reason

    def _reason_of(self, activity: Activity) -> str:
        failure = self._current.get(activity)
        return failure.reason if failure is not None else ""

    def __iter__(self) -> Iterator[Failure]:
        """All of them, in the order in which a person should look at them."""
        return (self._current[activity] for activity in Activity if activity in self._current)

    def clear(self, activity: Activity) -> Failure | None:
        """The activity succeeded; returns the failure that this ends."""
        return self._current.pop(activity, None)

    def lapse(self, activity: Activity, *, now_s: float) -> None:
        """Nothing is to be done for now. The failure outlives that by the longest pause: work that is wanted every few
        seconds, by pods that come and go, must not begin the pauses again, nor make a condition waver.
        """
        failure = self._current.get(activity)
        if failure is not None and now_s >= max(failure.retry_at_s, failure.failed_at_s + BACKOFF_MAX_S):
            del self._current[activity]

    def hurry(self, *, now_s: float) -> None:
        """Something changed that may help: all may be tried at once, but what Azure asked to wait for, or would."""
        for activity, failure in self._current.items():
            if not isinstance(failure.error, Throttled | WritesSpent):
                self._current[activity] = replace(failure, attempts=0, retry_at_s=now_s, retry_at=self._utc(0.0))

    def retry(self, activity: Activity, error: type[AzureCniError], *, now_s: float) -> bool:
        """What made it fail, `error`, may be over: it may be tried at once, and its pauses go on if it fails again.

        False where it did not fail by that.
        """
        failure = self._current.get(activity)
        if failure is None or not isinstance(failure.error, error):
            return False
        self._current[activity] = replace(failure, retry_at_s=now_s, retry_at=self._utc(0.0))
        return True

    def get(self, activity: Activity) -> Failure | None:
        """The activity's failure, if any."""
        return self._current.get(activity)

    def blocks(self, activity: Activity, *, now_s: float) -> bool:
        """It is too early to try the activity again."""
        failure = self._current.get(activity)
        return failure is not None and now_s < failure.retry_at_s

    def worst(self, *, harmless: Collection[Activity] = ()) -> Failure | None:
        """The failure that keeps pods waiting: the first in the order of activities, `harmless` ones left out."""
        blocking = BLOCKS_PODS.difference(harmless)
        return next((failure for failure in self if failure.activity in blocking), None)

    def first(self) -> Failure | None:
        """The first failure of any kind."""
        return next(iter(self), None)

    def find(self, kind: type[AzureCniError]) -> Failure | None:
        """The failure with this kind of error, if there is one."""
        return next((failure for failure in self._current.values() if isinstance(failure.error, kind)), None)

    def next_due_s(self, activities: Collection[Activity], *, after_s: float) -> float | None:
        """Boot time, later than `after_s`, at which the first of these activities may be tried again."""
        due = (failure.retry_at_s for failure in self._current.values() if failure.activity in activities)
        return min((at_s for at_s in due if at_s > after_s), default=None)

    def _delay_s(self, failure: Failure) -> float:
        error, attempts = failure.error, failure.attempts
        if isinstance(error, PreconditionFailed) and attempts <= AT_ONCE:
            return 0.0
        retry_after_s = error.retry_after_s if isinstance(error, CloudError) else None
        if isinstance(error, Throttled) and retry_after_s is None:
            attempts += 2  # Azure named no time: begin further up the ladder
        longest_s = BACKOFF_REPAIR_S if failure.activity is Activity.REPAIR else BACKOFF_MAX_S
        longest_s = BACKOFF_REFUSED_S if failure.is_refusal else longest_s
        return delay_s(attempts, retry_after_s=retry_after_s, jitter=self._jitter(), longest_s=longest_s)
