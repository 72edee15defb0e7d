"""When the pool task looks again: all that is due, as boot times, judged by when the pass began.

What falls due while a pass is under way (it may wait for the API server, or for Azure) is still due when it ends. What
was due when it began was tried; if it was not done, something holds it up that has a time of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from azure_cni.node.pool.failures import Activity
from azure_cni.node.ports import Clock

LONGEST_REST_S: Final = 30.0
DEBOUNCE_S: Final = 0.05
"""A burst of pods is one pass, not one each."""


class Schedule:
    """The times of one node's pool task: what it does next, whether it is in a pass, and since when it has stood still.

    `wake` may be called from anywhere on the loop; all else is the pool task's.
    """

    def __init__(self) -> None:
        self.began_s = float("-inf")
        """Boot time at which the pass began."""
        self.in_pass = False
        self._at_s: dict[Activity, float] = {}
        self._set_in_pass: set[Activity] = set()
        self._woken = asyncio.Event()
        self._awaits_azure = False
        self._progress_s = float("-inf")

    def pass_begins(self, now_s: float) -> None:
        """What becomes due from now on is due after this pass, unless the pass does it."""
        self.began_s = self._progress_s = now_s
        self.in_pass = True
        self._set_in_pass.clear()

    def set_due(self, activity: Activity, at_s: float) -> None:
        """The activity is due then, and not before."""
        self._at_s[activity] = at_s
        self._set_in_pass.add(activity)

    def is_due(self, activity: Activity, *, now_s: float) -> bool:
        """It is time; also for what has no time yet."""
        return now_s >= self._at_s.get(activity, float("-inf"))

    def rest_s(self, others: Iterable[float | None], *, now_s: float) -> float:
        """Seconds until the first thing is due, here or in the `others`' boot times."""
        due = [at_s for at_s in (*self._at_s.values(), *others) if at_s is not None and at_s > self.began_s]
        due += [self._at_s[activity] for activity in self._set_in_pass]
        return min(max(DEBOUNCE_S, min(due, default=float("inf")) - now_s), LONGEST_REST_S)

    def wake(self) -> None:
        """Something changed: look soon."""
        self._woken.set()

    async def rest(self, rest_s: float) -> None:
        """Between two passes: until something wakes the task, this long at most."""
        self.in_pass = False
        try:
            async with asyncio.timeout(rest_s):
                await self._woken.wait()
            await asyncio.sleep(DEBOUNCE_S)
        except TimeoutError:
            pass
        self._woken.clear()

    @contextmanager
    def azure_wait(self, clock: Clock) -> Iterator[None]:
        """Around a call to Azure, which may take seconds to minutes over an answer: the task does not stand still."""
        self._awaits_azure = True
        try:
            yield
        finally:
            self._awaits_azure, self._progress_s = False, clock.boottime_s()

    def last_progress_s(self, *, now_s: float) -> float:
        """Boot time of the task's last sign of life: a pass takes seconds, apart from its waits for Azure."""
        return now_s if self._awaits_azure else self._progress_s
