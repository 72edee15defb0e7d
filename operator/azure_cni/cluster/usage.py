"""How many addresses of one VNet are in use, as Azure counts them: what others use cannot be granted.

Azure is asked as seldom as does no harm: each answer costs one request of the budget that all of the subscription
share. So each VNet is asked at its own times, more often only while an answer could change what nodes get.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Final

from azure_cni.api.identity import short_id
from azure_cni.api.nic import VNetID
from azure_cni.cluster.books import Findings
from azure_cni.cluster.census import Census
from azure_cni.cluster.ports import Clock, VNets
from azure_cni.cluster.words import NOTHING, Remark
from azure_cni.errors import AzureCniError, CloudUnreachable, Throttled

log = logging.getLogger(__name__)

PATIENCE_S: Final = 15.0
"""How long the first grants of a term wait for an answer."""
WHEN_FULL_S: Final = 60.0
"""How often it is read while nodes want more than there is: somebody may have left room."""
AFTER_NEWS_S: Final = 10.0
"""The same when nodes have come since: until then their own addresses are taken for somebody else's, and off what may
be granted. Where many come at once, each of them would be granted a little less, and a little later the rest."""


class Usage:
    """Keeps `findings.used` of one VNet; without an answer the last one stays good, and `findings.silence` says why."""

    def __init__(
        self, *, vnets: VNets, clock: Clock, census: Census, vnet_id: VNetID, findings: Findings, every_s: float
    ) -> None:
        self._vnets = vnets
        self._clock = clock
        self._census = census
        self._vnet_id = vnet_id
        self._findings = findings
        self._every_s = every_s
        self._asked_s = float("-inf")

    def is_due(self, *, exhausted: bool) -> bool:
        """Whether to read it now; `exhausted`: nodes want more than there is."""
        every_s = min(self._every_s, WHEN_FULL_S) if exhausted else self._every_s
        if self._nodes() > self._findings.nodes:
            every_s = min(every_s, AFTER_NEWS_S)
        return self._clock.monotonic_s() >= self._asked_s + every_s

    async def read(self) -> bool:
        """Ask Azure; False when there is no answer."""
        self._asked_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(PATIENCE_S):
                used = await self._vnets.used(self._vnet_id)
        except TimeoutError:
            return self.take(CloudUnreachable(f"cannot read how full the VNet is: no answer within {PATIENCE_S:g} s"))
        except AzureCniError as error:
            return self.take(error)
        return self.take(used)

    def take(self, answer: int | AzureCniError) -> bool:
        """Azure has just answered that, to whomever it was; False when it is no answer."""
        self._asked_s = self._clock.monotonic_s()
        if isinstance(answer, AzureCniError):
            if isinstance(answer, Throttled):
                self._findings.throttled_until_s = self._clock.utc_s() + (answer.retry_after_s or 0.0)
            self._tell(answer)
            return False
        if self._findings.silence != NOTHING:
            log.info("how full a vnet is can be read again", extra={"vnet": short_id(self._vnet_id)})
        self._findings.silence = NOTHING
        self._findings.nodes = self._nodes()
        self._findings.used = (answer, math.floor(self._clock.utc_s()))
        return True

    def _nodes(self) -> int:
        return len(self._census.of(self._vnet_id))

    def _tell(self, error: AzureCniError) -> None:
        """Once for each reason: the words of one can differ each time, and be no news."""
        if error.reason != self._findings.silence.reason:
            self._findings.silence = Remark(error.reason, str(error))
            log.warning("cannot read how full a vnet is", extra={"vnet": short_id(self._vnet_id), "error": str(error)})
