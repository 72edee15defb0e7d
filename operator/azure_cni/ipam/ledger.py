"""The address ledger of one node.

One map, address to slot; all else is derived by looking at its at most 255 slots (10 to 50 µs), so no two answers
can disagree. Methods decide and return a `Change`; only `apply` does it, after the caller has stored it. What may
follow what is the table in `life`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TypeAlias

from azure_cni.api.nic import ExcludedConfiguration, IPConfiguration, NicView
from azure_cni.errors import LedgerError, NoAddress
from azure_cni.ipam.life import Event, Holder, LinkParameters, Sandbox, Slot, State, moved, observed
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S

__all__ = ["Change", "Counts", "Holder", "Ledger", "LinkParameters", "Observation", "Sandbox", "Slot", "State"]


_Move: TypeAlias = tuple[IPv4Address, Slot | None, Slot | None]
"""An address, its slot before and its slot after; None where the ledger does not know it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A transition decided but not yet done: slots to write, addresses to forget. Applied as a whole or not at all."""

    put: tuple[Slot, ...] = ()
    drop: tuple[IPv4Address, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)


@dataclass(frozen=True, slots=True)
class Counts:
    """Addresses by state.

    `allocated` are those that the NIC has for pods as last read; `lost` the assigned ones beyond: gone from it, or in a
    configuration that is for no pod after this one. So always
    allocated + lost = assigned + free + cooling + programming + releasing.
    """

    allocated: int
    assigned: int
    free: int
    cooling: int
    programming: int
    releasing: int
    lost: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What one read of the NIC means for the ledger. All tuples are in address order."""

    change: Change
    appeared: tuple[IPv4Address, ...] = ()
    """Free for pods from now on: new on the NIC, or their operation has now Succeeded."""
    released: tuple[IPv4Address, ...] = ()
    """Gone because they were chosen to leave."""
    vanished: tuple[IPv4Address, ...] = ()
    """Gone from the NIC since the last read although nobody here chose them."""
    excluded: tuple[IPv4Address, ...] = ()
    """In the pool until this read; their configurations are not for pods any more, or show an address twice."""
    lost: tuple[Slot, ...] = ()
    """All that pods still hold and the NIC does not show, whether since this read or before."""


