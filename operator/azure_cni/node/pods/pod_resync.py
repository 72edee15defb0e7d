"""Lists the pods of this node again, because a watch that was broken does not report what was deleted meanwhile.

A pod that stays in the demand for ever holds addresses that nobody needs. The watch says when it began with a list, and
each half hour the pods are listed in any case: one call, which with the watches makes six an hour for a node at rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from azure_cni.node.pods.demand import Demand
from azure_cni.node.ports import PodList

log = logging.getLogger(__name__)

PERIOD_S: Final = 1800.0
RETRY_S: Final = 60.0


class PodResync:
    """Keeps the demand from remembering pods that are gone."""

    def __init__(self, *, pods: PodList, demand: Demand, wake: Callable[[], None], faults: Faults) -> None:
        self._pods = pods
        self._demand = demand
        self._wake = wake
        self._faults = faults
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Something may have been missed: count soon."""
        self._requested.set()

    async def run(self) -> None:
        """Whenever it is asked for, and each half hour, until cancelled. A count that fails is repeated."""
        rest_s = PERIOD_S
        while True:
            try:
                async with asyncio.timeout(rest_s):
                    await self._requested.wait()
            except TimeoutError:
                pass
            rest_s = PERIOD_S if await self._list_pods() else RETRY_S

    async def _list_pods(self) -> bool:
        self._requested.clear()
        self._demand.begin_list()
        try:
            with self._faults.guard("pods"):
                self._demand.replace(await self._pods.list())
        except AzureCniError as error:
            log.warning("pods not listed", extra={"reason": error.reason, "error": str(error)})
            return False
        self._wake()
        return True
