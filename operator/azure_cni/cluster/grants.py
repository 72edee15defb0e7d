"""Granting: what the nodes of one VNet ask for is reserved in one write of the ledger, and then answered.

A round looks at all pools. What must be reserved goes into the quota's ledger together, in one compare-and-swap with
the tokens that it costs; only then the pools are answered, each by a compare-and-swap on the version it was decided
from. To take back goes the other way: the pools first, the ledger last. A write that fails is not repeated: the object
is read anew, and the next round decides anew. Nothing that was decided survives its round.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from azure_cni.api import quota as quota_api
from azure_cni.api.quota import LONGEST_NIC_LABEL, Draft, Fact, LedgerEntry, Tokens, VNetQuota
from azure_cni.cluster import books, words
from azure_cni.cluster.allowance import capacity
from azure_cni.cluster.books import Findings
from azure_cni.cluster.census import Census, Member
from azure_cni.cluster.fairness import PermitHistory
from azure_cni.cluster.ledger_writes import LedgerWrites
from azure_cni.cluster.nic_changes import NicChanges
from azure_cni.cluster.pacing import Paced, paced
from azure_cni.cluster.quota_keeper import QuotaKeeper
from azure_cni.cluster.reclaim import Reclaim
from azure_cni.cluster.throttles import Throttles
from azure_cni.cluster.words import Remark
from azure_cni.cluster.world import ClusterWorld
from azure_cni.errors import KubeConflict, KubeError, KubeNotFound
from azure_cni.faults import Faults
from azure_cni.ipam.grants import Answer, QuotaEntry, Reserve, Rest, TakeBack, decide

log = logging.getLogger(__name__)

AT_ONCE: Final = 16
"""Pools written at one time."""
LONGEST_REST_S: Final = 30.0
RETRY_S: Final = 1.0
"""When to decide anew about pools that could not be written."""
PATIENCE_S: Final = 5.0
"""A node whose pods wait is told why, when its answer takes longer than this."""
SUMS_S: Final = 30.0
"""What nobody waits for (how many addresses pods hold) is written at most so often."""


@dataclass(frozen=True, slots=True)
class _Telling:
    """One write of a pool, and what it means for the ledger."""

    member: Member
    status: Mapping[str, Any]
    result: str
    lowers: LedgerEntry | None = None
    """The ledger's entry when this has been written: only then."""