class Ledger:
    """The addresses of one node, at this instant."""

    def __init__(self, slots: Iterable[Slot] = (), *, cooling_s: float = COOLING_S) -> None:
        """Take over what was stored; `cooling_s` is the rest of an address after a pod, in seconds.

        LedgerError when two rows contradict each other.
        """
        self._cooling_s = cooling_s
        self._slots: dict[IPv4Address, Slot] = {}
        held: dict[Sandbox, IPv4Address] = {}
        for slot in slots:
            if slot.address in self._slots:
                raise LedgerError(f"cannot load the ledger: it has {slot.address} twice")
            if (slot.state is State.ASSIGNED) != (slot.holder is not None):
                raise LedgerError(f"cannot load the ledger: {slot.address} is {slot.state} and held by {slot.holder}")
            if slot.holder and held.setdefault(slot.holder.sandbox, slot.address) != slot.address:
                other = held[slot.holder.sandbox]
                raise LedgerError(f"cannot load the ledger: {slot.holder} holds {other} and {slot.address}")
            self._slots[slot.address] = slot

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots in address order."""
        return tuple(sorted(self._slots.values(), key=_in_address_order))

    def apply(self, change: Change) -> None:
        """Do what was decided. Changes are applied in the order of their decisions, with no decision in between."""
        for slot in change.put:
            self._slots[slot.address] = slot
        for address in change.drop:
            del self._slots[address]

    def holding(self, sandbox: Sandbox) -> Slot | None:
        """The address that this sandbox holds."""
        for slot in self._slots.values():
            if slot.holder is not None and slot.holder.sandbox == sandbox:
                return slot
        return None

    def assign(self, holder: Holder, *, now_s: float, at_limit: bool, link: LinkParameters | None = None) -> Change:
        """Give the holder's sandbox the longest-free address, or the one it has: an empty change, if nothing is new.

        `at_limit` says that the node can get no more addresses: then the longest-cooling may be taken after
        COOLING_AT_LIMIT_S. `link` is what the sandbox is about to be wired with. Raises NoAddress (cause PoolEmpty, or
        NodeAtLimit) when there is none.
        """
        if held := self.holding(holder.sandbox):
            return Change() if held.holder == holder else Change(put=(replace(held, holder=holder),))
        slot = self._longest_in(State.FREE)
        if slot is None and at_limit:
            slot = self._longest_in(State.COOLING, until_s=now_s - COOLING_AT_LIMIT_S)
        if slot is None:
            raise self._no_address(holder, at_limit=at_limit)
        after = moved(slot, Event.ASSIGN, now_s=now_s)
        return _change([(slot.address, slot, after and replace(after, holder=holder, link=link))])

    def adapt(self, sandbox: Sandbox, link: LinkParameters) -> Change:
        """Write down what the sandbox is wired with now. Empty if that is known, or if it holds no address."""
        slot = self.holding(sandbox)
        return Change() if slot is None or slot.link == link else Change(put=(replace(slot, link=link),))

    def unassign(self, sandbox: Sandbox, *, now_s: float) -> Change:
        """Take back what the sandbox holds: it cools, or is forgotten if it left the pool. Empty if it holds none."""
        return self._take_back(sandbox, Event.UNASSIGN, now_s=now_s)

    def abandon(self, sandbox: Sandbox, *, now_s: float) -> Change:
        """Take back an address that was assigned but never wired: it is free at once. Empty if it holds none."""
        return self._take_back(sandbox, Event.ABANDON, now_s=now_s)

    def cooled(self, *, now_s: float) -> Change:
        """Free all that has cooled long enough."""
        due = [slot for slot in self._in(State.COOLING) if slot.since_s + self._cooling_s <= now_s]
        return _change((slot.address, slot, moved(slot, Event.COOLED, now_s=now_s)) for slot in due)

    def next_cooled_at_s(self) -> float | None:
        """Boot time at which `cooled` has something to free, or has had since; None while nothing cools."""
        slot = self._longest_in(State.COOLING)
        return None if slot is None else slot.since_s + self._cooling_s

    def release(self, addresses: Iterable[IPv4Address], *, now_s: float) -> Change:
        """Choose addresses to leave the NIC: free ones, or those whose operation failed; unknown ones are passed over.

        AzureCniError for any other: the plan was made from another state of the ledger.
        """
        slots = [(address, self._slots.get(address)) for address in addresses]
        return _change((address, slot, moved(slot, Event.RELEASE, now_s=now_s)) for address, slot in slots if slot)

    def observe(
        self,
        view: NicView,
        *,
        now_s: float,
        in_doubt: bool = False,
        unprepared: Collection[IPv4Address] = frozenset(),
    ) -> Observation:
        """Merge one read of the NIC: what it shows that is not known, what has become ready, what is gone.

        `unprepared` are addresses that the node's kernel does not know: new ones of them wait in `programming`.
        `in_doubt`: a write may still come to pass on the NIC as shown, and take off what was chosen to leave.
        """
        shown: dict[IPv4Address, IPConfiguration | ExcludedConfiguration] = {}
        shown |= {config.address: config for config in view.excluded if config.address is not None}
        shown |= {config.address: config for config in view.secondaries if config.address is not None}
        moves: list[_Move] = []
        for address in sorted(self._slots.keys() | shown.keys(), key=int):
            before, config = self._slots.get(address), shown.get(address)
            if before and config and before.state is State.RELEASING and (in_doubt or not view.settled):
                continue
            after = observed(address, before, config, now_s=now_s, prepared=address not in unprepared)
            moves.append((address, before, after))
        left = [before for _, before, after in moves if before and before.in_pool and not (after and after.in_pool)]
        gone = [slot for slot in left if slot.address not in shown]
        return Observation(
            change=_change(moves),
            appeared=tuple(address for address, before, after in moves if _is_new(before, after)),
            released=tuple(slot.address for slot in gone if slot.state is State.RELEASING),
            vanished=tuple(slot.address for slot in gone if slot.state is not State.RELEASING),
            excluded=tuple(slot.address for slot in left if slot.address in shown),
            lost=tuple(after for _, _, after in moves if after and not after.on_nic),
        )

    def counts(self) -> Counts:
        """How many addresses are in which state."""
        by_state = Counter(slot.state for slot in self._slots.values())
        lost = sum(not slot.in_pool for slot in self._slots.values())
        return Counts(
            allocated=len(self._slots) - lost,
            assigned=by_state[State.ASSIGNED],
            free=by_state[State.FREE],
            cooling=by_state[State.COOLING],
            programming=by_state[State.PROGRAMMING],
            releasing=by_state[State.RELEASING],
            lost=lost,
        )

    def _take_back(self, sandbox: Sandbox, event: Event, *, now_s: float) -> Change:
        slot = self.holding(sandbox)
        if slot is None:
            return Change()
        after = moved(slot, event, now_s=now_s)
        if after is not None and not after.in_pool:
            after = moved(after, Event.GONE, now_s=now_s)
        return _change([(slot.address, slot, after)])

    def _in(self, state: State) -> Iterator[Slot]:
        return (slot for slot in self._slots.values() if slot.state is state)

    def _longest_in(self, state: State, *, until_s: float = float("inf")) -> Slot | None:
        slots = (slot for slot in self._in(state) if slot.since_s <= until_s)
        return min(slots, key=lambda slot: (slot.since_s, int(slot.address)), default=None)

    def _no_address(self, holder: Holder, *, at_limit: bool) -> NoAddress:
        counts = self.counts()
        return NoAddress(
            f"cannot assign an address to {holder}: none of {counts.allocated} on the NIC is free "
            f"({counts.assigned} assigned, {counts.cooling} cooling, {counts.programming} being programmed, "
            f"{counts.releasing} being released)" + (", and the node can hold no more" if at_limit else ""),
            cause="NodeAtLimit" if at_limit else "PoolEmpty",
        )


def _is_new(before: Slot | None, after: Slot | None) -> bool:
    known = before is not None and before.state is not State.PROGRAMMING
    return after is not None and after.state is State.FREE and not known


def _change(moves: Iterable[_Move]) -> Change:
    put, drop = [], []
    for address, before, after in moves:
        if after is None and before is not None:
            drop.append(address)
        elif after is not None and after is not before:
            put.append(after)
    return Change(tuple(put), tuple(drop))


def _in_address_order(slot: Slot) -> int:
    return int(slot.address)
