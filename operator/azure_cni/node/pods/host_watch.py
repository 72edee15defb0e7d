"""Comparing as soon as others change something on the host, and from time to time whatever is heard.

The kernel announces what others change (`Datapath.changed`), so what they took away is right again within a fraction of
a second. Changes that do not end (routing daemons, other plugins, somebody who undoes each repair) must not take the
node's CPU: the wait before the next one is looked at doubles with each, and falls back after a while of peace. It never
is longer than a second, whoever changes what, for it holds all changes up alike: the guards that a flush takes away
must not be open for long because somebody else flips a switch. A look costs a few hundredths of a second of CPU.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from azure_cni.errors import AzureCniError
from azure_cni.node.pods.repair import Repair
from azure_cni.node.ports import Clock, Datapath, HostChange

log = logging.getLogger(__name__)

PERIOD_S = 30.0
"""Between comparisons of ledger and kernel while the kernel announces changes and nothing is to be put right."""
RETRY_S = 10.0
"""Until the next comparison after one that failed, and where the kernel announces nothing."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
PEACE_S = 30.0
_ENOUGH = 10  # 0.1 s doubled so often is past every limit


class Pause:
    """How long to wait after a comparison that a change by others led to, before the next change is looked at."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._last_s = float("-inf")

    def after(self, *, now_s: float) -> float:
        """Seconds."""
        self._in_a_row = self._in_a_row + 1 if now_s - self._last_s < PEACE_S else 0
        self._last_s = now_s
        return min(FIRST_PAUSE_S * 2.0 ** min(self._in_a_row, _ENOUGH), LONGEST_PAUSE_S)


class HostWatch:
    """`restore_node` puts the node's own part right, given what changed, and says whether there was anything to do."""

    def __init__(
        self, *, datapath: Datapath, repair: Repair, restore_node: Callable[[str], Awaitable[bool]], clock: Clock
    ) -> None:
        self._datapath = datapath
        self._repair = repair
        self._restore_node = restore_node
        self._clock = clock
        self._pause = Pause()
        self._deaf = False
        """The kernel cannot be listened to, and that has been said."""
        self._failed = False
        """The last comparison did not put everything right."""

    async def run(self) -> None:
        """Until cancelled."""
        compared_s = float("-inf")
        while True:
            change = await self._next(compared_s + (RETRY_S if self._failed else PERIOD_S))
            if change is None or change.sandboxes:
                compared_s = self._clock.boottime_s()
            await self._look(change or HostChange(sandboxes=True))
            if change is not None:
                await asyncio.sleep(self._pause.after(now_s=self._clock.boottime_s()))

    async def _next(self, due_s: float) -> HostChange | None:
        """What others changed; None when it is time to compare anyway."""
        left_s = due_s - self._clock.boottime_s()
        if left_s <= 0:  # also where there is always something to hear
            return None
        try:
            async with asyncio.timeout(left_s):
                return await self._datapath.changed()
        except TimeoutError:
            return None
        except AzureCniError as error:
            if not self._deaf:
                log.warning("changes by others are found by comparison only", extra={"error": str(error)})
            self._deaf = True
            await asyncio.sleep(RETRY_S)
            return None

    async def _look(self, change: HostChange) -> None:
        """Compare what may be concerned; what goes wrong is reported and tried again with the next comparison."""
        try:
            if change.node:
                await self._restore_node(change.cause)
            if change.sandboxes:
                await self._repair.compare()
                self._failed = False
        except AzureCniError as error:
            facts = {"work": "repair", "reason": error.reason, "error": str(error)}
            log.warning("periodic work failed", extra=facts)
            self._failed = self._failed or change.sandboxes
