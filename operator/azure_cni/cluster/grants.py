"""Granting: what the nodes of one VNet ask for is reserved in one write of the ledger, and then answered.

A round looks at all pools. What must be reserved goes into the quota's ledger together, in one compare-and-swap with
the tokens that it costs; only then the pools are answered, each by a compare-and-swap on the version it was decided
from. To take back goes the other way: the pools first, the ledger last. A write that fails is not repeated: the object
is read anew, and the next round decides anew. Nothing that was decided survives its round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from azure_cni.api.quota import Draft, LedgerEntry, VNetQuota
from azure_cni.cluster.census import Census, Member
from azure_cni.cluster.ports import Clock, Observer, Pools
from azure_cni.cluster.quota_keeper import QuotaKeeper
from azure_cni.errors import KubeConflict, KubeError, KubeNotFound
from azure_cni.ipam.grants import Answer, Decision, QuotaEntry, Reserve, TakeBack, ceiling, decide

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Pools written at one time."""
LONGEST_REST_S: Final = 30.0


class Grants:
    """The grants of one VNet. `round` is called again and again, by one task."""

    def __init__(
        self, *, keeper: QuotaKeeper, vnet_id: str, census: Census, pools: Pools, clock: Clock, observer: Observer
    ) -> None:
        self._keeper = keeper
        self._vnet_id = vnet_id
        self._census = census
        self._pools = pools
        self._clock = clock
        self._observer = observer
        self._places = asyncio.Semaphore(AT_ONCE)

    async def round(self) -> float:
        """Look at all pools once; returns the seconds until the next look if nothing wakes us before."""
        began_s = self._clock.monotonic_s()
        quota = await self._keeper.ensure()
        members = self._census.of(self._vnet_id)
        reserved = _reserved(quota, members)
        if reserved:
            quota = await self._keeper.write(quota, _draft(quota, reserved))
        lowered = await self._settle(quota, members)
        if lowered:
            await self._keeper.write(quota, _draft(quota, lowered))
        self._observer.round(self._clock.monotonic_s() - began_s)
        return LONGEST_REST_S

    async def _settle(self, quota: VNetQuota, members: Iterable[Member]) -> dict[str, LedgerEntry]:
        """Answer what is reserved; returns the entries to lower, those whose pools were lowered."""
        answers: list[Coroutine[Any, Any, bool]] = []
        lowered: dict[str, LedgerEntry] = {}
        retreats: list[tuple[Member, TakeBack]] = []
        granted = quota.granted
        for member in members:
            match _decide(quota, member, granted=granted):
                case Answer(granted=count, granted_for=number):
                    answers.append(self._tell(member, {"granted": count, "grantedFor": number}))
                case TakeBack() as retreat:
                    retreats.append((member, retreat))
                case _:
                    pass
        writes = answers + [self._tell(member, {"granted": retreat.granted}) for member, retreat in retreats]
        done = await asyncio.gather(*writes)
        for (member, retreat), ok in zip(retreats, done[len(answers) :], strict=True):
            if ok:
                lowered[member.name] = replace(quota.entries[member.name], count=retreat.entry.count)
        if any(done):
            log.info(
                "nodes answered",
                extra={"quota": quota.name, "answered": sum(done[: len(answers)]), "lowered": len(lowered)},
            )
        return lowered

    async def _tell(self, member: Member, status: Mapping[str, Any]) -> bool:
        """Write a pool that is as it was when we decided; False when it is not, and is known anew."""
        async with self._places:
            try:
                body = await self._pools.write(member.name, version=member.version, status=status)
            except KubeConflict:
                await self._look_again(member)
                return False
            except KubeNotFound:
                self._census.forget(member.name, uid=member.uid)
                return False
            except KubeError as error:
                log.warning("cannot answer a node", extra={"pool": member.name, "error": str(error)})
                return False
        self._census.see(body, now_s=self._clock.monotonic_s())
        return True

    async def _look_again(self, member: Member) -> None:
        body = await self._pools.read(member.name)
        if body is None:
            self._census.forget(member.name, uid=member.uid)
        else:
            self._census.see(body, now_s=self._clock.monotonic_s())


def _reserved(quota: VNetQuota, members: Iterable[Member]) -> dict[str, LedgerEntry]:
    granted, reserved = quota.granted, {}
    for member in members:
        match _decide(quota, member, granted=granted):
            case Reserve(entry=entry):
                before = quota.entries.get(member.name, LedgerEntry())
                granted += entry.count - before.count
                reserved[member.name] = LedgerEntry(entry.count, entry.request_id, member.nic or before.nic)
            case _:
                pass
    return reserved


def _decide(quota: VNetQuota, member: Member, *, granted: int) -> Decision:
    entry = quota.entries.get(member.name, LedgerEntry())
    room = ceiling(limit=quota.grantable, per_node=quota.limits.per_node, others=granted - entry.count)
    return decide(member.view, QuotaEntry(entry.count, entry.request_id), ceiling=room)


def _draft(quota: VNetQuota, entries: Mapping[str, LedgerEntry]) -> Draft:
    after = {**quota.entries, **entries}
    granted = sum(entry.count for entry in after.values())
    return Draft(entries=entries, fields={"granted": granted, "nodes": len(after)})
