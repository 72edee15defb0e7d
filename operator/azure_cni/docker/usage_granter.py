"""Who allows addresses where no controller does: the VNet itself, by what Azure counts as in use.

A node asks for addresses as it does in a cluster, and the answer is written into its pool in the same fields. Before
each growth the usage of the VNet is read. It counts everything in it, this VM's addresses too, so a growth fits while

    in use + growth <= limit - reserved

What does not fit is not granted, and the pool says so with the numbers; it is read again each minute while the node
wants more. What the NIC holds already is always granted: nothing is taken away from containers.

Nothing is reserved between VMs: two that ask within seconds of each other read the same usage, and may pass the limit
by one growth. With Kubernetes the controller's ledger prevents that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api.node_ip_pool import NodeIPPool, WriteIntent
from azure_cni.api.vnet_quota import LIMIT
from azure_cni.docker.ports import VNetUsage
from azure_cni.docker.standalone_pool import StandalonePool
from azure_cni.errors import AzureCniError, CloudError, CloudUnreachable
from azure_cni.faults import Faults
from azure_cni.model.identity import short_id
from azure_cni.model.nic import MAX_ADDRESSES_PER_NODE, VNetID
from azure_cni.model.text import addresses
from azure_cni.node.ports import Clock
from azure_cni.quota.messages import QUOTA_EXCEEDED

log = logging.getLogger(__name__)

AGAIN_S: Final = 60.0
"""How often the usage is read while the node wants more than it was granted: others may have freed addresses."""
FRESH_S: Final = 10.0
"""How long a refusal is believed when the node asks for something else meanwhile."""
READ_S: Final = 15.0
"""How long a node that wants to grow waits for Azure's count."""


@dataclass(frozen=True, slots=True)
class StandaloneQuota:
    """What all that is in the VNet may take, and what of it is kept for others. Counts are addresses."""

    limit: int = LIMIT
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class GrowthAnswer:
    """What a node may hold, and why that is less than it asks for; "" where it is not."""

    granted: int
    reason: str = ""
    message: str = ""

    def status(self, number: int) -> dict[str, Any]:
        """As fields of the pool's status, for the request of that number."""
        return {
            "granted": self.granted,
            "grantedFor": number,
            "grantReason": self.reason or None,
            "grantMessage": self.message or None,
        }


def needs_reading(pool: NodeIPPool) -> bool:
    """Whether the request is for more than the NIC holds; only then the VNet's usage matters."""
    return pool.write_intent is WriteIntent.GROW and pool.view.request.count > pool.view.allocated


def answer(pool: NodeIPPool, quota: StandaloneQuota, used: int | CloudError) -> GrowthAnswer:
    """What to grant a pool that wants to grow; `used` are addresses in use in its VNet, or why Azure does not say."""
    asked, held = pool.view.request.count, pool.view.allocated
    if isinstance(used, CloudError):
        return GrowthAnswer(
            held,
            used.reason,
            f"{held} of {addresses(asked)} granted: how many addresses of VNet {short_id(pool.vnet_id)} are in use "
            f"cannot be read, and nothing is added before that is known: {used}",
        )
    room = max(0, quota.limit - quota.reserved - used)
    granted = min(asked, held + room, MAX_ADDRESSES_PER_NODE)
    if granted >= asked:
        return GrowthAnswer(asked)
    kept = f", {quota.reserved} are reserved (quota.reserved)" if quota.reserved else ""
    return GrowthAnswer(
        granted,
        QUOTA_EXCEEDED,
        f"{granted} of {addresses(asked)} granted: VNet {short_id(pool.vnet_id)} may have {quota.limit} (quota.limit), "
        f"{used} are in use{kept}; free some, or raise quota.limit in docker.toml",
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """What Azure last answered, at which boot time, and what the NIC held then."""

    at_s: float
    held: int
    used: int | CloudError


class UsageGranter:
    """Answers the requests of one pool. `show` is called with each version that it writes."""

    def __init__(
        self,
        pool: StandalonePool,
        usage: VNetUsage | None,
        *,
        quota: StandaloneQuota,
        show: Callable[[NodeIPPool], None],
        clock: Clock,
        faults: Faults,
    ) -> None:
        self._pool = pool
        self._usage = usage
        """None where azure-cni does not write the NIC: then it never grows."""
        self._quota = quota
        self._show = show
        self._clock = clock
        self._reading: _Reading | None = None
        self._faults = faults

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._pool.changed.clear()
            try:
                with self._faults.guard("grant"):
                    await self._answer()
            except AzureCniError as error:
                log.warning("request not answered", extra={"reason": error.reason, "error": str(error)})
            try:
                async with asyncio.timeout(AGAIN_S):
                    await self._pool.changed.wait()
            except TimeoutError:
                continue

    async def _answer(self) -> None:
        """Answer the newest request if it has no answer, or was granted less than it asks for."""
        pool = self._pool.shown
        view = pool.view
        if not view.request.number or (view.granted_for == view.request.number and view.granted >= view.request.count):
            return
        if view.granted_for == view.request.number and self._age_s() < AGAIN_S:
            return
        if not needs_reading(pool) or self._usage is None:
            found = GrowthAnswer(min(view.request.count, MAX_ADDRESSES_PER_NODE))
        else:
            found = answer(pool, self._quota, await self._used(self._usage, pool))
        if self._pool.shown.view.request != view.request:  # it asks for something else meanwhile
            self._pool.changed.set()
            return
        if found.reason and found.message != pool.grant_message:
            log.warning("growth not granted", extra={"reason": found.reason, "why": found.message})
        self._show(self._pool.grant(found.status(view.request.number)))

    def _age_s(self) -> float:
        return float("inf") if self._reading is None else self._clock.boottime_s() - self._reading.at_s

    async def _used(self, usage: VNetUsage, pool: NodeIPPool) -> int | CloudError:
        """Azure's count. After a refusal it is not read again for a moment, however often the node asks."""
        held, last = pool.view.allocated, self._reading
        if last is None or last.held != held or not pool.grant_reason or self._age_s() >= FRESH_S:
            used = await self._read(usage, pool.vnet_id)
            self._reading = last = _Reading(self._clock.boottime_s(), held, used)
        return last.used

    async def _read(self, usage: VNetUsage, vnet_id: VNetID) -> int | CloudError:
        try:
            async with asyncio.timeout(READ_S):
                return await usage.used(vnet_id)
        except TimeoutError:
            return CloudUnreachable(f"cannot read how full the VNet is: no answer within {READ_S:g} s")
        except CloudError as error:
            return error
