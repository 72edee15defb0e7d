"""Puts together what the next step of the pool is decided from, and says which write that step needs."""

from __future__ import annotations

from typing import Final

from azure_cni.api.conditions import NODE_AT_LIMIT, PoolKind
from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.ipam.ipv6_binding import kept_beside
from azure_cni.ipam.plan import Losses, Plan, Shrink, Step, next_step
from azure_cni.model.nic import NicView, total_size
from azure_cni.node.pool.failures import Activity, Failures
from azure_cni.node.pool.lost_addresses import LostAddresses
from azure_cni.node.pool.pod_attachments import PodAttachments
from azure_cni.node.pool.pool_object import PoolObject
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.pool.steps import activity_of, intent_of

_LASTING: Final = frozenset({PoolKind.QUOTA_EXCEEDED.value, NODE_AT_LIMIT})
"""Refusals of more addresses that do not end by waiting for the write budget."""


class Planner:
    """The pool task's. What rests after a failure is left out of the decision, or asked for and not done."""

    def __init__(
        self,
        core: NodeCore,
        *,
        pool_state: PoolState,
        pool_object: PoolObject,
        failures: Failures,
        pod_attachments: PodAttachments,
        lost_addresses: LostAddresses,
    ) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._failures = failures
        self._pod_attachments = pod_attachments
        self._lost_addresses = lost_addresses
        self._growth_refused = False
        """As the controller last said of growth: by a refusal that does not end by waiting."""

    def decide(self, view: NicView) -> Plan:
        """`ipam.plan` for the NIC as kernel and ledger know it; the plan is in `PoolState`."""
        pool_state, now_s = self._pool_state, self._now_s()
        pool_state.waiting = self._core.demand.waiting(self._core.stored.ledger)
        pool_state.grant = self._core.ports.grants.read(
            self._pool_object.pool_or_unread, pool_state.reservation.request
        )
        self._judge_refusal()
        may_grow = not self._growth_refused and not self._growth_rests(now_s)
        # What Azure refuses must not displace the growth that rests: that is asked for all the while.
        may_regroup = may_grow or not self._failures.blocks(Activity.GROUPS, now_s=now_s)
        may_rewrite = not self._failures.blocks(Activity.REPAIR, now_s=now_s)
        lost = self._lost_addresses.due(view)
        pool_state.ipv6_kept = kept_beside(view, self._core.stored.ledger.slots)
        pool_state.plan = next_step(
            self._core.stored.ledger,
            view,
            pool_state.policy,
            waiting=pool_state.waiting,
            now_s=now_s,
            surplus_since_s=pool_state.plan.surplus_since_s if pool_state.plan else None,
            granted=pool_state.grant.count if pool_state.answered else 0,
            pending_write=pool_state.reservation.pending_write,
            shrink_delay_s=self._core.settings.timing.shrink_delay_s,
            attach=() if self._failures.blocks(Activity.ATTACH, now_s=now_s) else self._pod_attachments.changes(view),
            may_grow=may_grow,
            may_shrink=not self._failures.blocks(Activity.RELEASE, now_s=now_s),
            may_rewrite=may_rewrite,
            groups=pool_state.security_groups if may_regroup else None,
            losses=Losses(
                due=total_size(lost),
                recover=self._lost_addresses.next_write(lost) if self._may_recover(view) else (),
                resting=self._lost_addresses.resting,
            ),
            recall=pool_state.grant.recall,
            ipv6_singles=pool_state.ipv6_singles,
            recall_met=pool_state.plan.recall_met if pool_state.plan else self._pool_object.pool_or_unread.recall_met,
        )
        return pool_state.plan

    def _judge_refusal(self) -> None:
        """By a word on growth alone: to ask for growth while another write waits would lose that one's turn."""
        about_another = self._pool_state.reservation.write_intent not in {WriteIntent.NONE, WriteIntent.GROW}
        if self._pool_state.answered or not about_another:
            self._growth_refused = self._pool_state.grant.refusal in _LASTING

    def _growth_rests(self, now_s: float) -> bool:
        """After a failure, or because another tool removes what is added: then only what pods wait for is added."""
        in_vain = self._lost_addresses.rests_after_removals and not self._pool_state.waiting
        return in_vain or self._failures.blocks(Activity.GROW, now_s=now_s)

    def _may_recover(self, view: NicView) -> bool:
        """No failure rests, and no lasting refusal leaves less than there is: asking again would change nothing."""
        if self._failures.blocks(Activity.RECOVER, now_s=self._now_s()):
            return False
        granted = self._pool_object.pool_or_unread.view.granted - view.held_for_others
        return not self._growth_refused or granted > view.held

    def write_intent(self, step: Step) -> WriteIntent:
        """The write that the step needs; none during its pause after a failure, when a grant would be wasted."""
        write_intent = intent_of(step)
        if write_intent is WriteIntent.NONE:
            return write_intent
        # While the table is not written it counts what leaves as ours, also when another node has it.
        rests = isinstance(step, Shrink) and self._failures.get(Activity.KERNEL) is not None
        activity, now_s = activity_of(step, write_intent), self._now_s()
        rests |= self._failures.blocks(activity, now_s=now_s) or (
            activity is Activity.GROW and self._growth_rests(now_s)
        )
        return WriteIntent.NONE if rests else write_intent

    def _now_s(self) -> float:
        return self._core.ports.clock.boottime_s()
