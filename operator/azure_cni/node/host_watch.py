"""Comparing as soon as others change something on the host, and from time to time whatever is heard.

The kernel announces what others change (`Datapath.changed`), so what they took away is right again within a fraction of
a second. Two things keep that from becoming a burden. A change that asks for nothing (they happen) is looked at, and
the next one waits, up to a second if they do not end. And who undoes what was put right at once gets no fight: the wait
doubles with each repair, up to the period of the comparisons, and falls back after a while of peace. Somebody who
does it once a minute is answered each time at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from azure_cni.errors import AzureCniError
from azure_cni.node.ports import Clock, Datapath, HostChange
from azure_cni.node.repair import Repair

log = logging.getLogger(__name__)

PERIOD_S = 10.0
"""Between comparisons of ledger and kernel when nothing is heard. Of a node with 250 pods one takes 15 ms of CPU."""
FIRST_REST_S = 0.1
LONGEST_IDLE_REST_S = 1.0
LONGEST_REST_S = 10.0
PEACE_S = 30.0
_ENOUGH = 10  # 0.1 s doubled so often is past every limit


class Rest:
    """How long to wait after a comparison that a change by others led to, before the next change is looked at."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._last_s = float("-inf")

    def after(self, *, repaired: bool, now_s: float) -> float:
        """Seconds; `repaired` says whether there was something to put right."""
        self._in_a_row = self._in_a_row + 1 if now_s - self._last_s < PEACE_S else 0
        self._last_s = now_s
        return min(
            FIRST_REST_S * 2.0 ** min(self._in_a_row, _ENOUGH), LONGEST_REST_S if repaired else LONGEST_IDLE_REST_S
        )


class HostWatch:
    """`keep_node` puts the node's own part right, given what changed, and says whether there was anything to do."""

    def __init__(
        self, *, datapath: Datapath, repair: Repair, keep_node: Callable[[str], Awaitable[bool]], clock: Clock
    ) -> None:
        self._datapath = datapath
        self._repair = repair
        self._keep_node = keep_node
        self._clock = clock
        self._rest = Rest()
        self._deaf = False
        """The kernel cannot be listened to, and that has been said."""

    async def run(self) -> None:
        """Until cancelled."""
        compared_s = float("-inf")
        while True:
            change = await self._next(compared_s + PERIOD_S)
            if change is None or change.sandboxes:
                compared_s = self._clock.boottime_s()
            repaired = await self._look(change or HostChange(sandboxes=True))
            if change is not None:
                await asyncio.sleep(self._rest.after(repaired=repaired, now_s=self._clock.boottime_s()))

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
            await asyncio.sleep(PERIOD_S)
            return None

    async def _look(self, change: HostChange) -> bool:
        """Compare what may be concerned; what goes wrong is reported and tried again with the next comparison."""
        repaired = False
        try:
            if change.node:
                repaired = await self._keep_node(change.cause)
            if change.sandboxes:
                repaired = await self._repair.once() or repaired
        except AzureCniError as error:
            facts = {"work": "repair", "reason": error.reason, "error": str(error)}
            log.warning("periodic work failed", extra=facts)
        return repaired
