"""Answers people who ask the agent about its node: slots, kernel, NIC, the next write and what keeps it waiting.

It reads what the two tasks of the reconciler know and changes nothing. The kernel is read when somebody asks; all else
is in memory. Boot times become wall clock times here, by the clock of this moment.
"""

from __future__ import annotations

import msgspec

from azure_cni import __version__
from azure_cni.api import introspection as report
from azure_cni.api.conditions import PoolKind, ProblemReport
from azure_cni.api.node_ip_pool import WriteIntent
from azure_cni.errors import AccessDenied, AzureCniError
from azure_cni.ipam.attachment_outcome import IMPOSSIBLE
from azure_cni.ipam.ledger import Slot
from azure_cni.ipam.limits import ATTACH_WRITE_S, ATTACH_WRITES_AT_ONCE
from azure_cni.ipam.plan import (
    NoOp,
    Plan,
    Step,
    WaitForAzure,
    next_step,
)
from azure_cni.model.nic import NicView
from azure_cni.model.text import addresses
from azure_cni.node.pool.described_steps import describe_changes, describe_paced, describe_step
from azure_cni.node.pool.failures import WRITES, Activity, Failures
from azure_cni.node.pool.permissions import denied_failures
from azure_cni.node.pool.pod_attachments import PodAttachments
from azure_cni.node.pool.pool_state import NodeCore, PoolState
from azure_cni.node.pool.steps import attached_by
from azure_cni.node.ports import ObservedSandbox


