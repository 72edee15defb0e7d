"""What to do next: observed NIC + ledger + policy -> one step, which is at most one write of the NIC.

Invariants, wherever the process is interrupted: no step takes the NIC above the grant, the pool's `max` or 256
configurations; only free addresses in our configurations are removed, and no pod gets one that may still be removed; a
NIC that Azure is updating is left alone.
Each step is decided from a new read, so a plan is never continued, only made again, and the same state always leads to
the same step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from azure_cni.api.node_ip_pool import Recall
from azure_cni.ipam.ipv6_binding import kept_beside, lacking, most_on_nic
from azure_cni.ipam.ledger import Counts, Ledger
from azure_cni.ipam.limits import SETTLE_POLL_S, SHRINK_DELAY_S
from azure_cni.ipam.plan_steps import (
    LATE,
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
from azure_cni.ipam.removals import failed, spare, surplus, unusable
from azure_cni.ipam.sizing import Policy, in_blocks, target, under_recall
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import (
    MAX_ADDRESSES_PER_NODE,
    AttachmentChange,
    NicView,
    StaticConfiguration,
)

__all__ = [
    "Attach",
    "AwaitGrant",
    "Grow",
    "Losses",
    "NoOp",
    "PendingWrite",
    "Plan",
    "Recover",
    "Regroup",
    "Rewrite",
    "Shrink",
    "Step",
    "WaitForAzure",
    "Write",
    "next_step",
]


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """Writes with an unknown outcome: at most one can still take effect, because each changes the etag.

    `most` addresses could be on the NIC after it; Azure refuses it once the NIC's etag is another than `etag`.
    """

    most: int
    etag: str


@dataclass(frozen=True, slots=True)
class Losses:
    """What pods have lost to another tool: `due` addresses may be asked for again, of which `recover` go in the next
    write; `resting` more Azure has just refused, and they keep their place in the pool.
    """

    due: int = 0
    recover: tuple[StaticConfiguration, ...] = ()
    resting: int = 0


NOTHING_LOST: Final = Losses()


@dataclass(frozen=True, slots=True)
class Plan:
    """One decision.

    `requested` is what the node has to ask for: its target, but never less than its NIC holds already. To make growth
    one write, ask first and pass the answer of that request as `granted`. `surplus_since_s` goes back into the next
    decision, as does `recall_met`, the number of the newest recall for which nothing remains to be done. `wake_at_s`:
    the boot time at which to decide again if nothing happens before; None when only an event can change it. `needed`:
    the addresses that pods have, wait for or gave back a moment ago; no recall takes any of them.
    """

    target: int
    requested: int
    step: Step
    surplus_since_s: float | None = None
    wake_at_s: float | None = None
    recall_met: int = 0
    needed: int = 0


def next_step(
    ledger: Ledger,
    view: NicView,
    policy: Policy,
    *,
    waiting: int,
    now_s: float,
    surplus_since_s: float | None,
    granted: int,
    pending_write: PendingWrite | None = None,
    shrink_delay_s: float = SHRINK_DELAY_S,
    attach: tuple[AttachmentChange, ...] = (),
    may_grow: bool = True,
    may_shrink: bool = True,
    may_rewrite: bool = True,
    groups: tuple[str, ...] | None = None,
    losses: Losses = NOTHING_LOST,
    recall: Recall | None = None,
    recall_met: int = 0,
    ipv6_singles: bool = False,
) -> Plan:
    """Decide from a ledger that has observed `view`.

    `waiting`: pods here that need an address and have none. `granted`: what the newest request was answered with, 0
    while it is not. `pending_write`: the ledger withholds from pods what such a write would remove, or attach to.
    `attach`: what is to be changed of what pods have attached. `may_grow` is False while a growth that failed rests,
    or is refused: then `attach`, `groups` and the repair of a failed NIC do not wait for it. `may_shrink` is False
    while a shrinking that failed rests, and `may_rewrite` while that repair does. `groups`: the application security
    groups that the NIC shall be in, None for those that it is in; no pod's address waits for that. `losses`: what
    pods have and another tool took off the NIC. `recall`: what the controller wants to have back for pods of other
    nodes, without `shrink_delay_s` but once for each number. `ipv6_singles`: Azure gives the NIC no block of IPv6, so
    each address needs one of its own. Times are boot times in s.
    """
    counts = ledger.counts()
    # Missing addresses are not on the NIC and do not become useful by growing: neither side counts them.
    useless = sum(config.size for config in unusable(ledger, view) if not config.removable) if view.settled else 0
    assigned, cooling = counts.assigned - counts.missing, counts.cooling + useless
    wanted = target(policy, assigned=assigned, waiting=waiting, cooling=cooling)
    needed = assigned + waiting + cooling
    wanted = under_recall(wanted, needed=needed, recall=recall)
    size, held = policy.config_size, view.held
    kept = kept_beside(view, ledger.slots)
    most = min(policy.maximum, most_on_nic(view, policy, singles=ipv6_singles, kept=kept))
    # What pods wait for comes before what they lost, and that before what is kept ready.
    wanted = max(min(wanted, most, needed), min(wanted, most - losses.due - losses.resting))
    # While other nodes give addresses back for pods that wait, this one takes no block to keep in reserve.
    room = most if recall is None else min(most, max(wanted, needed + size - 1))
    wanted = in_blocks(wanted, held=held, most=room, size=size)
    with_lost = min(max(wanted, held) + losses.due, most)
    requested = _requested(view, wanted=max(wanted, with_lost))
    beyond = min(-(-(held - wanted) // size) * size, spare(view, policy, needed=needed))
    recalled = _recalled(ledger, view, count=beyond, recall=recall, met=recall_met)
    met = recall.number if recall is not None and view.settled and recalled is None else recall_met
    plan = partial(Plan, wanted, requested, recall_met=recall_met if policy.paused else met, needed=needed)
    cooled_at_s = ledger.next_cooled_at_s()
    ipv6 = partial(lacking, view, singles=ipv6_singles, kept=kept) if policy.ipv6 else _nothing
    too_much = pending_write is not None and pending_write.most > requested
    rest = _rest(view, groups, too_much=too_much, ipv6=ipv6(held=held))
    granted -= view.held_for_others
    growth = _growth(view, wanted=wanted, granted=granted, size=size, attach=attach, may_grow=may_grow)
    if isinstance(growth, Grow):
        beside = ipv6(held=held + growth.add)
        growth = replace(growth, ipv6=beside, attach=() if beside else growth.attach)  # what is refused of it is known
    if policy.paused:
        return plan(NoOp(), wake_at_s=cooled_at_s)
    if not view.settled:
        return plan(WaitForAzure(), surplus_since_s, wake_at_s=now_s + SETTLE_POLL_S)
    if (
        step := _recovered(view, losses.recover, most=with_lost, requested=requested, granted=granted)
        or _withheld(ledger, view, pending_write, attach=attach)
        or failed(ledger, view)
        or _unless_it_rests(growth, rest, may_grow=may_grow, may_rewrite=may_rewrite)
        or recalled
    ):
        return plan(_or_repair(step, rest, may_shrink=may_shrink, may_rewrite=may_rewrite), wake_at_s=cooled_at_s)
    shrink = surplus(ledger, view, count=held - wanted) if _is_surplus(policy, counts, held=held) else None
    if shrink is None:
        return plan(rest, wake_at_s=cooled_at_s)
    since_s = now_s if surplus_since_s is None else surplus_since_s
    shrink_at_s = since_s + shrink_delay_s
    if now_s >= shrink_at_s:
        return plan(_or_repair(shrink, rest, may_shrink=may_shrink, may_rewrite=may_rewrite), since_s)
    return plan(rest, since_s, wake_at_s=shrink_at_s if cooled_at_s is None else min(shrink_at_s, cooled_at_s))


def _requested(view: NicView, *, wanted: int) -> int:
    """What the node has to ask for to have `wanted` for pods, never less than those that it has. Beyond the most that a
    node may ask for, what it added and others use is at the cost of its pods.
    """
    kept = max(wanted, view.held)
    return max(kept, min(kept + view.held_for_others, MAX_ADDRESSES_PER_NODE))


def _recovered(
    view: NicView, lost: tuple[StaticConfiguration, ...], *, most: int, requested: int, granted: int
) -> Recover | AwaitGrant | None:
    """What pods lost, before all else: they are dark, and any other node may get their addresses meanwhile.

    None where the answer to the request leaves no room for it, and, answered or not, where `most`, what pool and NIC
    may hold with it, does not. The write ends every other doubt of the NIC, too.
    """
    if not lost or most <= view.held:
        return None
    if granted <= 0:
        return AwaitGrant(requested, recover=True)
    room, chosen = min(granted, most) - view.held, []
    for config in lost:
        if config.size > room:
            break
        chosen.append(config)
        room -= config.size
    return Recover(tuple(chosen)) if chosen else None


def _withheld(
    ledger: Ledger, view: NicView, pending_write: PendingWrite | None, *, attach: tuple[AttachmentChange, ...]
) -> Rewrite | None:
    """The write that keeps what may still be removed, or attached to: before any other step, because pods may wait
    for it.
    """
    may_gain = ledger.may_gain(view) and not attach  # else the write that is made anyway ends the doubt
    return LATE if pending_write and (ledger.counts().releasing or may_gain) else None


def _growth(
    view: NicView, *, wanted: int, granted: int, size: int, attach: tuple[AttachmentChange, ...], may_grow: bool
) -> Step | None:
    """The step from what is held to what is wanted, and to what pods ask for; None when neither lacks anything.

    One write does both where it can. A grant is for one intent, so which comes first may not depend on whether the
    newest request is answered: the two would displace each other's requests in turns.
    """
    if view.held >= wanted or (attach and not may_grow):
        return Attach(attach) if attach else None
    add = (min(wanted, granted) - view.held) // size * size
    if add > 0:
        return Grow(add, attach, size)
    return AwaitGrant(requested=wanted)


def _unless_it_rests(growth: Step | None, rest: Step, *, may_grow: bool, may_rewrite: bool) -> Step | None:
    """The growth, or what the NIC needs while growth rests or is refused. That may last for hours, and meanwhile what a
    failed operation left need not be what works.
    """
    instead = isinstance(rest, Regroup) or (isinstance(rest, Rewrite) and may_rewrite)
    return rest if isinstance(growth, Grow | AwaitGrant) and not may_grow and instead else growth


def _or_repair(step: Step, rest: Step, *, may_shrink: bool, may_rewrite: bool) -> Step:
    """The step; or, while it rests, the repair of the NIC that it left failed: what works then is not known."""
    return rest if isinstance(step, Shrink) and not may_shrink and isinstance(rest, Rewrite) and may_rewrite else step


def _nothing(*, held: int) -> IPv6Growth:  # noqa: ARG001  # as `lacking`
    return NO_IPV6


def _rest(view: NicView, groups: tuple[str, ...] | None, *, too_much: bool, ipv6: IPv6Growth) -> Step:
    """What a NIC of the right size needs. `too_much`: a write not known to have ended could make it larger."""
    if view.failed:
        return Rewrite()
    if too_much:  # it stays reserved until Azure would refuse that write
        return LATE
    if ipv6:
        return Rewrite("pods are to have IPv6 addresses, too", ipv6)
    return NoOp() if groups is None or view.is_in(groups) else Regroup(groups)


def _is_surplus(policy: Policy, counts: Counts, *, held: int) -> bool:
    if held > policy.maximum:
        return True
    return counts.free > policy.max_free if policy.size is None else held > policy.size


def _recalled(ledger: Ledger, view: NicView, *, count: int, recall: Recall | None, met: int) -> Shrink | None:
    """What the controller wants back and pods here do not need: `count` addresses at most, which is the whole of a
    block of which it wants a part. None when there is nothing, or it was given.
    """
    if recall is None or recall.number == met or not view.settled or count <= 0:
        return None
    idle = surplus(ledger, view, count=count)
    return idle and replace(idle, reason="pods of other nodes wait for an address")
