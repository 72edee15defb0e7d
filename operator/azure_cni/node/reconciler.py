"""The reconciler of one node: observe, plan, one step, tell.

One task owns the NIC, the pool's growth and the node's kernel table. Each pass runs a few activities in order; each
of them stands still by itself when it fails (`troubles`), so that a silent Azure does not keep the kernel or the
status from being right. What to do is decided by `ipam.plan`; this module only carries it out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from azure_cni.api import pool as pool_api
from azure_cni.api.nic import NicView
from azure_cni.api.pool import Wants
from azure_cni.errors import AzureCniError, CloudError, Throttled
from azure_cni.faults import Faults
from azure_cni.ipam.backoff import delay_s
from azure_cni.ipam.ledger import Change
from azure_cni.ipam.plan import Await, Grow, Mend, Plan, Rest, Settle, Shrink, Step, next_step
from azure_cni.ipam.sizing import override
from azure_cni.node.agenda import DEBOUNCE_S, Agenda
from azure_cni.node.board import Board, Book
from azure_cni.node.demand import Demand
from azure_cni.node.inquiry import Inquiry
from azure_cni.node.kernel import Kernel
from azure_cni.node.narrator import Narrator
from azure_cni.node.nic_writer import NicWriter
from azure_cni.node.pool_keeper import PoolKeeper
from azure_cni.node.reporter import Reporter
from azure_cni.node.taint import NodeTaint
from azure_cni.node.troubles import Activity, Troubles
from azure_cni.node.wording import few
from azure_cni.node.world import NodeSettings, Standing, World

log = logging.getLogger(__name__)


class Reconciler:
    """Keeps one node's pool. `run` never ends by itself; `wake` may be called from anywhere on the loop."""

    def __init__(self, *, world: World, settings: NodeSettings, book: Book, board: Board, demand: Demand) -> None:
        self._world = world
        self._settings = settings
        self._book = book
        self._board = board
        self._demand = demand
        self._standing = standing = Standing(policy=settings.defaults, observes=settings.observes)
        self._troubles = Troubles()
        self._faults = Faults(world.observer.internal_error)
        self._reporter = reporter = Reporter(world.pools)
        self._narrator = narrator = Narrator(
            world=world, standing=standing, book=book, board=board, troubles=self._troubles
        )
        self._keeper = PoolKeeper(world=world, standing=standing, narrator=narrator, reporter=reporter)
        self._agenda = agenda = Agenda()
        self._kernel = Kernel(
            world=world,
            settings=settings,
            standing=standing,
            book=book,
            board=board,
            agenda=agenda,
            tell=narrator.tell,
        )
        self._inquiry = Inquiry(
            world=world, settings=settings, standing=standing, board=board, agenda=agenda, breathe=self._breathe
        )
        self._writer = NicWriter(world=world, standing=standing, book=book, narrator=narrator, breathe=self._breathe)
        self._taint = NodeTaint(world.node, board=board, book=book, events=world.events, clock=world.clock)
        self.pool_known = asyncio.Event()
        """Set once the pool object exists, and with it its kind: only then can it be watched."""
        self.breathed_s = world.clock.boottime_s()
        """Boot time of the last sign of life."""
        self._kernel_lags = False
        """When the ledger last took over a read of the NIC, the kernel did not know all of it."""
        self._woken = asyncio.Event()
        self._setting: tuple[int, str, str, str] | None = None
        """What `_notice_change` last saw."""

    def wake(self) -> None:
        """Something changed: look soon."""
        self._woken.set()

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """The pool object changed (its spec, or a grant in its status)."""
        self._keeper.seen(body)
        self.wake()

    def pool_gone(self) -> None:
        """Somebody deleted the pool object: it is made again."""
        self._keeper.gone()
        self.wake()

    async def keep_kernel(self, cause: str) -> bool:
        """Somebody else changed something on the host (`cause`): put the node's own part of the kernel right at once,
        whatever a pass waits for. True when there was something to put right.
        """
        repairs, conflicts = self._kernel.repairs, self._board.conflicts
        await self._attempt(Activity.KERNEL, partial(self._kernel.keep, cause))
        if (repairs, conflicts) != (self._kernel.repairs, self._board.conflicts):
            self.wake()
        return self._kernel.repairs != repairs

    async def run(self) -> None:
        """Pass after pass, until cancelled. One that fails outside its activities is run again, with growing pauses."""
        failures = 0
        while True:
            try:
                with self._faults.guard("pass"):
                    rest_s = await self.turn()
                failures = 0
            except AzureCniError as error:
                failures += 1
                pause_s = delay_s(failures, retry_after_s=None, jitter=1.0)
                log.warning("pass failed", extra={"reason": error.reason, "error": str(error), "again_s": pause_s})
                await asyncio.sleep(pause_s)
                continue
            try:
                async with asyncio.timeout(rest_s):
                    await self._woken.wait()
                await asyncio.sleep(DEBOUNCE_S)
            except TimeoutError:
                pass
            self._woken.clear()

    async def turn(self) -> float:
        """One pass; returns the seconds until the next look if nothing wakes it before."""
        self._agenda.pass_begins(self._now_s())
        await self._attempt(Activity.POOL, self._ensure_pool)
        await self._attempt(Activity.SPEC, self._read_spec)
        if not self._board.ready:
            await self._attempt(Activity.KERNEL, self._kernel.resume)
        await self._attempt(Activity.IDENTITY, self._inquiry.identify)
        await self._attempt(Activity.VNET, self._inquiry.read_vnet)
        await self._attempt(Activity.READ, self._inquiry.read_nic)
        self._notice_change()
        await self._adopt()
        await self._cool()
        await self._attempt(Activity.PLAN, self._act)
        await self._breathe()
        return self._rest_s()

    async def _breathe(self) -> None:
        """What goes on even while Azure takes its time."""
        self.breathed_s = self._now_s()
        await self._cool()
        self._narrator.announce()
        await self._attempt(Activity.STATUS, self._keeper.report)
        await self._attempt(Activity.TAINT, self._keep_taint)

    async def _keep_taint(self) -> bool:
        return await self._taint.keep(min_free=self._standing.policy.min_free, ceiling=self._standing.ceiling)

    async def _cool(self) -> None:
        change = self._book.ledger.cooled(now_s=self._now_s())
        if change:
            await self._attempt(Activity.LEDGER, partial(self._commit, change))
        else:
            self._troubles.lapse(Activity.LEDGER, now_s=self._now_s())

    async def _commit(self, change: Change) -> bool:
        self._book.commit(change)
        return True

    async def _attempt(self, activity: Activity, action: Callable[[], Awaitable[bool]]) -> bool:
        """Run an activity unless it failed too recently; the action says whether all is as it should be then.

        False when it did not run to its end, or there was nothing that it could do: that does not end its trouble.
        """
        if self._troubles.blocks(activity, now_s=self._now_s()):
            return False
        try:
            with self._faults.guard(activity.value):
                done = await action()
            if not done:
                return False
        except AzureCniError as error:
            await self._fail(activity, error)
            return False
        ended = self._troubles.clear(activity)
        if ended is not None:
            log.info("works again", extra={"activity": activity.value, "attempts": ended.attempts})
        return True

    async def _fail(self, activity: Activity, error: AzureCniError) -> None:
        now_s = self._now_s()
        news = self._troubles.record(activity, error, now_s=now_s)
        if not self._troubles.blocks(activity, now_s=now_s):
            self.wake()
        self._world.observer.reconciled(error.reason)
        if isinstance(error, Throttled) and error.retry_after_s:
            self._world.observer.throttled(error.retry_after_s)
        log.log(
            logging.WARNING if news else logging.INFO,
            "activity failed",
            extra={"activity": activity.value, "reason": error.reason, "error": str(error)},
        )
        trouble = self._troubles.of(activity)
        if news and trouble is not None:
            await self._narrator.tell("Warning", error.reason, self._narrator.words(trouble))

    async def _ensure_pool(self) -> bool:
        await self._keeper.ensure()
        self.pool_known.set()
        return True

    async def _read_spec(self) -> bool:
        if self._standing.pool is None:
            return False
        overrides = pool_api.spec_overrides(self._standing.pool)
        policy = override(self._settings.defaults, overrides)
        self._standing.policy = replace(policy, paused=True) if self._settings.observes else policy
        return True

    def _notice_change(self) -> None:
        """A person changed the spec or wants the NIC read, or it is another one: what was refused may be allowed."""
        pool, identity = self._standing.pool, self._board.identity
        if pool is None or identity is None:
            return
        setting = (pool_api.generation(pool), pool_api.read_request(pool), identity.nic_id, identity.subnet_id)
        if self._setting not in {None, setting}:
            self._troubles.hurry(now_s=self._now_s())
            self._writer.forget_room()
        self._setting = setting

    async def _adopt(self) -> None:
        """Take over what was read of the NIC. The kernel learns the addresses before any pod can get one of them.

        A kernel that fails to does not stop the pool: what is new on the NIC is counted, and kept from pods until the
        kernel works. Then the NIC is read again, for what was read before may be out of date.
        """
        fresh, known = self._standing.fresh, self._standing.view
        if fresh is not None:
            await self._attempt(Activity.KERNEL, partial(self._kernel.apply, fresh))
            await self._attempt(Activity.LEDGER, partial(self._take_over, fresh))
        elif known is not None and self._agenda.is_due(Activity.KERNEL, now_s=self._now_s()):
            works = await self._attempt(Activity.KERNEL, partial(self._kernel.apply, known))
            if works and self._kernel_lags:
                self._agenda.put(Activity.READ, self._now_s())

    async def _take_over(self, view: NicView) -> bool:
        unprepared = self._kernel.unprepared(view)
        observation = self._standing.asking.observe(view, self._book.ledger, now_s=self._now_s(), unprepared=unprepared)
        self._book.commit(observation.change)
        self._kernel_lags = bool(unprepared)
        before, self._standing.view, self._standing.fresh = self._standing.view, view, None
        if observation.appeared:
            appeared = observation.appeared
            log.info("addresses ready", extra={"count": len(appeared), "addresses": few(appeared)})
        if view.excluded != (before.excluded if before else ()):
            excluded = [str(config) for config in view.excluded]
            log.info("configurations of the NIC that no pod gets", extra={"excluded": excluded})
        if observation.vanished:
            log.warning("addresses vanished", extra={"addresses": [str(address) for address in observation.vanished]})
            self._world.observer.repaired("address_vanished")
        return bool(observation.change)

    async def _act(self) -> bool:
        """Take a step once all that decides it is known; the pool too, for it may say `paused` or another size."""
        view = self._standing.view
        if self._standing.pool is None or view is None or not self._board.ready:
            return False
        if not self._standing.asking.begun:
            self._begin(view)
        known = self._standing.fresh is None and self._troubles.of(Activity.READ) is None
        if not known or not self._standing.asking.begun:
            return False
        await self._step(view)
        return True

    def _begin(self, view: NicView) -> None:
        """The first request of this agent. Never before its NIC was read: it must cover what is there."""
        identity, pool = self._board.identity, self._standing.pool
        if identity is not None and pool is not None:
            self._standing.asking.begin(pool, vm_id=identity.vm_id, nic=view)

    async def _step(self, view: NicView) -> None:
        """Decide, ask if a write or another count is wanted, and carry the step out once that is allowed."""
        plan = self._decide(view)
        wants = self._wants(plan.step)
        if self._standing.asking.want(plan.requested, on_nic=len(view.secondaries), wants=wants):
            if self._world.grants.recorded:
                await self._attempt(Activity.STATUS, self._keeper.report)
            plan = self._decide(view)
        if isinstance(plan.step, Rest):
            for activity in (Activity.GROW, Activity.RELEASE):
                self._troubles.lapse(activity, now_s=self._now_s())
            self._world.observer.reconciled("unchanged")
        elif isinstance(plan.step, Await | Settle) or not self._standing.asking.allows(self._standing.grant):
            self._world.observer.reconciled("waiting")
        else:
            await self._attempt(_ACTIVITY[wants], partial(self._carry_out, plan.step))

    def _wants(self, step: Step) -> Wants:
        """The write that the step needs; none while its kind rests after a failure: a permit kept is one wasted."""
        match step:
            case Rest() | Settle():
                return Wants.NOTHING
            case Await() | Grow():
                wants = Wants.GROW
            case Shrink():
                wants = Wants.RELEASE
            case Mend():
                wants = Wants.MEND
            case _:
                assert_never(step)
        if isinstance(step, Shrink) and self._troubles.of(Activity.KERNEL) is not None:
            return Wants.NOTHING  # the table would go on counting what leaves as ours, also when it is another node's
        return Wants.NOTHING if self._troubles.blocks(_ACTIVITY[wants], now_s=self._now_s()) else wants

    async def _carry_out(self, step: Grow | Shrink | Mend) -> bool:
        short: CloudError | None = None
        try:
            match step:
                case Grow():
                    view, short = await self._writer.grow(step)
                case Shrink():
                    view = await self._writer.shrink(step)
                case Mend():
                    view = await self._writer.mend(step)
                case _:
                    assert_never(step)
        except Exception as error:
            # What is on the NIC now, only a read can tell; but none while Azure asks to be left alone.
            patience_s = error.retry_after_s or 0.0 if isinstance(error, Throttled) else 0.0
            self._agenda.put(Activity.READ, self._now_s() + patience_s)
            raise
        finally:
            self.wake()
        self._inquiry.seen(view)
        await self._adopt()
        if short is not None:
            raise short
        return True

    def _decide(self, view: NicView) -> Plan:
        standing, now_s = self._standing, self._now_s()
        standing.waiting = self._demand.waiting(self._book.ledger)
        standing.grant = self._world.grants.read(standing.pool or {}, standing.asking.request)
        standing.plan = next_step(
            self._book.ledger,
            view,
            standing.policy,
            waiting=standing.waiting,
            now_s=now_s,
            surplus_since_s=standing.plan.surplus_since_s if standing.plan else None,
            granted=standing.grant.count if standing.answered else 0,
            unaccounted=standing.asking.unaccounted,
            shrink_delay_s=self._settings.timing.shrink_delay_s,
        )
        return standing.plan

    def _rest_s(self) -> float:
        """Seconds until something is due."""
        plan, agenda = self._standing.plan, self._agenda
        due = [self._reporter.due_s(), self._taint.due_s()]
        due += [self._troubles.next_due_s(after_s=agenda.began_s), self._book.ledger.next_cooled_at_s()]
        return agenda.rest_s([*due, plan.wake_at_s if plan else None], now_s=self._now_s())

    def _now_s(self) -> float:
        return self._world.clock.boottime_s()


_ACTIVITY: Mapping[Wants, Activity] = {
    Wants.GROW: Activity.GROW,
    Wants.RELEASE: Activity.RELEASE,
    Wants.MEND: Activity.RELEASE,
}
"""Growth stands still by itself: clearing away what failed must not wait for it, nor make it look as if it worked."""
