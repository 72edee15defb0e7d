"""The pool task: observe Azure, adopt what was read, decide, take one step. See `reconciler` for how it works."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import assert_never

from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.errors import CloudError, Throttled, WritesSpent
from azure_cni.faults import Faults
from azure_cni.ipam.plan import (
    Attach,
    AwaitGrant,
    Grow,
    NoOp,
    Recover,
    Regroup,
    Rewrite,
    Shrink,
    Step,
    WaitForAzure,
    Write,
)
from azure_cni.model.nic import NicView
from azure_cni.model.text import few
from azure_cni.node.pool.attempts import Attempts, run_passes
from azure_cni.node.pool.azure_reader import AzureReader
from azure_cni.node.pool.failures import OF_POOL, Activity, Failures
from azure_cni.node.pool.lost_addresses import LostAddresses
from azure_cni.node.pool.nic_writer import PoolNicWriter
from azure_cni.node.pool.node_network import NodeNetwork
from azure_cni.node.pool.planner import Planner
from azure_cni.node.pool.pod_attachments import PodAttachments
from azure_cni.node.pool.pool_object import PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.pool.schedule import Schedule
from azure_cni.node.pool.steps import activity_of, attached_by

log = logging.getLogger(__name__)


class PoolTask:
    """Owns the NIC and the pool's growth. One pass after another, each at most one write of the NIC."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        pool_object: PoolObject,
        failures: Failures,
        attempts: Attempts,
        schedule: Schedule,
        network: NodeNetwork,
        reader: AzureReader,
        writer: PoolNicWriter,
        pod_attachments: PodAttachments,
        lost_addresses: LostAddresses,
        wake_status: Callable[[], None],
    ) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._failures = failures
        self._attempts = attempts
        self._schedule = schedule
        self._network = network
        self._reader = reader
        self._writer = writer
        self._pod_attachments = pod_attachments
        self._lost_addresses = lost_addresses
        self._planner = Planner(
            core,
            pool_state=pool_state,
            pool_object=pool_object,
            failures=failures,
            pod_attachments=pod_attachments,
            lost_addresses=lost_addresses,
        )
        self._wake_status = wake_status
        self._network_lags = False
        """When the ledger last took over a read of the NIC, the kernel did not know all of it."""
        self._setting: tuple[int, str, str, str] | None = None
        """What `_notice_change` last saw."""
        self._recalling = 0
        """How many addresses others were to give back for pods of this node when it last looked."""

    async def run(self, faults: Faults) -> None:
        """Until cancelled."""
        await run_passes(self.run_pass, self._schedule.rest, faults)

    async def run_pass(self) -> float:
        """One pass; returns the seconds until the next look if nothing wakes it before."""
        attempt = self._attempts.attempt
        self._schedule.pass_begins(self._now_s())
        await attempt(Activity.POOL, self._pool_object.ensure)
        self._notice_change()  # or a spec that could not be used before rests, and with it the pause in the new one
        await attempt(Activity.SPEC, self._read_spec)
        if not self._core.state.ready:
            await attempt(Activity.KERNEL, self._network.resume)
        await attempt(Activity.IDENTITY, self._reader.identify)
        await attempt(Activity.VNET, self._reader.read_vnet)
        await attempt(Activity.READ, self._reader.read_nic)
        self._notice_change()
        if self._network.review_mode():
            self._schedule.set_due(Activity.KERNEL, self._now_s())
        await self._adopt()
        if await attempt(Activity.PLAN, self._decide):
            await self._act()
        self._wake_status()
        return self._rest_s()

    async def _read_spec(self) -> bool:
        if self._pool_object.pool is None:
            return False
        self._pool_state.take_spec(self._pool_object.pool, self._core.settings)
        return True

    def _notice_change(self) -> None:
        """A person changed the spec or wants the NIC read, or it is another one, or others gave addresses back for pods
        of this node: what was refused may be allowed. So it may be when the node is known at last.
        """
        pool, identity = self._pool_object.pool, self._core.state.identity
        if pool is None:
            return
        nic = (identity.nic_id, identity.subnet_id) if identity is not None else ("", "")
        setting = (pool.generation, pool.read_now, *nic)
        if self._setting not in {None, setting}:
            self._attempts.hurry()
            self._writer.forget_room()
            self._pod_attachments.hurry()
            self._lost_addresses.hurry()
        self._setting = setting
        given, self._recalling = self._recalling - pool.recalling, pool.recalling
        if given > 0 and self._attempts.retry_growth():
            self._writer.expect_room(given)

    async def _adopt(self) -> None:
        """Take over what was read of the NIC. The kernel learns the addresses before any pod can get one of them.

        A kernel that fails to does not stop the pool: what is new on the NIC is counted, and kept from pods until the
        kernel works. Then the NIC is read again, for what was read before may be out of date.
        """
        unapplied, applied = self._pool_state.unapplied_view, self._pool_state.view
        if unapplied is None and applied is not None and self._may_bind(applied):
            unapplied = self._pool_state.unapplied_view = applied
        if unapplied is not None:
            await self._attempts.attempt(Activity.KERNEL, partial(self._network.apply, unapplied))
            await self._attempts.attempt(Activity.LEDGER, partial(self._take_over, unapplied))
        elif applied is not None and self._schedule.is_due(Activity.KERNEL, now_s=self._now_s()):
            works = await self._attempts.attempt(Activity.KERNEL, partial(self._network.apply, applied))
            if works and self._network_lags:
                self._schedule.set_due(Activity.READ, self._now_s())

    def _may_bind(self, view: NicView) -> bool:
        """What a pod had without an IPv6 address can get one now; which the kernel must know before the next pod."""
        ledger = self._core.stored.ledger
        return self._pool_state.policy.ipv6 and ledger.pairs(view) != ledger.pairs()

    async def _take_over(self, view: NicView) -> bool:
        pool_state, unprepared = self._pool_state, self._network.unprepared(view)
        observation = pool_state.reservation.observe(
            view, self._core.stored.ledger, now_s=self._now_s(), unprepared=unprepared
        )
        self._core.stored.commit(observation.change)
        self._network_lags = bool(unprepared)
        before, pool_state.view, pool_state.unapplied_view = pool_state.view, view, None
        if observation.appeared:
            appeared = observation.appeared
            log.info("addresses ready", extra={"count": len(appeared), "addresses": few(appeared)})
        if view.excluded != (before.excluded if before else ()):
            excluded = [str(config) for config in view.excluded]
            log.info("configurations of the NIC that no pod gets", extra={"excluded": excluded})
        moved = before is not None and before.nic_id != view.nic_id
        if observation.vanished and not moved:
            log.warning("addresses vanished", extra={"addresses": [str(address) for address in observation.vanished]})
            self._core.ports.observer.repaired("address_vanished")
            self._lost_addresses.removed()
        return bool(observation.change)

    async def _decide(self) -> bool:
        """Plan, and ask for what the plan needs, once all that decides it is known; the pool too, for it may say
        `paused` or another size. False before that.
        """
        view, reservation = self._pool_state.view, self._pool_state.reservation
        if self._pool_object.pool is None or view is None or not self._core.state.ready:
            return False
        if not reservation.has_request:
            self._begin(view)
        known = self._pool_state.unapplied_view is None and self._failures.get(Activity.READ) is None
        if not known or not reservation.has_request:
            return False
        if self._pod_attachments.unbarred(view):
            self._attempts.hurry()
        plan = self._planner.decide(view)
        write_intent = self._planner.write_intent(plan.step)
        if reservation.want(plan.requested, on_nic=view.held, write_intent=write_intent):
            self._planner.decide(view)  # a node that grants itself has its answer already
        return True

    def _begin(self, view: NicView) -> None:
        """The first request of this agent. Never before its NIC was read: it must cover what is there."""
        identity, pool = self._core.state.identity, self._pool_object.pool
        if identity is not None and pool is not None:
            self._pool_state.reservation.begin(pool, vm_id=identity.vm_id, nic=view)

    async def _act(self) -> None:
        """Take the step that was decided, if it is a write and the write is allowed; adopt what it brought."""
        pool_state = self._pool_state
        step = pool_state.plan.step if pool_state.plan is not None else NoOp()
        self._lapse(step)
        if isinstance(step, NoOp):
            self._core.ports.observer.reconciled("unchanged")
        elif isinstance(step, AwaitGrant | WaitForAzure) or not pool_state.reservation.allows(pool_state.grant):
            self._core.ports.observer.reconciled("waiting")
        else:
            activity = activity_of(step, pool_state.reservation.write_intent)
            short: list[CloudError] = []
            try:
                await self._attempts.attempt(activity, partial(self._carry_out, step, short))
                if pool_state.unapplied_view is not None:
                    await self._adopt()
            finally:
                pool_state.writing = WriteIntent.NONE
            if short:  # what fitted is there for pods before anybody reads that the rest did not
                self._attempts.fail(activity, short[0])
            self._writer.publish_news()

    def _lapse(self, step: Step) -> None:
        """What need not be done any more is no failure: also while the node waits for more than it gets, for hours."""
        view = self._pool_state.view
        if not self._pool_state.lost:
            self._attempts.lapse(Activity.RECOVER)
        if view is not None and view.settled and not view.failed and not isinstance(step, Rewrite):
            self._attempts.lapse(Activity.REPAIR)
        if isinstance(step, NoOp):
            self._attempts.lapse(Activity.GROW, Activity.ATTACH, Activity.REPAIR, Activity.RELEASE, Activity.GROUPS)

    async def _carry_out(self, step: Write, short: list[CloudError]) -> bool:
        """Write; why the subnet had room for a part only goes into `short`."""
        try:
            view = await self._written(step, short)
        except Exception as error:
            # Only a read can show what is on the NIC now; but none while Azure asks to wait, or was not asked.
            patience_s = error.retry_after_s or 0.0 if isinstance(error, Throttled | WritesSpent) else 0.0
            self._schedule.set_due(Activity.READ, self._now_s() + patience_s)
            if isinstance(error, CloudError) and self._is_refused_in_part(step, error):
                self._core.ports.observer.reconciled(error.reason)
                return False  # all but what was refused is tried again at once
            raise
        finally:
            self._schedule.wake()
        self._reader.observe_nic(view)
        return not short

    async def _written(self, step: Write, short: list[CloudError]) -> NicView:
        match step:
            case Recover():
                view = await self._writer.recover(step)
                self._lost_addresses.recovered(step)
            case Grow():
                view, refusal = await self._writer.grow(step)
                self._lost_addresses.added()
                short += [refusal] if refusal is not None else []
            case Attach():
                view = await self._writer.attach(step)
            case Shrink():
                view = await self._writer.shrink(step)
            case Rewrite():
                view = await self._writer.rewrite(step)
            case Regroup():
                view = await self._writer.regroup(step)
            case _:
                assert_never(step)
        return view

    def _is_refused_in_part(self, step: Step, error: CloudError) -> bool:
        """Azure refused the write because of something that the next one can leave out."""
        if self._writer.is_ipv6_refused(step, error):
            return True
        return self._lost_addresses.refused(step, error) or self._pod_attachments.refused(attached_by(step), error)

    def _rest_s(self) -> float:
        """Seconds until something is due."""
        plan, schedule = self._pool_state.plan, self._schedule
        due = [self._failures.next_due_s(OF_POOL, after_s=schedule.began_s), plan.wake_at_s if plan else None]
        due.append(self._pod_attachments.next_due_s(after_s=schedule.began_s))
        due.append(self._lost_addresses.next_due_s(after_s=schedule.began_s))
        return schedule.rest_s(due, now_s=self._now_s())

    def _now_s(self) -> float:
        return self._core.ports.clock.boottime_s()
