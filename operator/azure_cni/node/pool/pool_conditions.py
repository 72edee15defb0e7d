"""What the reconciler knows, in words: the forecast for waiting pods, and the pool's conditions.

Pure: a snapshot in, words out. Every message says what is so, with the numbers, and where it helps what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from azure_cni.api.conditions import IDLE_RECALLED, NODE_AT_LIMIT, Condition, PoolKind
from azure_cni.api.node_ip_pool import Recall
from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.modes import mode_change
from azure_cni.errors import PreconditionFailed, SubnetFull, Throttled
from azure_cni.ipam.ledger import Counts
from azure_cni.ipam.near_limit import below_limit
from azure_cni.ipam.sizing import recall_words
from azure_cni.model.identity import ModeName
from azure_cni.model.nic import MAX_ADDRESSES_PER_NODE
from azure_cni.model.text import addresses, counted, few
from azure_cni.node.pool.failures import Activity, Failure, Failures
from azure_cni.node.pool.permissions import permission_missing
from azure_cni.node.state import IN_CLUSTER, STARTING, AddressForecast, Advice

CONTROLLER_ANSWER_S = 30.0
"""A controller answers within a second or two, or says why it does not: after this long nobody may be there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the words are made from.

    `ready` means identified and wired; `ceiling` is what the pool may grow to; `answered` that the newest request has
    its answer, and `asked_for_s` how long a write has been waiting for one; `growing` that Azure adds addresses now,
    `updating` that it works on the NIC, whatever for and for whomever; `withheld` addresses no pod may get until it is
    certain that they stay on the NIC; `obstacle` says why no pod can start, addresses or not;
    `conflicts` what others on the host do against the traffic of pods.
    """

    ready: bool
    counts: Counts
    paused: bool
    nic_read_only: bool
    target: int
    ceiling: int
    requested: int
    answered: bool
    asked_for_s: float
    growing: bool
    updating: bool
    withheld: int
    vnet_known: bool
    missing: tuple[IPv4Address, ...]
    obstacle: str
    conflicts: tuple[Conflict, ...]
    refusal: str
    refusal_message: str
    throttled_until: str
    now_s: float
    pool: str = "NODE"
    """The name of the NodeIPPool, which is the node's."""
    retry_at: Mapping[Activity, str] = field(default_factory=dict)
    """When activities that failed are tried again (RFC 3339), for those of which that is worth telling."""
    crowding: int = 0
    """ipConfigurations for no pod that take up what else the pool might have of the NIC."""
    bound: str = ""
    """Which field of the pool's spec is the ceiling, `max` or `size`; "" where something else is."""
    mode: ModeName = ModeName.TRANSPARENT
    """In which pods are wired."""
    pending_mode: ModeName | None = None
    """The mode that the node is to change over to, and has not yet."""
    pods: tuple[str, ...] = ()
    """Who holds an address, in words."""
    recall: Recall | None = None
    near_limit: bool = False
    """Pods have most of what the pool may grow to."""
    advice: Advice = IN_CLUSTER
    denied: tuple[Failure, ...] = ()
    """What pods ask to have attached, and a permission lacks for."""

    @property
    def at_limit(self) -> bool:
        """The pool may not grow any further."""
        return self.counts.allocated >= self.ceiling

    @property
    def held(self) -> str:
        """The counts in words."""
        counts = self.counts
        leaving = f", {counts.releasing} being released" if counts.releasing else ""
        return (
            f"{counts.allocated} of at most {addresses(self.ceiling)}: "
            f"{counts.assigned} assigned, {counts.cooling} cooling, {counts.free} free{leaving}"
        )

    @property
    def harmless(self) -> frozenset[Activity]:
        """Failures that need not concern a pod: what they would renew is known well enough, or brings it nothing."""
        known = {Activity.IDENTITY, Activity.VNET} if self.vnet_known else set()
        return frozenset(known if self.withheld else known | {Activity.RELEASE})


def forecast(snapshot: Snapshot, failures: Failures) -> AddressForecast:
    """What an ADD that waits may expect."""
    available_soon, reason, message = _expected(snapshot, failures)
    worst = failures.worst(harmless=snapshot.harmless)
    brief = _brief(worst, snapshot) if worst is not None and message == describe_failure(worst, snapshot) else ""
    return AddressForecast(
        available_soon=available_soon, reason=reason, message=message, decided_s=snapshot.now_s, brief=brief
    )


