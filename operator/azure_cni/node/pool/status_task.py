"""The status task: addresses cool down, and what is so is shown, whatever the pool task waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

from azure_cni.api.conditions import IDLE_RECALLED, NEAR_LIMIT
from azure_cni.errors import KubeDenied, KubeInvalid
from azure_cni.faults import Faults
from azure_cni.ipam.ledger import Change
from azure_cni.ipam.sizing import recall_words
from azure_cni.model.nic import Address
from azure_cni.node.pool.attempts import Attempts, run_passes
from azure_cni.node.pool.failures import OF_STATUS, Activity, Failures
from azure_cni.node.pool.pool_object import PROTOCOL, PoolEvents, PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.pool.schedule import DEBOUNCE_S, LONGEST_REST_S, Schedule
from azure_cni.node.pool.status_builder import StatusBuilder
from azure_cni.node.pool.taint import NodeTaint

PERIOD_S: Final = 1.0
"""How often it runs while the pool task is in a pass: Azure may take minutes, and pods wait."""


class StatusTask:
    """Runs after each pass of the pool task, each second within one, and when something falls due."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        pool_object: PoolObject,
        status_builder: StatusBuilder,
        taint: NodeTaint,
        failures: Failures,
        attempts: Attempts,
        schedule: Schedule,
        events: PoolEvents,
    ) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._status_builder = status_builder
        self._taint = taint
        self._failures = failures
        self._attempts = attempts
        self._schedule = schedule
        self._events = events
        self._near_limit_told: bool | None = None
        self._recall_told = 0
        self._forgotten: Mapping[Address, float] = {}
        """Of what cools, and since when, the addresses whose connections the kernel has forgotten."""
        self.last_progress_s = core.ports.clock.boottime_s()
        """Boot time of the last sign of life."""
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """The pool task has ended a pass: show it. Waiting ADDs learn at once, whatever this task waits for."""
        self._woken.set()
        self._status_builder.publish_forecast()

    async def run(self, faults: Faults) -> None:
        """Until cancelled."""
        await run_passes(self.run_pass, self._rest, faults)

    async def run_pass(self) -> float:
        """Cool, publish, report; returns the boot time at which something falls due that this pass could not do."""
        began_s = self.last_progress_s = self._core.ports.clock.boottime_s()
        await self._cool()
        self._status_builder.publish_forecast()
        self._tell_near_limit()
        self._tell_recall()
        await self._report()
        await self._attempts.attempt(Activity.TAINT, self._update_taint)
        due = [self._pool_object.due_s(), self._taint.due_s(), self._core.stored.ledger.next_cooled_at_s()]
        due.append(self._failures.next_due_s(OF_STATUS, after_s=began_s))
        return min((at_s for at_s in due if at_s is not None and at_s > began_s), default=began_s + LONGEST_REST_S)

    def _tell_near_limit(self) -> None:
        """Once when it begins. What an agent before this one has told, the pool's status shows; and where none is left
        at all, events of pods and the taint say so.
        """
        near = self._core.state.near_limit
        if near is None:
            return
        told = self._status_builder.said_near_limit if self._near_limit_told is None else self._near_limit_told
        self._near_limit_told = near
        left = self._pool_state.ceiling - self._core.stored.ledger.counts().assigned
        if near and not told and left > 0:
            self._events.publish("Warning", NEAR_LIMIT, self._status_builder.describe_near_limit())

    def _tell_recall(self) -> None:
        """Once for each; an agent that starts again repeats none that was met."""
        recall, met = self._pool_state.grant.recall, self._pool_object.pool_or_unread.recall_met
        if recall is None or recall.number in {self._recall_told, met}:
            return
        self._recall_told = recall.number
        words = recall_words(recall, allocated=self._core.stored.ledger.counts().allocated)
        self._events.publish("Normal", IDLE_RECALLED, words)

    async def _report(self) -> None:
        """Write the status; while that rests after failures, or is refused, what the grant protocol needs of it.

        The status has every address and condition, and an older definition may refuse one of them. Pods wait for the
        request that goes along with it, so that fails and rests by itself.
        """
        held_back = self._failures.blocks(Activity.STATUS, now_s=self._core.ports.clock.boottime_s())
        build = self._status_builder.build
        await self._attempts.attempt(Activity.STATUS, partial(self._pool_object.report, build))
        failure = self._failures.get(Activity.STATUS)
        refused = failure is not None and isinstance(failure.error, KubeInvalid | KubeDenied)
        if held_back or refused or self._failures.get(Activity.REQUEST) is not None:
            await self._attempts.attempt(Activity.REQUEST, partial(self._pool_object.report, build, only=PROTOCOL))

    async def _cool(self) -> None:
        """Addresses that have rested are free again, which may be more than the pool should keep."""
        await self._forget_connections()
        change = self._core.stored.ledger.cooled(now_s=self._core.ports.clock.boottime_s())
        if not change:
            self._attempts.lapse(Activity.LEDGER)
        elif await self._attempts.attempt(Activity.LEDGER, partial(self._commit, change)):
            self._schedule.wake()

    async def _forget_connections(self) -> None:
        """Of addresses that pods have just given back: a node at its limit may assign them again in half a minute.

        Not in the DEL, for which a runtime waits. Time alone does not end a connection: each packet of a peer that does
        not know of the pod's end (a tunnel's keepalives) renews it, with its translation.
        """
        cooling = self._core.stored.ledger.cooling
        if fresh := cooling.items() - self._forgotten.items():
            await self._core.ports.datapath.forget_connections(frozenset(address for address, _ in fresh))
        self._forgotten = cooling

    async def _commit(self, change: Change) -> bool:
        self._core.stored.commit(change)
        return True

    async def _update_taint(self) -> bool:
        policy = self._pool_state.policy
        return await self._taint.update(min_free=policy.min_free, ceiling=self._pool_state.ceiling)

    async def _rest(self, due_s: float) -> None:
        while True:
            self.last_progress_s = now_s = self._core.ports.clock.boottime_s()
            try:
                async with asyncio.timeout(max(DEBOUNCE_S, min(PERIOD_S, due_s - now_s))):
                    await self._woken.wait()
            except TimeoutError:
                if self._schedule.in_pass or self._core.ports.clock.boottime_s() >= due_s:
                    return
            else:
                self._woken.clear()
                return
