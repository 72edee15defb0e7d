"""What to do next: observed NIC + ledger + policy -> one step, which is at most one write of the NIC.

Invariants, whatever is interrupted wherever: no step takes the NIC above the grant, the pool's `max` or 256
configurations; only free addresses in configurations of ours leave, and none of them goes to a pod while it may still
leave; a NIC that Azure is updating is left alone.
Each step is decided from a fresh read, so a plan is never carried on, only made anew, and the same state always
leads to the same step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from typing import Final, TypeAlias

from azure_cni.api.nic import ConfigName, IPConfiguration, NicView
from azure_cni.ipam.ledger import Counts, Ledger, State
from azure_cni.ipam.limits import SETTLE_POLL_S, SHRINK_DELAY_S
from azure_cni.ipam.sizing import Policy, target


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do now."""


@dataclass(frozen=True, slots=True)
class Await:
    """More is needed than is granted: ask to hold `requested` addresses, and decide anew when that is answered."""

    requested: int


@dataclass(frozen=True, slots=True)
class Grow:
    """Add so many configurations in one write."""

    add: int


@dataclass(frozen=True, slots=True)
class Shrink:
    """Release `addresses` in the ledger, then leave the configurations `names` out in one write."""

    names: tuple[ConfigName, ...]
    addresses: tuple[IPv4Address, ...]
    reason: str = field(default="more free addresses than wanted", compare=False)
    """For people: why these leave."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Azure is still working on the NIC: nothing may be written. Look again."""


@dataclass(frozen=True, slots=True)
class Mend:
    """Write the NIC once more as it is: to end a failed state, or so that an older write cannot come through."""

    reason: str = field(default="the last operation failed", compare=False)
    """For people."""


_LATE: Final = Mend("a write with an unknown outcome must not come through late")

Step: TypeAlias = Rest | Await | Grow | Shrink | Settle | Mend


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """Writes of which nobody knows whether they will yet come to pass: at most one will, for each changes the etag.

    `most` addresses could be on the NIC after it; Azure refuses it once the NIC's etag is another than `etag`.
    """

    most: int
    etag: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One decision.

    `requested` is what the node has to ask for: its target, but never less than its NIC holds already. To make growth
    one write, ask first and pass the answer of that request as `granted`. `surplus_since_s` goes back into the next
    decision. `wake_at_s`: the boot time at which to decide anew if nothing happens before; None when only an event can
    change it.
    """

    target: int
    requested: int
    step: Step
    surplus_since_s: float | None = None
    wake_at_s: float | None = None


def next_step(
    ledger: Ledger,
    view: NicView,
    policy: Policy,
    *,
    waiting: int,
    now_s: float,
    surplus_since_s: float | None,
    granted: int,
    unaccounted: Unaccounted | None = None,
    shrink_delay_s: float = SHRINK_DELAY_S,
) -> Plan:
    """Decide from a ledger that has observed `view`.

    `waiting`: pods here that need an address and have none. `granted`: what the newest request was answered with, 0
    while it is not. `unaccounted`: the ledger withholds from pods what such a write would take off. Times are boot
    times in s.
    """
    counts = ledger.counts()
    # Lost addresses are not on the NIC and do not become useful by growing: neither side counts them.
    useless = sum(not config.ours for config in _unusable(ledger, view)) if view.settled else 0
    wanted = target(policy, assigned=counts.assigned - counts.lost, waiting=waiting, cooling=counts.cooling + useless)
    wanted, held = min(wanted, view.most), len(view.secondaries)
    plan = partial(Plan, wanted, max(wanted, held))
    cooled_at_s = ledger.next_cooled_at_s()
    if policy.paused:
        return plan(Rest(), wake_at_s=cooled_at_s)
    if not view.settled:
        return plan(Settle(), surplus_since_s, wake_at_s=now_s + SETTLE_POLL_S)
    if step := _withheld(counts, unaccounted) or _failed(ledger, view) or _growth(view, wanted=wanted, granted=granted):
        return plan(step, wake_at_s=cooled_at_s)
    rest = _mending(view, too_much=unaccounted is not None and unaccounted.most > max(wanted, held))
    surplus = _surplus(ledger, view, count=held - wanted) if _is_surplus(policy, counts, held=held) else None
    if surplus is None:
        return plan(rest, wake_at_s=cooled_at_s)
    since_s = now_s if surplus_since_s is None else surplus_since_s
    shrink_at_s = since_s + shrink_delay_s
    if now_s >= shrink_at_s:
        return plan(surplus, since_s)
    return plan(rest, since_s, wake_at_s=shrink_at_s if cooled_at_s is None else min(shrink_at_s, cooled_at_s))


def _withheld(counts: Counts, unaccounted: Unaccounted | None) -> Mend | None:
    """How to get back what may still leave: before anything else and whatever is granted, for pods may wait for it."""
    return _LATE if unaccounted and counts.releasing else None


def _growth(view: NicView, *, wanted: int, granted: int) -> Step | None:
    """How to come from what is held to what is wanted; None when there is nothing to grow."""
    held = len(view.secondaries)
    if held >= wanted:
        return None
    if granted <= held:
        return Await(requested=wanted)
    return Grow(add=min(wanted, granted) - held)


def _mending(view: NicView, *, too_much: bool) -> Step:
    """What a NIC of the right size needs. `too_much`: a write not known to have ended could make it larger."""
    if view.failed:
        return Mend()
    if too_much:  # it stays reserved until Azure would refuse that write
        return _LATE
    return Rest()


def _is_surplus(policy: Policy, counts: Counts, *, held: int) -> bool:
    if held > policy.maximum:
        return True
    return counts.free > policy.max_free if policy.size is None else held > policy.size


def _surplus(ledger: Ledger, view: NicView, *, count: int) -> Shrink | None:
    """The longest-free addresses in configurations of ours, at most `count`; None when there is none."""
    ours = {config.name: config.address for config in view.secondaries if config.ours}
    free = [slot for slot in ledger.slots if slot.state is State.FREE and ours.get(slot.config) == slot.address]
    chosen = sorted(free, key=lambda slot: slot.since_s)[: max(count, 0)]
    if not chosen:
        return None
    return Shrink(tuple(slot.config for slot in chosen), tuple(slot.address for slot in chosen))


def _failed(ledger: Ledger, view: NicView) -> Shrink | None:
    """Configurations of ours that Azure is done with and that never became usable: they only take up room."""
    failed = [config for config in _unusable(ledger, view) if config.ours]
    if not failed:
        return None
    addresses = tuple(config.address for config in failed if config.address is not None)
    return Shrink(tuple(config.name for config in failed), addresses, reason="Azure failed to make them work")


def _unusable(ledger: Ledger, view: NicView) -> list[IPConfiguration]:
    """What never worked since it came. Others' may not be removed here: those are on the NIC for nothing, and what pods
    need is needed beside them.
    """
    known = {slot.address: slot for slot in ledger.slots}
    return [
        config
        for config in view.secondaries
        if not config.ready and (config.address is None or known[config.address].state is State.PROGRAMMING)
    ]