def _expected(snapshot: Snapshot, failures: Failures) -> tuple[bool, str, str]:
    if snapshot.counts.free and snapshot.ready:
        return True, "AddressesFree", counted(snapshot.counts.free, "address is free", "addresses are free")
    if snapshot.growing and snapshot.ready and not _is_retry(failures):
        return True, "PoolGrowing", f"Azure is working on the NIC; the pool grows to {addresses(snapshot.target)}"
    worst = failures.worst(harmless=snapshot.harmless)
    if worst is not None and not _is_passing(worst, snapshot):
        return False, worst.reason, describe_failure(worst, snapshot)
    if not snapshot.ready:
        return STARTING.available_soon, STARTING.reason, STARTING.message
    if snapshot.withheld and not snapshot.paused:
        why = "it is not known what came of the write that was to take them off the NIC"
        withheld = counted(snapshot.withheld, "address is withheld", "addresses are withheld")
        return True, "NicUpdating", f"{withheld}: {why}; now {snapshot.held}"
    return _growth(snapshot)


def _is_retry(failures: Failures) -> bool:
    """The growth under way tries again what was refused: pods expect nothing of it before it succeeds."""
    refused = failures.get(Activity.GROW)
    return refused is not None and refused.withstands_a_try


def _is_passing(failure: Failure, snapshot: Snapshot) -> bool:
    """Another tool's change of the NIC won against ours: ours is made again at once, or when Azure has done theirs."""
    return isinstance(failure.error, PreconditionFailed) and (snapshot.updating or failure.is_tried_at_once)


def _growth(snapshot: Snapshot) -> tuple[bool, str, str]:
    if snapshot.at_limit:
        return False, NODE_AT_LIMIT, _full(snapshot)
    if snapshot.paused:
        return False, "PoolPaused", f"the NodeIPPool is paused (spec.paused) and nothing is free: {snapshot.held}"
    if snapshot.refusal:
        return False, snapshot.refusal, snapshot.refusal_message
    if snapshot.updating:
        return True, "NicUpdating", f"Azure is still working on an earlier change of the NIC; now {snapshot.held}"
    if not snapshot.answered:
        return (
            snapshot.asked_for_s < CONTROLLER_ANSWER_S,
            "AwaitingGrant",
            f"{_unanswered(snapshot)}; if this lasts, {snapshot.advice.unanswered}",
        )
    return True, "PoolGrowing", f"the pool grows to {addresses(snapshot.target)}; now {snapshot.held}"


def _unanswered(snapshot: Snapshot) -> str:
    return f"this node asked to hold {addresses(snapshot.requested)} and has no answer yet; now {snapshot.held}"


def _full(snapshot: Snapshot) -> str:
    message = f"this node holds {snapshot.held}"
    if snapshot.nic_read_only:
        return f"{message}; nicWriter is none: add addresses where the NIC is defined"
    if snapshot.crowding:
        others = counted(snapshot.crowding, "ipConfiguration")
        return f"{message}; the NIC is full, with {others} for no pod (status.excluded)"
    if snapshot.refusal == NODE_AT_LIMIT:
        return f"{message}; {snapshot.refusal_message}"
    if snapshot.ceiling >= MAX_ADDRESSES_PER_NODE:
        return f"{message}, as many as one node can have: {snapshot.advice.run_fewer}"
    if not snapshot.bound:
        return message
    where = snapshot.advice.raise_limit.replace("LIMIT", snapshot.bound).replace("NODE", snapshot.pool)
    return f"{message}; to let it have more, raise {where}"


def _brief(failure: Failure, snapshot: Snapshot) -> str:
    """A failure without the words of Azure, the API server or the kernel."""
    throttled = isinstance(failure.error, Throttled) and snapshot.throttled_until
    at = throttled or snapshot.retry_at.get(failure.activity)
    again = f"; tried again at {at}" if at else ""
    see_why = snapshot.advice.see_why.replace("NODE", snapshot.pool)
    return f"this node cannot get more addresses now{again}; to see why: {see_why}"


def describe_failure(failure: Failure, snapshot: Snapshot) -> str:
    """A failure in words: what failed, what must change and, where that is not in a moment, when it is tried again."""
    if isinstance(failure.error, Throttled) and snapshot.throttled_until:
        return f"{failure.error!s}; tried again at {snapshot.throttled_until}"
    at = snapshot.retry_at.get(failure.activity)
    if not at:
        return str(failure.error)
    if failure.is_refusal:
        at_once = snapshot.advice.at_once
        return f"{failure.error!s}; this must be changed first: it is tried again at {at}, or at once {at_once}"
    return f"{failure.error!s}; tried again at {at}"


def conditions(snapshot: Snapshot, failures: Failures) -> tuple[Condition, ...]:
    """All conditions, each with a reason and a message, whether they hold or not."""
    return (
        _ready(snapshot, failures),
        _growing(snapshot),
        _at_limit(snapshot),
        _quota_exceeded(snapshot),
        _trouble(PoolKind.SUBNET_FULL, failures.find(SubnetFull), snapshot, "SubnetHasRoom", "the subnet has room"),
        _trouble(PoolKind.THROTTLED, failures.find(Throttled), snapshot, "NotThrottled", "Azure has not asked to wait"),
        _drifted(snapshot),
        _host_conflict(snapshot),
        _mode_change_pending(snapshot),
        permission_missing(failures, snapshot.denied, ready=snapshot.ready, allocated=snapshot.counts.allocated),
    )


