"""Which controller works: whoever holds the lease, renews it while it works, and hands it over when it stops.

A lease is judged by what is seen of it here: it has expired when it did not change for its whole duration on our own
clock, never by comparing the times in it, which are of other clocks and for people. It is a courtesy, so that
controllers do not run into one another; no limit depends on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api import times
from azure_cni.api.reading import real, spec_of, text, whole
from azure_cni.api.versions import version
from azure_cni.cluster.ports import Clock, Leases
from azure_cni.errors import AzureCniError, KubeConflict
from azure_cni.faults import Faults

log = logging.getLogger(__name__)

RELEASE_S: Final = 3.0
LONGEST_DURATIONS: Final = 10.0
"""A lease that somebody wrote to last for years ends after this many of our own durations without a renewal."""
MOST_TRANSITIONS: Final = 2**31 - 1
"""By the definition of a Lease (int32)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds, as Kubernetes' own controllers have them."""

    duration_s: float = 15.0
    """Others may take a lease that did not change for so long."""
    give_up_s: float = 10.0
    """A lease that could not be renewed for so long is lost to us, well before others may take it."""
    retry_s: float = 2.0


class Election:
    """One candidate. `identity` must differ from that of every other, of an earlier life under the same name too."""

    def __init__(
        self, leases: Leases, *, identity: str, clock: Clock, faults: Faults, pace: Pace | None = None
    ) -> None:
        self._leases = leases
        self._identity = identity
        self._clock = clock
        self._faults = faults
        self._pace = pace or Pace()
        self._seen: Mapping[str, Any] | None = None
        self._seen_s = 0.0
        """When `_seen` was first seen as it is."""
        self._unreachable = False
        self.leads = False

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Compete; while the lease is ours, `work()` runs, and is cancelled when it is lost. Never ends by itself."""
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
            await asyncio.sleep(self._pace.retry_s)

    async def _keep(self, renewed_s: float) -> None:
        """Renew, until the lease is lost.

        Its time counts from when it was asked for: others count from the write, which came later. An attempt that is
        still under way when the time is over ends with it.
        """
        while True:
            left_s = renewed_s + self._pace.give_up_s - self._clock.monotonic_s()
            try:
                async with asyncio.timeout(left_s):
                    await asyncio.sleep(self._pace.retry_s)
                    asked_s = self._clock.monotonic_s()
                    renewed = await self._attempt(self._renew)
            except TimeoutError:
                return
            if renewed:
                renewed_s = asked_s
            elif self._holder != self._identity:
                return

    async def _attempt(self, action: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """False also when the API server does not answer; that is told when it begins and when it ends."""
        try:
            async with asyncio.timeout(self._pace.give_up_s / 2):
                with self._faults.guard("lease"):
                    done = await action()
        except (AzureCniError, TimeoutError) as error:
            if not self._unreachable:
                log.warning("cannot keep up the lease", extra={"error": str(error) or "no answer in time"})
            self._unreachable = True
            return False
        if self._unreachable:
            log.info("the lease is kept up again")
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
        now = times.exact_text(self._clock.utc_s())
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._pace.duration_s),
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
        """As its holder said, within reason; we may have been built with another duration."""
        usual_s = self._pace.duration_s
        said = spec_of(lease).get("leaseDurationSeconds") or usual_s
        return real(said, least=0.0, most=LONGEST_DURATIONS * usual_s, default=usual_s)

    async def _release(self) -> None:
        """Hand over at once, instead of letting others wait. Best effort: then they wait."""
        if self._seen is None or self._holder != self._identity:
            return
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": times.exact_text(self._clock.utc_s())}
        try:
            async with asyncio.timeout(RELEASE_S):
                self._see(await self._leases.write(self._seen, spec))
        except (AzureCniError, TimeoutError) as error:
            log.info("lease not handed over", extra={"error": str(error) or "no answer in time"})
