"""What the reconciler knows, in words: the forecast for waiting pods, and the pool's conditions.

Pure: a snapshot in, words out. Every message says what is so, with the numbers, and where it helps what to do.
"""

from __future__ import annotations

from azure_cni.api.conditions import IDLE_RECALLED, NODE_AT_LIMIT, Condition, PoolKind
from azure_cni.datapath.modes import mode_change
from azure_cni.errors import PreconditionFailed, SubnetFull, Throttled
from azure_cni.ipam.near_limit import below_limit
from azure_cni.ipam.sizing import recall_words, recalling_words
from azure_cni.model.nic import MAX_ADDRESSES_PER_NODE
from azure_cni.model.pod_subnets import NicMissing
from azure_cni.model.text import addresses, counted, few
from azure_cni.node.pool.failures import Activity, Failure, Failures
from azure_cni.node.pool.permissions import permission_missing
from azure_cni.node.pool.pool_nic import nic_change
from azure_cni.node.pool.pool_snapshot import Snapshot
from azure_cni.node.state import STARTING, AddressForecast

CONTROLLER_ANSWER_S = 30.0
"""A controller answers within a second or two, or says why it does not: after this long nobody may be there."""


def forecast(snapshot: Snapshot, failures: Failures) -> AddressForecast:
    """What an ADD that waits may expect."""
    available_soon, reason, message = _expected(snapshot, failures)
    said = next((one for one in failures if message == describe_failure(one, snapshot)), None)
    brief = _brief(said, snapshot) if said is not None else ""
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
    return _growth(snapshot, failures)


def _is_retry(failures: Failures) -> bool:
    """The growth under way tries again what was refused: pods expect nothing of it before it succeeds."""
    refused = failures.get(Activity.GROW)
    return refused is not None and refused.withstands_a_try


def _is_passing(failure: Failure, snapshot: Snapshot) -> bool:
    """Another tool's change of the NIC won against ours: ours is made again at once, or when Azure has done theirs."""
    return isinstance(failure.error, PreconditionFailed) and (snapshot.updating or failure.is_tried_at_once)


def _growth(snapshot: Snapshot, failures: Failures) -> tuple[bool, str, str]:
    if snapshot.at_limit:
        return _bounded(snapshot, failures.get(Activity.SPEC))
    if snapshot.paused:
        return False, "PoolPaused", f"the NodeIPPool is paused (spec.paused) and nothing is free: {snapshot.held}"
    if snapshot.refusal:
        return False, snapshot.refusal, snapshot.refusal_message
    if snapshot.updating:
        return True, "NicUpdating", f"Azure is still working on an earlier change of the NIC; now {snapshot.held}"
    if not snapshot.answered:
        return _asking(snapshot, failures.get(Activity.REQUEST))
    return True, "PoolGrowing", f"the pool grows to {addresses(snapshot.target)}; now {snapshot.held}"


def _bounded(snapshot: Snapshot, spec: Failure | None) -> tuple[bool, str, str]:
    """`spec`: that the pool's spec cannot be used, so that the former limit counts."""
    if spec is None:
        return False, NODE_AT_LIMIT, _full(snapshot)
    return False, spec.reason, f"{describe_failure(spec, snapshot)}; with the numbers of before {_full(snapshot)}"


def _asking(snapshot: Snapshot, unwritten: Failure | None) -> tuple[bool, str, str]:
    """`unwritten`: that the request cannot be written, so no controller has heard of it; one try may be a race."""
    if unwritten is not None and unwritten.attempts > 1:
        return False, unwritten.reason, describe_failure(unwritten, snapshot)
    asked = f"this node asked to hold {addresses(snapshot.requested)} and has no answer yet; now {snapshot.held}"
    waits = snapshot.asked_for_s < CONTROLLER_ANSWER_S
    return waits, "AwaitingGrant", f"{asked}; if this lasts, {snapshot.advice.unanswered}"