def _ready(snapshot: Snapshot, failures: Failures) -> Condition:
    expected, first = forecast(snapshot, failures), failures.first()
    if snapshot.ready and snapshot.obstacle:
        return Condition(PoolKind.READY, False, "PluginMissing", snapshot.obstacle)
    if not snapshot.ready or not expected.available_soon:
        return Condition(PoolKind.READY, False, expected.reason, expected.message)
    if first is not None:
        return Condition(
            PoolKind.READY, True, first.reason, f"{expected.message}; but {describe_failure(first, snapshot)}"
        )
    return Condition(
        PoolKind.READY, True, "PodsCanStart" if snapshot.counts.free else expected.reason, expected.message
    )


def _growing(snapshot: Snapshot) -> Condition:
    if snapshot.growing:
        return Condition(
            PoolKind.GROWING,
            True,
            "NicWriteInFlight",
            f"Azure is working on the NIC; target {addresses(snapshot.target)}",
        )
    allocated = snapshot.counts.allocated
    if snapshot.paused or snapshot.nic_read_only:
        reason = "NoNicWriter" if snapshot.nic_read_only else "Paused"
        return Condition(PoolKind.GROWING, False, reason, f"{addresses(allocated)} on the NIC, which is left as it is")
    if allocated < min(snapshot.target, snapshot.ceiling):
        message = (
            f"{allocated} of the {addresses(snapshot.target)} wanted {'is' if allocated == 1 else 'are'} on the NIC"
        )
        return Condition(PoolKind.GROWING, True, "BelowTarget", message)
    if snapshot.recall is not None:
        return Condition(PoolKind.GROWING, False, IDLE_RECALLED, recall_words(snapshot.recall, allocated=allocated))
    return Condition(PoolKind.GROWING, False, "AtTarget", f"{addresses(allocated)} on the NIC, as wanted")


def _at_limit(snapshot: Snapshot) -> Condition:
    if snapshot.at_limit:
        return Condition(PoolKind.AT_LIMIT, True, NODE_AT_LIMIT, _full(snapshot))
    near, assigned = snapshot.near_limit, snapshot.counts.assigned
    return below_limit(assigned, snapshot.ceiling, near=near, held=snapshot.held)


def _quota_exceeded(snapshot: Snapshot) -> Condition:
    if snapshot.refusal == PoolKind.QUOTA_EXCEEDED:
        return Condition(PoolKind.QUOTA_EXCEEDED, True, snapshot.refusal, snapshot.refusal_message)
    message = "every answered request of this node is granted in full"
    if snapshot.refusal == NODE_AT_LIMIT:
        message = "this node's own limit, not the VNet's quota, keeps it from more: see AtLimit"
    return Condition(PoolKind.QUOTA_EXCEEDED, False, "WithinQuota", message)


def _trouble(kind: PoolKind, failure: Failure | None, snapshot: Snapshot, fine: str, fine_message: str) -> Condition:
    if failure is None:
        return Condition(kind, False, fine, fine_message)
    return Condition(kind, True, failure.reason, describe_failure(failure, snapshot))


def _drifted(snapshot: Snapshot) -> Condition:
    if not snapshot.missing:
        return Condition(
            PoolKind.DRIFTED, False, "AsExpected", "every assigned address was on the NIC when it was last read"
        )
    message = (
        f"pods hold addresses that are no longer on the NIC: {few(snapshot.missing)}; another tool removed them: "
        f"delete these pods to give them new ones"
    )
    return Condition(PoolKind.DRIFTED, True, "AddressesLost", message)


def _host_conflict(snapshot: Snapshot) -> Condition:
    """A conflict leaves Ready as it is: pods start, and most of their traffic may be whole.

    Ready steers the taint and the runtime. Keeping pods off every node that a hardening role or a firewall has touched
    would turn a fault of some traffic into one of all new pods, on the whole cluster at once.
    """
    if not snapshot.conflicts:
        return Condition(PoolKind.HOST_CONFLICT, False, "NoConflict", "nothing on this host stands in the way of pods")
    message = "; ".join(conflict.message for conflict in snapshot.conflicts)
    return Condition(PoolKind.HOST_CONFLICT, True, snapshot.conflicts[0].reason.value, message)


def _mode_change_pending(snapshot: Snapshot) -> Condition:
    if snapshot.pending_mode is None or not snapshot.pods:
        message = f"pods of this node are wired in mode {snapshot.mode}"
        return Condition(PoolKind.MODE_CHANGE_PENDING, False, "ModeAsWanted", message)
    message = mode_change(snapshot.pending_mode, snapshot.mode, snapshot.pods, node=snapshot.pool)
    return Condition(PoolKind.MODE_CHANGE_PENDING, True, "PodsRunning", message)
