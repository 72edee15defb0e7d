"""Running the reconciler's activities one by one, so that each fails, rests and is reported separately."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from azure_cni.errors import AzureCniError, SubnetFull, Throttled
from azure_cni.faults import Faults
from azure_cni.ipam.limits import delay_s
from azure_cni.node.pool.failures import Activity, Failures
from azure_cni.node.pool.pool_object import PoolEvents
from azure_cni.node.pool.pool_state import NodeCore
from azure_cni.node.pool.schedule import Schedule
from azure_cni.node.pool.status_builder import StatusBuilder

log = logging.getLogger(__name__)


class Attempts:
    """The only writer of `Failures`. An activity belongs to one task, and its failure with it; two are shared: LEDGER,
    which never waits, and KERNEL, which `NodeNetwork` runs one at a time.
    """

    def __init__(
        self,
        core: NodeCore,
        *,
        failures: Failures,
        schedule: Schedule,
        status_builder: StatusBuilder,
        events: PoolEvents,
    ) -> None:
        self._failures = failures
        self._core = core
        self._schedule = schedule
        self._status_builder = status_builder
        self._events = events

    async def attempt(self, activity: Activity, action: Callable[[], Awaitable[bool]]) -> bool:
        """Run an activity unless it failed too recently; the action says whether all is as it should be then.

        False when it did not run to its end, or there was nothing that it could do: that does not end its failure.
        """
        if self._failures.blocks(activity, now_s=self._core.ports.clock.boottime_s()):
            return False
        try:
            with self._core.faults.guard(activity.value):
                done = await action()
        except AzureCniError as error:
            self.fail(activity, error)
            return False
        if not done:
            return False
        ended = self._failures.clear(activity)
        if ended is not None:
            log.info("works again", extra={"activity": activity.value, "attempts": ended.attempts})
        return True

    def fail(self, activity: Activity, error: AzureCniError) -> None:
        """Record and report that the activity failed, in whole or in part."""
        now_s = self._core.ports.clock.boottime_s()
        news = self._failures.record(activity, error, now_s=now_s)
        if not self._failures.blocks(activity, now_s=now_s):
            self._schedule.wake()
        self._core.ports.observer.reconciled(error.reason)
        if isinstance(error, Throttled) and error.retry_after_s:
            self._core.ports.observer.throttled(error.retry_after_s)
        log.log(
            logging.WARNING if news else logging.INFO,
            "activity failed",
            extra={"activity": activity.value, "reason": error.reason, "error": str(error)},
        )
        failure = self._failures.get(activity)
        if news and failure is not None:
            self._events.publish("Warning", error.reason, self._status_builder.describe(failure))

    def lapse(self, *activities: Activity) -> None:
        """Nothing is to be done for them now (`Failures.lapse`)."""
        for activity in activities:
            self._failures.lapse(activity, now_s=self._core.ports.clock.boottime_s())

    def retry_growth(self) -> bool:
        """Let a growth be tried at once that a full subnet refused (`Failures.retry`); False where none was."""
        now_s = self._core.ports.clock.boottime_s()
        return self._failures.retry(Activity.GROW, SubnetFull, now_s=now_s)

    def hurry(self) -> None:
        """Something changed that may help (`Failures.hurry`)."""
        self._failures.hurry(now_s=self._core.ports.clock.boottime_s())


async def run_passes(
    run_pass: Callable[[], Awaitable[float]], rest: Callable[[float], Awaitable[None]], faults: Faults
) -> None:
    """Pass after pass, until cancelled; `rest` takes what `run_pass` returns.

    One that fails outside its activities is run again, with growing pauses.
    """
    failures = 0
    while True:
        try:
            with faults.guard("pass"):
                due = await run_pass()
            failures = 0
        except AzureCniError as error:
            failures += 1
            pause_s = delay_s(failures, retry_after_s=None, jitter=1.0)
            log.warning("pass failed", extra={"reason": error.reason, "error": str(error), "again_s": pause_s})
            await asyncio.sleep(pause_s)
            continue
        await rest(due)