class Inspector:
    """Of one node. Safe to call at any time on the agent's loop."""

    def __init__(
        self, core: NodeCore, *, pool_state: PoolState, failures: Failures, pod_attachments: PodAttachments
    ) -> None:
        self._core = core
        self._pod_attachments = pod_attachments
        self._pool_state = pool_state
        self._failures = failures

    async def describe(self, *, node: str) -> report.NodeReport:
        """The node of that name as it is now. A kernel that cannot be read is part of the answer."""
        kernel = await self._kernel()
        pool_state, state = self._pool_state, self._core.state
        last = pool_state.last_write
        return report.NodeReport(
            node=node,
            version=__version__,
            time=self._core.ports.clock.utc(),
            slots=[self._slot(slot) for slot in self._core.stored.ledger.slots],
            kernel=kernel,
            nic=None if pool_state.view is None else self._nic(pool_state.view),
            pool=self.describe_pool(),
            next_write=self._next_write(),
            last_write=None if last is None else report.LastWriteReport(**last.document()),  # type: ignore[arg-type]
            failures=[self._failure(failure.activity) for failure in self._failures],
            conflicts=[conflict.message for conflict in state.conflicts],
            attachments=self._attachments(),
            attachment_pace=self._pace(),
            problems=self._problems(),
        )

    def _problems(self) -> list[ProblemReport]:
        """What stands in the way of pods, or is missing, as the pool's conditions say, each with its command."""
        host = [
            ProblemReport(PoolKind.HOST_CONFLICT, one.reason, one.message, one.command)
            for one in self._core.state.conflicts
        ]
        denied = [_denied(one.error) for one in denied_failures(self._failures, self._pool_state.denied)]
        return [*host, *denied]

    async def _kernel(self) -> report.KernelReport:
        datapath = self._core.ports.datapath
        try:
            links = await datapath.sandboxes()
        except AzureCniError as error:
            return report.KernelReport(error=str(error))
        holders = {slot.holder for slot in self._core.stored.ledger.slots if slot.holder is not None}
        owners = {datapath.key(holder.sandbox): holder.sandbox.container_id for holder in holders}
        return report.KernelReport(links=[_link(link, owners.get(link.key, "")) for link in links])

    def _slot(self, slot: Slot) -> report.SlotReport:
        described = report.SlotReport(
            address=str(slot.address),
            config=slot.config,
            state=slot.state.value,
            since=self._wall(slot.since_s),
            on_nic=slot.on_nic,
            own_egress=slot.own_egress,
            excluded=slot.excluded,
        )
        if slot.holder is None:
            return described
        network, container, ifname = slot.holder.sandbox
        return msgspec.structs.replace(
            described,
            namespace=slot.holder.pod_namespace,
            pod=slot.holder.pod_name,
            uid=slot.holder.pod_uid,
            container=container,
            ifname=ifname,
            network=network,
        )

    def _nic(self, view: NicView) -> report.NicReport:
        read_s = self._core.state.nic_read_s
        shown = [
            report.ConfigurationReport(one.name, [str(each) for each in one.addresses], one.ready, one.primary)
            for one in view.configs
        ]
        excluded = [
            report.ConfigurationReport(one.name, [str(one.address)] if one.address else [], why=one.why)
            for one in view.excluded
        ]
        return report.NicReport(
            id=view.nic_id,
            etag=view.etag,
            settled=view.settled,
            failed=view.failed,
            held=view.held,
            read_at="" if read_s is None else self._wall(read_s),
            age_s=None if read_s is None else round(self._now_s() - read_s, 1),
            configurations=[*shown, *excluded],
        )

    def describe_pool(self) -> report.PoolReport:
        """The pool's figures alone, which need no look at the kernel."""
        pool_state, state = self._pool_state, self._core.state
        policy = pool_state.policy
        return report.PoolReport(
            target=pool_state.plan.target if pool_state.plan else 0,
            held=pool_state.view.held if pool_state.view else 0,
            ceiling=pool_state.ceiling,
            requested=pool_state.reservation.request.count,
            request=pool_state.reservation.request.number,
            granted=pool_state.grant.count,
            answered=pool_state.answered,
            waiting=state.waiting,
            paused=policy.paused,
            min_free=policy.min_free,
            max_free=policy.max_free,
            batch=policy.batch,
            size=policy.size,
            blocks=policy.blocks,
            refusal=pool_state.grant.refusal,
            refusal_message=pool_state.grant.message,
        )

    def _failure(self, activity: Activity) -> report.FailureReport:
        failure = self._failures.get(activity)
        if failure is None:
            return report.FailureReport(activity=activity.value)
        return report.FailureReport(
            activity=activity.value,
            reason=failure.reason,
            message=str(failure.error),
            attempts=failure.attempts,
            failed_at=self._wall(failure.failed_at_s),
            retry_at=failure.retry_at,
        )

    def _attachments(self) -> list[report.AttachmentReport]:
        """Of each pod that asks for something and is not on its way out."""
        asking = [pod for pod in self._core.demand.pods if pod.asks and not pod.ending]
        found = []
        for pod, outcome in self._pod_attachments.outcomes(asking):
            lasts = outcome.done or outcome.reason == IMPOSSIBLE  # whatever Azure says of the resource for other pods
            retry_s = None if lasts else self._pod_attachments.retry_at_s(pod)
            found.append(
                report.AttachmentReport(
                    namespace=pod.namespace,
                    pod=pod.name,
                    uid=pod.uid,
                    done=outcome.done,
                    problem=outcome.problem,
                    reason=outcome.reason,
                    message=outcome.message,
                    retry_at="" if retry_s is None or retry_s < self._now_s() else self._wall(retry_s),
                )
            )
        return found

    def _pace(self) -> report.PaceReport:
        until_s = self._pod_attachments.paused_until_s
        return report.PaceReport(
            left=self._pod_attachments.writes_left,
            at_once=ATTACH_WRITES_AT_ONCE,
            every_s=ATTACH_WRITE_S,
            next_at="" if until_s is None else self._wall(until_s),
        )

    def _next_write(self) -> report.WriteReport:
        pool_state, plan = self._pool_state, self._pool_state.plan
        if plan is None:
            return report.WriteReport(why="nothing is planned before the NIC and the pool have been read")
        until_s = self._pod_attachments.paused_until_s
        if isinstance(plan.step, NoOp) and until_s is not None:
            return describe_paced(not_before=self._wall(until_s), waits=self._waits(plan.step))
        step, not_before_s = self._coming(plan)
        view = pool_state.view
        described = describe_step(step, held=view.held if view else 0, target=plan.target)
        return msgspec.structs.replace(
            described,
            attach=describe_changes(attached_by(step), view),
            not_before="" if not_before_s is None else self._wall(not_before_s),
            waits=self._waits(step),
            under_way=pool_state.writing is not WriteIntent.NONE,
        )

    def _coming(self, plan: Plan) -> tuple[Step, float | None]:
        """The step that is due, or the one that a surplus leads to, with its time, if nothing changes before."""
        view, since_s = self._pool_state.view, plan.surplus_since_s
        if not isinstance(plan.step, NoOp) or since_s is None or view is None:
            return plan.step, None
        at_s = since_s + self._core.settings.timing.shrink_delay_s
        later = next_step(
            self._core.stored.ledger,
            view,
            self._pool_state.policy,
            waiting=self._pool_state.waiting,
            now_s=at_s,
            surplus_since_s=since_s,
            granted=0,
            pending_write=self._pool_state.reservation.pending_write,
            shrink_delay_s=self._core.settings.timing.shrink_delay_s,
            recall=self._pool_state.grant.recall,
            recall_met=plan.recall_met,
        )
        return later.step, at_s

    def _waits(self, step: Step) -> list[str]:
        """What keeps the write from being made now."""
        pool_state = self._pool_state
        if self._core.settings.nic_read_only:
            return ["nicWriter is none: azure-cni writes no NIC"]
        if pool_state.policy.paused:
            return ["the pool is paused (spec.paused)"]
        if isinstance(step, NoOp):
            return []
        if isinstance(step, WaitForAzure):
            return ["Azure to finish the operation that the NIC is in"]
        failing = map(self._failures.get, (Activity.READ, Activity.KERNEL, *sorted(WRITES, key=[*Activity].index)))
        waits = [f"{one.activity}: {one.reason}, tried again at {one.retry_at}" for one in failing if one is not None]
        reservation, grant = pool_state.reservation, pool_state.grant
        if not pool_state.answered and reservation.write_intent is not WriteIntent.NONE:
            count, number = reservation.request.count, reservation.request.number
            waits.append(f"an answer to request {number}, to hold {addresses(count)}")
        return [*waits, *([f"{grant.refusal}: {grant.message}"] if grant.refusal else [])]

    def _now_s(self) -> float:
        return self._core.ports.clock.boottime_s()

    def _wall(self, boot_s: float) -> str:
        return self._core.ports.clock.utc(ahead_s=boot_s - self._now_s())


def _denied(error: AzureCniError) -> ProblemReport:
    described = ProblemReport(PoolKind.PERMISSION_MISSING, error.reason, str(error))
    if not isinstance(error, AccessDenied):
        return described
    return msgspec.structs.replace(described, identity=error.identity, scope=error.scope)


def _link(link: ObservedSandbox, container: str) -> report.LinkReport:
    return report.LinkReport(
        interfaces=[interface.name for interface in link.node] or [link.key],  # an endpoint of HNS has no interface
        addresses=sorted(str(address) for address in link.addresses),
        mtu=link.mtu,
        container=container,
    )
