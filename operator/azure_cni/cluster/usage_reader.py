"""How many addresses of one VNet and its subnets are in use, as Azure counts them: what others use cannot be granted.

Each read costs one request of a budget that the whole subscription shares. So each VNet is read at its own intervals,
and more often only while the result could change what nodes get.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Final

from azure_cni.cluster.node_index import NodeIndex
from azure_cni.cluster.ports import ControllerClock, VNets
from azure_cni.errors import AzureCniError, CloudUnreachable, Throttled
from azure_cni.model.identity import short_id
from azure_cni.model.nic import MOST_USED, SubnetUsage, VNetID
from azure_cni.quota import external_usage
from azure_cni.quota.external_usage import UNKNOWN, HeldBounds, UsageReading
from azure_cni.quota.messages import NOTHING, Explanation

log = logging.getLogger(__name__)

USAGE_READ_TIMEOUT_S: Final = 15.0
"""The first grants of a VNet wait this long for an answer."""
WHEN_FULL_S: Final = 60.0
"""How often it is read while nodes want more than there is: others may have freed addresses."""
AFTER_NEWS_S: Final = 10.0
"""The same when nodes have come since: until then their own addresses count as somebody else's, and reduce what may be
granted. If many come at once, each would be granted a little less at first, and the rest a little later.
And while nodes want more than there is, and others' use is a part of why, once less than half as much of what NICs hold
is in doubt as at the last reading: what looked like others' use while many were written may be none.
"""


class UsageReader:
    """Keeps a VNet's reading; without an answer the last one stays good, and `reading.silence` says why."""

    def __init__(
        self,
        *,
        vnets: VNets,
        clock: ControllerClock,
        node_index: NodeIndex,
        vnet_id: VNetID,
        reading: UsageReading,
        every_s: float,
        held: Callable[[], HeldBounds] = lambda: UNKNOWN,
    ) -> None:
        """`held`: what this cluster holds now, as far as is known."""
        self._vnets = vnets
        self._clock = clock
        self._node_index = node_index
        self._vnet_id = vnet_id
        self._reading = reading
        self._every_s = every_s
        self._held = held
        self._asked_s = float("-inf")
        self._looseness = float("inf")
        """Of what this cluster held at the last reading, in addresses."""

    def is_due(self, *, exhausted: bool, others: bool = False) -> bool:
        """Whether to read it now. `exhausted`: nodes want more than there is; `others`: others use some of it, as is
        known now.
        """
        every_s = min(self._every_s, WHEN_FULL_S) if exhausted else self._every_s
        if self._nodes() > self._reading.nodes or (exhausted and others and self._is_surer()):
            every_s = min(every_s, AFTER_NEWS_S)
        return self._clock.monotonic_s() >= self._asked_s + every_s

    def _is_surer(self) -> bool:
        """A reading now would tell others' use better than the last one."""
        return 2 * external_usage.looseness(self._held()) < self._looseness

    async def read(self) -> bool:
        """Ask Azure; False when there is no answer."""
        self._asked_s, before = self._clock.monotonic_s(), self._held()
        try:
            async with asyncio.timeout(USAGE_READ_TIMEOUT_S):
                usages = await self._vnets.usages(self._vnet_id)
        except TimeoutError:
            return self.take(
                CloudUnreachable(f"cannot read how full the VNet is: no answer within {USAGE_READ_TIMEOUT_S:g} s")
            )
        except AzureCniError as error:
            return self.take(error)
        return self.take(usages, before=before)

    def take(self, answer: tuple[SubnetUsage, ...] | AzureCniError, *, before: HeldBounds = UNKNOWN) -> bool:
        """Use a reading that somebody else has just made; False if it failed. `before`: as in `UsageReading`."""
        self._asked_s = self._clock.monotonic_s()
        if isinstance(answer, AzureCniError):
            if isinstance(answer, Throttled):
                self._reading.throttled_until_s = self._clock.monotonic_s() + (answer.retry_after_s or 0.0)
            self._report_failure(answer)
            return False
        if self._reading.silence != NOTHING:
            log.info("how full a vnet is can be read again", extra={"vnet": short_id(self._vnet_id)})
        self._reading.silence = NOTHING
        self._reading.nodes = self._nodes()
        used = min(MOST_USED, sum(usage.used for usage in answer))
        self._reading.used = (used, math.floor(self._clock.utc_s()))
        self._reading.subnets, self._reading.before = answer, before
        self._looseness = float("inf") if before is UNKNOWN else external_usage.looseness(before)
        return True

    def _nodes(self) -> int:
        return len(self._node_index.of(self._vnet_id))

    def _report_failure(self, error: AzureCniError) -> None:
        """Log once for each reason: the message of one can differ each time without being news."""
        if error.reason != self._reading.silence.reason:
            self._reading.silence = Explanation(error.reason, str(error))
            log.warning("cannot read how full a vnet is", extra={"vnet": short_id(self._vnet_id), "error": str(error)})