class Grants:
    """The grants of one VNet. `round` is called again and again, by one task."""

    def __init__(
        self,
        *,
        world: ClusterWorld,
        keeper: QuotaKeeper,
        vnet_id: str,
        census: Census,
        findings: Findings,
        reclaim: Reclaim,
    ) -> None:
        self._world = world
        self._keeper = keeper
        self._vnet_id = vnet_id
        self._census = census
        self._findings = findings
        self._writes = LedgerWrites(keeper, world.clock)
        self._throttles = Throttles()
        self._history = PermitHistory()
        self._reclaim = reclaim
        self._nic_changes = NicChanges(
            vnets=world.vnets, clock=world.clock, faults=Faults(world.observer.internal_error)
        )
        self._places = asyncio.Semaphore(AT_ONCE)
        self._sums_s = float("-inf")
        self.delayed = 0
        """How many nodes wait for a permit."""

    @property
    def exhausted(self) -> bool:
        """Nodes ask for more than there is."""
        return self._keeper.quota is not None and self._keeper.quota.holds(Fact.EXHAUSTED)

    async def round(self) -> float:
        """Look at all pools once; returns the seconds until the next look if nothing wakes us before."""
        clock = self._world.clock
        began_s = clock.monotonic_s()
        quota = await self._keeper.ensure()
        members, refused = self._members()
        changes = await self._nic_changes.look(quota, members)
        vanished = await self._reclaim.look(quota, doubtful=changes.doubtful)
        refused |= changes.held
        refused |= self._writes.refused(members)
        members = [member for member in members if member.name not in refused]
        quota = replace(quota, azure=books.azure_use(quota, members, self._findings.used))
        now_s = clock.utc_s()
        heard = self._throttles.heard(
            members,
            known_until_s=quota.throttled_until_s or 0.0,
            own_until_s=self._findings.throttled_until_s,
            now_s=now_s,
        )
        plan = paced(
            quota,
            members,
            vanished=vanished,
            heard=heard,
            uses=self._history.uses(now_s=began_s),
            now_s=now_s,
            monotonic_s=began_s,
        )
        self.delayed = len(plan.delayed)
        if plan.throttled_anew_s:
            self._world.observer.throttled(plan.throttled_anew_s)
            log.warning("azure asks to wait", extra={"quota": quota.name, "seconds": round(plan.throttled_anew_s)})
        quota = await self._reserve(quota, members, plan)
        if plan.throttled_until_s:
            for member in members:
                if plan.costs.get(member.name):
                    self._throttles.tried(member, now_s=now_s)
        self._reclaim.done({key: entry for key, entry in vanished.items() if key not in quota.entries})
        tellings = [
            *_answers(quota, members),
            *self._delays(quota, members, plan),
            *_refusals(self._census, refused),
        ]
        told = await self._tell(quota, tellings)
        lowered = {telling.member.name: telling.lowers for telling in told if telling.lowers is not None}
        if lowered:
            await self._keeper.write(quota, self._draft(quota, lowered, members))
        self._world.observer.round(clock.monotonic_s() - began_s)
        if len(told) < len(tellings) or changes.more:
            return RETRY_S
        return min(plan.due_s, self._reclaim.due_in_s, PATIENCE_S if plan.delayed else LONGEST_REST_S)

    def _members(self) -> tuple[list[Member], dict[str, Remark]]:
        """The pools to grant to, and those that the API server would refuse an entry for, and with it all others'."""
        members, refused = [], {}
        for member in self._census.of(self._vnet_id):
            if len(member.nic) > LONGEST_NIC_LABEL:
                refused[member.name] = words.on_unwritable(member)
            else:
                members.append(member)
        return members, refused

    # The ledger.

    async def _reserve(self, quota: VNetQuota, members: Sequence[Member], plan: Paced) -> VNetQuota:
        """Write what is to be reserved, and what else the status must say; returns the quota as it is then."""
        now_s = self._world.clock.monotonic_s()
        draft = self._draft(replace(quota, throttled_until_s=plan.throttled_until_s), plan.changes, members)
        due = plan.turned_back or books.is_due(quota, draft, calm=now_s - self._sums_s >= SUMS_S)
        if not plan.changes and not due:
            return quota
        budget = {"budget": _budget(quota, plan.tokens)} if plan.tokens != quota.tokens else {}

        def drafted(seen: VNetQuota, changes: Mapping[str, LedgerEntry | None]) -> Draft:
            part = self._draft(replace(seen, throttled_until_s=plan.throttled_until_s), changes, members)
            return replace(part, fields={**part.fields, **budget})

        known = {member.name: member for member in members}
        written = await self._writes.write(quota, plan.changes, members=known, draft=drafted)
        self._sums_s = now_s
        self._history.note(plan.costs.items(), now_s=now_s)
        if plan.changes:
            permits = sum(plan.costs.values())
            facts = {"entries": len(plan.changes), "permits": permits, "delayed": len(plan.delayed)}
            log.info("ledger written", extra={"quota": quota.name, "granted": written.granted, **facts})
        return written

    def _draft(self, quota: VNetQuota, changes: Mapping[str, LedgerEntry | None], members: Sequence[Member]) -> Draft:
        """The changes, with the sums and conditions that go with them."""
        changed = replace(quota, entries=books.after(quota.entries, changes))
        silence, now_s = self._findings.silence, self._world.clock.utc_s()
        refused = self._writes.refused(self._census.of(self._vnet_id))
        fields = books.status_fields(changed, members, silence=silence, now_s=now_s, refused=refused)
        return Draft(changes, {key: value for key, value in fields.items() if quota.status.get(key) != value})

    # The pools.

    def _delays(self, quota: VNetQuota, members: Sequence[Member], plan: Paced) -> list[_Telling]:
        """What nodes are told whose pods wait and whose turn has not come: once for each cause, and Azure's anew."""
        now_s = self._world.clock.monotonic_s()
        waiting = [
            (member, _why_delayed(quota, member.name, plan))
            for member in members
            if member.name in plan.delayed and member.waiting and now_s - member.asking_since_s >= PATIENCE_S
        ]
        return [
            _Telling(member, remark.status(), result="put_off")
            for member, remark in waiting
            if words.is_news(member, remark)
        ]

    async def _tell(self, quota: VNetQuota, tellings: Sequence[_Telling]) -> list[_Telling]:
        """Write the pools; returns those that could be written."""
        async with asyncio.TaskGroup() as writes:
            done = [writes.create_task(self._tell_one(telling)) for telling in tellings]
        told = [telling for telling, written in zip(tellings, done, strict=True) if written.result()]
        if tellings:
            results = Counter(telling.result for telling in told)
            log.info("pools written", extra={"quota": quota.name, **results, "lost": len(tellings) - len(told)})
        return told

    async def _tell_one(self, telling: _Telling) -> bool:
        """Write a pool that is as it was when we decided; False when it is not, and is known anew."""
        member, observer = telling.member, self._world.observer
        async with self._places:
            try:
                body = await self._world.pools.write(member.name, version=member.version.number, status=telling.status)
            except KubeError as error:
                observer.granted(error.reason)
                await self._look_again(member, error)
                return False
        self._census.see(body, now_s=self._world.clock.monotonic_s())
        observer.granted(telling.result)
        return True

    async def _look_again(self, member: Member, error: KubeError) -> None:
        """Know anew what could not be written; when it had not changed, say why."""
        try:
            body = await self._world.pools.read(member.name)
        except KubeError as silent:
            error = silent
        else:
            if body is None:
                self._census.forget(member.name, uid=member.version.uid)
            else:
                self._census.see(body, now_s=self._world.clock.monotonic_s())
        if not isinstance(error, KubeConflict | KubeNotFound):
            log.warning("cannot answer a node", extra={"pool": member.name, "error": str(error)})


