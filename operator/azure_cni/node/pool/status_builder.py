"""What people and waiting pods read of the node: its forecast and its status."""

from __future__ import annotations

from typing import Any, Final

from azure_cni.api import conditions, pool_entries, reading
from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.errors import InternalFault, SubnetFull, Throttled
from azure_cni.ipam import near_limit
from azure_cni.ipam.removals import releasable
from azure_cni.model.identity import PRIMARY_NIC
from azure_cni.node.pool import pool_conditions
from azure_cni.node.pool.failures import Activity, Failure, Failures
from azure_cni.node.pool.pool_object import PoolObject
from azure_cni.node.pool.pool_snapshot import Snapshot
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.state import IN_CLUSTER, ON_A_VM

FAR_S: Final = 30.0
"""The end of a pause at least this long is announced."""


class StatusBuilder:
    """Puts what the pool task has found out into every form that somebody reads. Only `publish_forecast` changes
    anything: it is the one writer of the forecast and its figures in `NodeState`.
    """

    def __init__(self, core: NodeCore, *, pool_state: PoolState, pool_object: PoolObject, failures: Failures) -> None:
        self._core = core
        self._pool_state = pool_state
        self._pool_object = pool_object
        self._failures = failures

    def publish_forecast(self) -> None:
        """Publish the forecast to the ADDs that wait, with the figures behind it."""
        state, pool_state = self._core.state, self._pool_state
        state.asked_s = self._asked_s()
        self._judge_limit()
        snapshot = self._snapshot()
        state.at_limit = snapshot.at_limit or snapshot.refusal == conditions.PoolKind.QUOTA_EXCEEDED
        state.target, state.maximum = snapshot.target, pool_state.policy.maximum
        state.requested, state.granted = snapshot.requested, self._pool_object.pool_or_unread.view.granted
        state.waiting = self._waiting(free=snapshot.counts.free)
        state.throttled = self._failures.find(Throttled) is not None
        state.publish_forecast(pool_conditions.forecast(snapshot, self._failures))

    def _waiting(self, *, free: int) -> int:
        """Pods without an address, beyond those that the free ones serve: both as they are now. Pods that the last plan
        counted may have got one since, and who grants would grant it once more.
        """
        return max(0, self._core.demand.waiting(self._core.stored.ledger) - free)

    @property
    def said_near_limit(self) -> bool:
        """What the pool's status says, maybe since before this agent."""
        return near_limit.was_near(self._pool_object.pool_or_unread.status, conditions.PoolKind.AT_LIMIT)

    def _judge_limit(self) -> None:
        """Once there was a plan: then the pool's spec and the ceiling are known."""
        state, ceiling = self._core.state, self._pool_state.ceiling
        if self._pool_state.plan is None or ceiling <= 0:
            return
        was = self.said_near_limit if state.near_limit is None else state.near_limit
        state.near_limit = near_limit.is_near(self._core.stored.ledger.counts().assigned, ceiling, was=was)

    def describe_near_limit(self) -> str:
        """That pods have most of what the node may hold, in words."""
        return near_limit.node_message(self._core.stored.ledger.counts().assigned, self._pool_state.ceiling)

    def describe(self, failure: Failure) -> str:
        """A failure in words."""
        return pool_conditions.describe_failure(failure, self._snapshot())

    def _snapshot(self) -> Snapshot:
        state, pool_state, pool = self._core.state, self._pool_state, self._pool_object.pool
        slots, counts = self._core.stored.ledger.slots, self._core.stored.ledger.counts()
        now_s, asked_s = self._core.ports.clock.boottime_s(), state.asked_s
        named = state.pending_mode is not None or state.pending_subnet is not None
        subnet = pool.subnet_id if pool else PRIMARY_NIC
        return Snapshot(
            ready=state.ready,
            counts=counts,
            paused=pool_state.policy.paused,
            target=pool_state.plan.target if pool_state.plan else 0,
            ceiling=pool_state.ceiling,
            requested=pool_state.reservation.request.count,
            answered=pool_state.answered,
            asked_for_s=0.0 if asked_s is None else now_s - asked_s,
            growing=pool_state.writing is WriteIntent.GROW,
            updating=pool_state.writing is not WriteIntent.NONE
            or (pool_state.view is not None and not pool_state.view.settled),
            # A write that takes them off, or a read that shows whether one did, says it in a moment.
            withheld=0 if pool_state.writing is WriteIntent.SHRINK or pool_state.unapplied_view else counts.releasing,
            nic_read_only=pool_state.nic_read_only,
            vnet_known=pool_state.vnet is not None,
            throttled_until=self._throttled_until(),
            missing=tuple(slot.address for slot in slots if not slot.on_nic),
            lost=() if pool_state.policy.paused or pool_state.nic_read_only else pool_state.lost,
            removed_again=pool_state.removed_again,
            obstacle=state.obstacle,
            conflicts=state.conflicts,
            refusal=pool_state.grant.refusal,
            refusal_message=pool_state.grant.message,
            recall=pool_state.grant.recall,
            recalling=self._pool_object.pool_or_unread.recalling,
            crowding=pool_state.crowding,
            bound=pool_state.bound,
            block_size=pool_state.policy.config_size,
            mode=state.link.mode if state.link is not None else pool_state.mode,
            pending_mode=state.pending_mode,
            pending_subnet=state.pending_subnet,
            subnet=state.identity.subnet_id if state.identity is not None else subnet,
            pods=tuple(str(slot.holder) for slot in slots if slot.holder is not None) if named else (),
            denied=pool_state.denied,
            advice=IN_CLUSTER if self._core.settings.in_cluster else ON_A_VM,
            near_limit=self.said_near_limit if state.near_limit is None else state.near_limit,
            now_s=now_s,
            pool=pool.name if pool else "NODE",
            retry_at={one.activity: one.retry_at for one in self._failures if self._is_far(one)},
        )

    def _asked_s(self) -> float | None:
        """Boot time since when a request for a write has waited for its answer; None while none waits."""
        waits = self._pool_state.reservation.write_intent is not WriteIntent.NONE and not self._pool_state.answered
        if not waits:
            return None
        return self._core.ports.clock.boottime_s() if self._core.state.asked_s is None else self._core.state.asked_s

    def _throttled_until(self) -> str:
        """When Azure may be asked again, RFC 3339."""
        failure = self._failures.find(Throttled)
        return "" if failure is None else failure.retry_at

    def _is_far(self, failure: Failure) -> bool:
        """The next try is not so soon that nobody would have read when it is."""
        named = failure.is_refusal or isinstance(failure.error, InternalFault)
        return named or failure.retry_at_s - failure.failed_at_s >= FAR_S

    def _releasable(self) -> int:
        """What the controller could recall; nothing while the last release failed."""
        pool_state, hindered = self._pool_state, (Activity.REPAIR, Activity.RELEASE, Activity.KERNEL)
        view, plan = pool_state.view, pool_state.plan
        if view is None or plan is None or not self._core.state.ready or any(map(self._failures.get, hindered)):
            return 0
        return releasable(self._core.stored.ledger, view, pool_state.policy, needed=plan.needed)

    def _subnet_refused(self) -> str:
        """When the subnet last had too few for pods that still wait, for the controller."""
        grow, last = self._failures.get(Activity.GROW), self._pool_state.last_write
        refused = grow is not None and isinstance(grow.error, SubnetFull) and self._core.state.waiting
        return last.time if refused and last is not None else ""

    def build(self) -> dict[str, Any]:
        """What the pool's status should say now."""
        snapshot, pool_state = self._snapshot(), self._pool_state
        pool = self._pool_object.pool_or_unread
        status: dict[str, Any] = {
            "allocated": snapshot.counts.allocated,
            "assigned": snapshot.counts.assigned,
            "free": snapshot.counts.free,
            "cooling": snapshot.counts.cooling,
            "target": snapshot.target,
            "releasable": self._releasable(),
            # Before its first plan an agent repeats what the one before it said: else it would give once more.
            "recallMet": (pool_state.plan.recall_met if pool_state.plan else pool.recall_met) or None,
            "waiting": self._waiting(free=snapshot.counts.free),
            "subnetRefusedTime": self._subnet_refused() or None,
            "blocks": pool_state.policy.blocks or None,
            "throttledUntil": snapshot.throttled_until or None,
            "vnetAddresses": [
                pool_entries.address_entry(s.address, s.config) for s in self._core.stored.ledger.slots if s.in_pool
            ],
            "conditions": conditions.merge(
                reading.mappings(pool.status.get("conditions")),
                pool_conditions.conditions(snapshot, self._failures),
                now=self._core.ports.clock.utc(),
                generation=pool.generation,
            ),
            "observedGeneration": pool.generation,
        }
        if pool_state.reservation.has_request:
            request = pool_state.reservation.request
            status |= {
                "requested": request.count,
                "requestID": request.number,
                "writeIntent": pool_state.reservation.write_intent.value,
            }
            status |= self._core.ports.grants.status(pool_state.grant)
        if self._core.state.identity is not None:
            status |= pool_entries.identity_status(self._core.state.identity)
        if self._core.state.link is not None:
            status["mode"] = self._core.state.link.mode.value
        if pool_state.last_read is not None:
            status["lastRead"] = pool_state.last_read.document()
        if pool_state.view is not None:
            status["excluded"] = [pool_entries.excluded_entry(config) for config in pool_state.view.excluded]
            status["vnetAttachments"] = pool_entries.attached_entries(pool_state.attached) or None
        if pool_state.last_write is not None:
            status["lastWrite"] = pool_state.last_write.document()
        return status
