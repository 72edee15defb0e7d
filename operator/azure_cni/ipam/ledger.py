"""The address ledger of one node.

One map, address to slot, in address order. Everything else is computed from its at most 255 slots (10 to 50 µs), so no
two answers can disagree. Methods decide and return a `Change`; `apply` makes it, after the caller has stored it. The
transitions are the table in `address_state`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from typing import Final

from azure_cni.errors import EnvironmentInvalid, LedgerError
from azure_cni.ipam.address_state import Event, Holder, LinkParameters, Sandbox, Slot, State, moved, observed
from azure_cni.ipam.ipv6_binding import RestingIPv6, bound, unbound
from azure_cni.ipam.ledger_values import Change, Counts, Move, Observation, change_of, is_new, network_of, no_address
from azure_cni.ipam.limits import COOLING_AT_LIMIT_S, COOLING_S
from azure_cni.model.nic import Address, ConfigName, ExcludedConfiguration, IPConfiguration, NicView

__all__ = ["Change", "Counts", "Holder", "Ledger", "LinkParameters", "Observation", "Sandbox", "Slot", "State"]

_SINCE: Final = attrgetter("since_s")
"""Sorts by who has waited longest. Of several since one instant the lowest address stays first: that is their order."""


class Ledger:
    """The addresses of one node, at this instant."""

    def __init__(self, slots: Iterable[Slot] = (), *, cooling_s: float = COOLING_S, dual: bool = False) -> None:
        """Take over what was stored; `cooling_s` is how long a released address is held back, in seconds. `dual`: pods
        get an IPv6 address as well, or none at all.

        LedgerError when two rows contradict each other.
        """
        self._cooling_s = cooling_s
        self._dual = dual
        self._slots: dict[IPv4Address, Slot] = {}
        self._counts: Counts | None = None
        """Until the next change: every pass asks some ten times."""
        self._forgotten: set[IPv4Address] = set()
        """What pods gave back while the NIC did not have it for them, of this agent's time: it cools when it comes."""
        self._resting = RestingIPv6(cooling_s)
        held: dict[tuple[str, str], Slot] = {}
        for slot in slots:
            if slot.address in self._slots:
                raise LedgerError(f"cannot load the ledger: it has {slot.address} twice")
            if (slot.state is State.ASSIGNED) != (slot.holder is not None):
                raise LedgerError(f"cannot load the ledger: {slot.address} is {slot.state} and held by {slot.holder}")
            if slot.holder and (first := held.setdefault(slot.holder.sandbox.interface, slot)).holder != slot.holder:
                raise LedgerError(
                    f"cannot load the ledger: {first.address} and {slot.address} are one interface's and have two "
                    f"holders: {first.holder!r} and {slot.holder!r}"
                )
            self._slots[slot.address] = slot if dual or slot.holder else replace(slot, ipv6=None)
        self._put_in_order()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots in address order."""
        return tuple(self._slots.values())

    def find(self, address: IPv4Address) -> Slot | None:
        """The slot of an address; None for one that the ledger does not know."""
        return self._slots.get(address)

    def apply(self, change: Change) -> None:
        """Do what was decided. Changes are applied in the order of their decisions, with no decision in between."""
        known, self._counts = len(self._slots), None
        for slot in change.put:
            self._slots[slot.address] = slot
        if len(self._slots) > known:
            self._put_in_order()
        for address in change.drop:
            if self._slots.pop(address).state is State.ASSIGNED:
                self._forgotten.add(address)
        self._forgotten -= {slot.address for slot in change.put if slot.state is not State.PROGRAMMING}
        self._resting.apply(change)

    def holding(self, sandbox: Sandbox) -> tuple[Slot, ...]:
        """What this sandbox holds, in address order. Without a network it is found by its interface."""
        held = self._on_interface(sandbox)
        return () if network_of(held, unless=sandbox) else held

    def other_network(self, sandbox: Sandbox) -> str:
        """The network that holds the interface of this sandbox, if that is another than the sandbox's; else ""."""
        return network_of(self._on_interface(sandbox), unless=sandbox)

    def assign(
        self,
        holder: Holder,
        *,
        now_s: float,
        at_limit: bool,
        link: LinkParameters | None = None,
        own_egress: bool = False,
        count: int = 1,
    ) -> Change:
        """Give the holder's sandbox the `count` longest-free addresses, or those it has: an empty change, if nothing
        is new. Those of a block that pods are in come first, so that others become free as a whole and can leave.

        `at_limit` says that the node can get no more addresses: then the longest-cooling may be taken after
        COOLING_AT_LIMIT_S, free ones first. `link` is what the sandbox is about to be wired with, `own_egress` whether
        what it sends out of the VNet keeps its address. Raises NoAddress (cause PoolEmpty, or NodeAtLimit) when there
        are fewer, and EnvironmentInvalid when the interface is another network's.
        """
        self.require_interface(holder)
        if self._on_interface(holder.sandbox):
            return self.hand_over(holder)
        slots = self._next_free(count)
        if at_limit:
            cooling = self._longest_in(State.COOLING, len(self._slots), until_s=now_s - COOLING_AT_LIMIT_S)
            slots += [slot for slot in cooling if self._is_whole(slot)][: count - len(slots)]
        if len(slots) < count:
            raise no_address(self.counts(), holder, count, at_limit=at_limit)
        after = [(slot, moved(slot, Event.ASSIGN, now_s=now_s)) for slot in slots]
        return change_of(
            (slot.address, slot, to and replace(to, holder=holder, link=link, own_egress=own_egress))
            for slot, to in after
        )

    def require_interface(self, holder: Holder) -> None:
        """EnvironmentInvalid when the interface of the holder's sandbox is another network's."""
        if other := self.other_network(holder.sandbox):
            raise EnvironmentInvalid(
                f'cannot use CNI_IFNAME "{holder.sandbox.ifname}" for {holder} in network '
                f'"{holder.sandbox.network}": the container has this interface in network "{other}" already'
            )

    def hand_over(self, holder: Holder) -> Change:
        """Record the holder as it is named now. Empty if nothing changed, or if its sandbox holds no address."""
        held = self.holding(holder.sandbox)
        return Change(put=tuple(replace(slot, holder=holder) for slot in held if slot.holder != holder))

    def adapt(self, sandbox: Sandbox, link: LinkParameters) -> Change:
        """Write down what the sandbox is wired with now. Empty if that is known, or if it holds no address."""
        held = self.holding(sandbox)
        return Change(put=tuple(replace(slot, link=link) for slot in held if slot.link != link))

    def unassign(self, sandbox: Sandbox, *, now_s: float) -> Change:
        """Take back what the sandbox holds: it cools, or is forgotten if it left the pool. Empty if it holds none."""
        return self._take_back(sandbox, Event.UNASSIGN, now_s=now_s)

    def abandon(self, sandbox: Sandbox, *, now_s: float) -> Change:
        """Take back what was assigned but never wired: free at once, unless something is attached already."""
        return self._take_back(sandbox, Event.ABANDON, now_s=now_s)

    def cooled(self, *, now_s: float) -> Change:
        """Free all that has cooled long enough."""
        cooling = (slot for slot in self._in(State.COOLING) if not slot.attached)
        due = sorted((slot for slot in cooling if slot.since_s + self._cooling_s <= now_s), key=_SINCE)
        return change_of((slot.address, slot, moved(slot, Event.COOLED, now_s=now_s)) for slot in due)

    @property
    def cooling(self) -> dict[Address, float]:
        """The addresses that are held back because pods had them, each with the boot time since which."""
        held = ((slot.since_s, slot.address, slot.ipv6) for slot in self._in(State.COOLING))
        return {one: since_s for since_s, *both in held for one in both if one is not None}

    def next_cooled_at_s(self) -> float | None:
        """Boot time at which `cooled` has something to free, or has had since; None while only reads can free more."""
        slots = self._longest_in(State.COOLING, 1)
        return slots[0].since_s + self._cooling_s if slots else None

    def attaching(self, chosen: Collection[ConfigName]) -> Change:
        """Note that a write is about to attach something to these configurations, before it is sent."""
        named = (slot for slot in self._slots.values() if slot.config in chosen and not slot.attaching)
        return Change(put=tuple(replace(slot, attached=True, attaching=True) for slot in named))

    def may_gain(self, view: NicView) -> bool:
        """A write that attaches was about to be sent, and the read does not show what it brings."""
        marked = {slot.config for slot in self._slots.values() if slot.attached}
        return any(config.name in marked and not config.attached for config in view.secondaries)

    def release(self, chosen: Iterable[IPv4Address], *, now_s: float) -> Change:
        """Choose addresses to leave the NIC: free ones, or those whose operation failed; unknown ones are passed over.

        AzureCniError for any other: the plan was made from another state of the ledger.
        """
        slots = [(address, self._slots.get(address)) for address in chosen]
        return change_of((address, slot, moved(slot, Event.RELEASE, now_s=now_s)) for address, slot in slots if slot)

    def observe(
        self,
        view: NicView,
        *,
        now_s: float,
        write_pending: bool = False,
        unprepared: Collection[IPv4Address] = frozenset(),
    ) -> Observation:
        """Merge one read of the NIC: what it shows that is not known, what has become ready, what is gone.

        `unprepared` are addresses that the node's kernel does not know, or as the NIC had them before: new ones of them
        wait in `programming`, and others stay marked as attached.
        `write_pending`: a write may still take effect on the NIC as shown: remove what was chosen to leave, or attach.
        """
        shown: dict[IPv4Address, IPConfiguration | ExcludedConfiguration] = {}
        shown |= {address: config for config in view.excluded for address in config.addresses}
        shown |= {address: config for config in view.secondaries for address in config.addresses}
        moves: list[Move] = []
        conclusive, see = view.settled and not write_pending, partial(observed, now_s=now_s, failed=view.failed)
        for address in sorted(self._slots.keys() | shown.keys(), key=int):
            before, config = self._slots.get(address), shown.get(address)
            if before and config and before.state is State.RELEASING and (write_pending or not view.settled):
                moves.append((address, before, before))
                continue
            known = address not in unprepared
            after = see(address, before, config, prepared=known, conclusive=conclusive and known)
            if address in self._forgotten and after is not None and after.state is State.FREE:
                after = replace(after, state=State.COOLING, since_s=now_s)
            moves.append((address, before, after))
        moves = self._resting.cooling_on(bound(moves, view.ipv6)) if self._dual else unbound(moves)
        left = [before for _, before, after in moves if before and before.in_pool and not (after and after.in_pool)]
        gone = [slot for slot in left if slot.address not in shown]
        return Observation(
            change=change_of(moves),
            appeared=tuple(address for address, before, after in moves if is_new(before, after)),
            vanished=tuple(slot.address for slot in gone if slot.state is not State.RELEASING),
            excluded=tuple(slot.address for slot in left if slot.address in shown),
        )

    def pairs(self, view: NicView | None = None) -> frozenset[tuple[IPv4Address, IPv6Address]]:
        """Each address with that of IPv6 that is bound to it; with a `view` as they would be once it is observed."""
        change = Change() if view is None or not self._dual else self.observe(view, now_s=0.0).change
        slots = self._slots | {slot.address: slot for slot in change.put}
        return frozenset((slot.address, slot.ipv6) for slot in slots.values() if slot.ipv6 is not None)

    def counts(self) -> Counts:
        """How many addresses are in which state."""
        if self._counts is None:
            self._counts = self._count()
        return self._counts

    def _count(self) -> Counts:
        by_state = Counter(slot.state for slot in self._slots.values())
        alone = sum(not self._is_whole(slot) for slot in self._in(State.FREE))
        missing = sum(not slot.in_pool for slot in self._slots.values())
        return Counts(
            allocated=len(self._slots) - missing,
            assigned=by_state[State.ASSIGNED],
            free=by_state[State.FREE] - alone,
            cooling=by_state[State.COOLING],
            programming=by_state[State.PROGRAMMING] + alone,
            releasing=by_state[State.RELEASING],
            missing=missing,
        )

    def _put_in_order(self) -> None:
        """By address. Every ADD and each pass reads the slots, and only a read of the NIC brings new addresses."""
        self._slots = dict(sorted(self._slots.items(), key=lambda item: int(item[0])))

    def _on_interface(self, sandbox: Sandbox) -> tuple[Slot, ...]:
        """The slots that have this interface, whatever the network, in address order."""
        container_id, ifname = sandbox.interface
        return tuple(
            slot
            for slot in self._slots.values()
            if (holder := slot.holder) is not None
            and (found := holder.sandbox).container_id == container_id
            and found.ifname == ifname
        )

    def _take_back(self, sandbox: Sandbox, event: Event, *, now_s: float) -> Change:
        moves: list[Move] = []
        for slot in self.holding(sandbox):
            back = after = moved(slot, Event.UNASSIGN if slot.attached else event, now_s=now_s)
            if after is not None and not after.in_pool:
                after = moved(after, Event.GONE, now_s=now_s)
            moves.append((slot.address, slot if after is back else back, after))
        return change_of(moves)

    def _is_whole(self, slot: Slot) -> bool:
        """It has all that a pod gets."""
        return slot.ipv6 is not None or not self._dual

    def _in(self, state: State) -> Iterator[Slot]:
        return (slot for slot in self._slots.values() if slot.state is state)

    def _next_free(self, count: int) -> list[Slot]:
        in_use = {slot.config for slot in self._in(State.ASSIGNED)}
        free = (slot for slot in self._in(State.FREE) if not slot.attached and self._is_whole(slot))
        return heapq.nsmallest(count, free, key=lambda slot: (slot.config not in in_use, slot.since_s))

    def _longest_in(self, state: State, count: int, *, until_s: float = float("inf")) -> list[Slot]:
        slots = (slot for slot in self._in(state) if slot.since_s <= until_s and not slot.attached)
        return heapq.nsmallest(count, slots, key=_SINCE)