def _full(snapshot: Snapshot) -> str:
    message = f"this node holds {snapshot.held}"
    if snapshot.nic_read_only:
        return f"{message}; nicWriter is none: add addresses where the NIC is defined"
    if snapshot.crowding:
        others = counted(snapshot.crowding, "ipConfiguration")
        return f"{message}; the NIC is full, with {others} for no pod (status.excluded)"
    if snapshot.refusal == NODE_AT_LIMIT:
        return f"{message}; {snapshot.refusal_message}"
    if snapshot.ceiling + snapshot.block_size > MAX_ADDRESSES_PER_NODE:
        in_blocks = " in blocks" if snapshot.block_size > 1 else ""
        return f"{message}, as many as one node can have{in_blocks}: {snapshot.advice.run_fewer}"
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
    if isinstance(failure.error, SubnetFull) and snapshot.recalling:
        return f"{failure.error!s}; {recalling_words(snapshot.recalling, 'other nodes of the subnet')}"
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
        _drifted(snapshot, failures.get(Activity.RECOVER)),
        _host_conflict(snapshot),
        _mode_change_pending(snapshot),
        _nic_change_pending(snapshot, failures.get(Activity.IDENTITY)),
        permission_missing(failures, snapshot.denied, ready=snapshot.ready, allocated=snapshot.counts.allocated),
    )


def _ready(snapshot: Snapshot, failures: Failures) -> Condition:
    expected, first = forecast(snapshot, failures), failures.first()
    if snapshot.ready and snapshot.obstacle:
        return Condition(PoolKind.READY, False, "PluginMissing", snapshot.obstacle)
    if not snapshot.ready or not expected.available_soon:
        return Condition(PoolKind.READY, False, expected.reason, expected.message)
    if first is not None:
        message = f"{expected.message}; but {describe_failure(first, snapshot)}"
        return Condition(PoolKind.READY, True, first.reason, message)
    reason = "PodsCanStart" if snapshot.counts.free else expected.reason
    return Condition(PoolKind.READY, True, reason, expected.message)


def _growing(snapshot: Snapshot) -> Condition:
    if snapshot.growing:
        message = f"Azure is working on the NIC; target {addresses(snapshot.target)}"
        return Condition(PoolKind.GROWING, True, "NicWriteInFlight", message)
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


def _drifted(snapshot: Snapshot, failure: Failure | None) -> Condition:
    """`failure`: why the write that asks for the addresses again could not be made."""
    if not snapshot.missing:
        return Condition(
            PoolKind.DRIFTED, False, "AsExpected", "every assigned address was on the NIC when it was last read"
        )
    holders = snapshot.advice.holders
    message = (
        f"{holders} hold addresses that are no longer on the NIC: {few(snapshot.missing)}; another tool removed them"
    )
    asked = {one.address for one in snapshot.lost if not one.refused}
    gone = tuple(address for address in snapshot.missing if address not in asked)
    if asked:
        again = f"{few(sorted(asked))} {'is' if len(asked) == 1 else 'are'} asked for again"
        message += f"; {again}" + (f", and that failed: {describe_failure(failure, snapshot)}" if failure else "")
        message += f"; {snapshot.removed_again}" if snapshot.removed_again else ""
    if gone:
        whose = f"these {holders}" if gone == snapshot.missing else f"the {holders} with {few(gone)}"
        message += f": {snapshot.advice.renew} {whose} to give them new ones"
    if refused := next((one.refused for one in snapshot.lost if one.refused), ""):
        message += f"; {refused}"
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


def _nic_change_pending(snapshot: Snapshot, failure: Failure | None) -> Condition:
    """`failure`: why it is not known on which NIC the pool is to be."""
    if failure is not None and isinstance(failure.error, NicMissing):
        return Condition(PoolKind.NIC_CHANGE_PENDING, True, failure.reason, describe_failure(failure, snapshot))
    if snapshot.pending_subnet is None or not snapshot.pods:
        return Condition(PoolKind.NIC_CHANGE_PENDING, False, "NicAsWanted", "the pool is on the NIC that is wanted")
    message = nic_change(snapshot.pending_subnet, snapshot.subnet, snapshot.pods, node=snapshot.pool)
    return Condition(PoolKind.NIC_CHANGE_PENDING, True, "PodsRunning", message)