def _answers(quota: VNetQuota, members: Iterable[Member]) -> Iterator[_Telling]:
    """What the ledger as it stands allows to tell: a share of less than there is room for is an answer too."""
    for member in members:
        entry = quota.entries.get(member.name, LedgerEntry())
        match decide(member.view, QuotaEntry(entry.count, entry.request_id), ceiling=entry.count):
            case Answer(granted=count, granted_for=number):
                remark = words.on_answer(quota, member, count, former=books.held_by_former(quota.entries, member.name))
                status = {"granted": count, "grantedFor": number, **remark.status()}
                yield _Telling(member, status, result="short" if remark.reason else "full")
            case TakeBack(granted=count, entry=lowered):
                yield _Telling(
                    member, {"granted": count}, result="taken_back", lowers=replace(entry, count=lowered.count)
                )
            case Rest() | Reserve():
                pass


def _why_delayed(quota: VNetQuota, name: str, plan: Paced) -> Remark:
    """Why this node waits for its permit."""
    if name in plan.spent:
        return words.while_spent()
    if plan.throttled_until_s:
        return words.while_throttled(quota, plan.throttled_until_s)
    if name in plan.slowed:
        return words.while_slowed(plan.slowed[name])
    return words.while_paced(quota)


def _refusals(census: Census, refused: Mapping[str, Remark]) -> Iterator[_Telling]:
    """What nodes are told that can be granted nothing: once."""
    for name, remark in refused.items():
        member = census.get(name)
        if member is not None and words.is_news(member, remark):
            yield _Telling(member, remark.status(), result="refused")


def _budget(quota: VNetQuota, tokens: Tokens) -> dict[str, Any]:
    return quota_api.tokens_document(tokens, capacity=capacity(quota.limits.writes_per_minute))
