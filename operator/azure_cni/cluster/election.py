"""Which controller leads: the one that holds the lease, renews it while it works, and hands it over when it stops.

A lease has expired when it did not change for its whole duration on our own clock. The times in it are never compared:
they come from other clocks, and are for people. The lease only keeps controllers out of each other's way; no limit
depends on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api.reading import real, spec_of, text, version, whole
from azure_cni.cluster.ports import ControllerClock, Leases
from azure_cni.errors import AzureCniError, KubeConflict
from azure_cni.faults import Faults
from azure_cni.model.text import exact_time_text

log = logging.getLogger(__name__)

RELEASE_S: Final = 3.0
LONGEST_DURATIONS: Final = 10.0
"""A lease whose duration somebody set to years expires after this many of our own durations without a renewal."""
MOST_TRANSITIONS: Final = 2**31 - 1
"""By the definition of a Lease (int32)."""


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Seconds, as Kubernetes' own controllers have them."""

    duration_s: float = 15.0
    """Others may take over a lease that has not changed for this long."""
    give_up_s: float = 10.0
    """We give up a lease that we could not renew for this long, well before others may take it over."""
    retry_s: float = 2.0


class Election:
    """One candidate. `identity` must differ from that of every other, of an earlier life under the same name too."""

    def __init__(
        self,
        leases: Leases,
        *,
        identity: str,
        clock: ControllerClock,
        faults: Faults,
        timing: LeaseTiming | None = None,
    ) -> None:
        self._leases = leases
        self._identity = identity
        self._clock = clock
        self._faults = faults
        self._timing = timing or LeaseTiming()
        self._seen: Mapping[str, Any] | None = None
        self._seen_s = 0.0
        """When `_seen` was first seen as it is."""
        self._unreachable = False
        self.leads = False

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Compete; while the lease is ours, `work()` runs, and is cancelled when it is lost. Never returns."""
        while True:
            asked_s = await self._acquire()
            log.info("leading", extra={"identity": self._identity})
            self.leads = True
            try:
                async with asyncio.TaskGroup() as term:
                    working = term.create_task(work(), name="work")
                    await self._keep(asked_s)
                    working.cancel()
            finally:
                self.leads = False
                await self._release()
            log.warning("not leading any more", extra={"identity": self._identity, "holder": self._holder})

    @property
    def _holder(self) -> str:
        return text(spec_of(self._seen or {}).get("holderIdentity"))

    async def _acquire(self) -> float:
        """Wait for the lease; returns the time from which it counts (see `_keep`)."""
        while True:
            asked_s = self._clock.monotonic_s()
            if await self._attempt(self._try_to_take):
                return asked_s
            await asyncio.sleep(self._timing.retry_s)

    async def _keep(self, renewed_s: float) -> None:
        """Renew, until the lease is lost.

        Its time counts from the start of the renewal; others count from the write, which comes later. An attempt that
        is still running when the time is over is cancelled.
        """
        while True:
            left_s = renewed_s + self._timing.give_up_s - self._clock.monotonic_s()
            try:
                async with asyncio.timeout(left_s):
                    await asyncio.sleep(self._timing.retry_s)
                    asked_s = self._clock.monotonic_s()
                    renewed = await self._attempt(self._renew)
            except TimeoutError:
                return
            if renewed:
                renewed_s = asked_s
            elif self._holder != self._identity:
                return

    async def _attempt(self, action: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """False also when the API server does not answer; the log says so when that begins and when it ends."""
        try:
            async with asyncio.timeout(self._timing.give_up_s / 2):
                with self._faults.guard("lease"):
                    done = await action()
        except (AzureCniError, TimeoutError) as error:
            if not self._unreachable:
                log.warning("cannot renew the lease", extra={"error": str(error) or "no answer in time"})
            self._unreachable = True
            return False
        if self._unreachable:
            log.info("the lease is renewed again")
        self._unreachable = False
        return done

    async def _try_to_take(self) -> bool:
        lease = await self._leases.read()
        if lease is None:
            return await self._write(None, taken=True)
        self._see(lease)
        if self._holder and self._clock.monotonic_s() - self._seen_s < self._lasts_s(lease):
            return False
        return await self._write(lease, taken=True)

    async def _renew(self) -> bool:
        if self._seen is None:
            return False
        if await self._write(self._seen, taken=False):
            return True
        lease = await self._leases.read()
        if lease is None:
            self._seen = None
        else:
            self._see(lease)
        return self._holder == self._identity

    async def _write(self, seen: Mapping[str, Any] | None, *, taken: bool) -> bool:
        spec = self._spec(seen, taken=taken)
        try:
            written = await (self._leases.create(spec) if seen is None else self._leases.write(seen, spec))
        except KubeConflict:
            return False
        self._see(written)
        return True

    def _spec(self, seen: Mapping[str, Any] | None, *, taken: bool) -> dict[str, Any]:
        now = exact_time_text(self._clock.utc_s())
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._timing.duration_s),
            "renewTime": now,
        }
        if taken:
            before = whole(spec_of(seen or {}).get("leaseTransitions"), most=MOST_TRANSITIONS - 1)
            spec |= {"acquireTime": now, "leaseTransitions": 0 if seen is None else before + 1}
        return spec

    def _see(self, lease: Mapping[str, Any]) -> None:
        if self._seen is None or version(lease) != version(self._seen):
            self._seen_s = self._clock.monotonic_s()
        self._seen = lease

    def _lasts_s(self, lease: Mapping[str, Any]) -> float:
        """The holder's duration, within reason: it may run a build with another one."""
        usual_s = self._timing.duration_s
        said = spec_of(lease).get("leaseDurationSeconds") or usual_s
        return real(said, least=0.0, most=LONGEST_DURATIONS * usual_s, default=usual_s)

    async def _release(self) -> None:
        """Hand over at once, so that others need not wait until it expires. Best effort."""
        if self._seen is None or self._holder != self._identity:
            return
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": exact_time_text(self._clock.utc_s())}
        try:
            async with asyncio.timeout(RELEASE_S):
                self._see(await self._leases.write(self._seen, spec))
        except (AzureCniError, TimeoutError) as error:
            log.info("lease not handed over", extra={"error": str(error) or "no answer in time"})
