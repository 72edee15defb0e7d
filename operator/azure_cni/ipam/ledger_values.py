"""What the ledger's methods return: changes to apply, counts, and what a read of the NIC means for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

from azure_cni.errors import NoAddress
from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.model.text import addresses

Move: TypeAlias = tuple[IPv4Address, Slot | None, Slot | None]
"""An address, its slot before and its slot after; None where the ledger does not know it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A transition decided but not yet done: slots to write, addresses to forget. Applied as a whole or not at all."""

    put: tuple[Slot, ...] = ()
    drop: tuple[IPv4Address, ...] = ()
    resting: tuple[tuple[IPv6Address, float], ...] = ()
    """What pods had of IPv6 that goes with nothing after this, and the boot time since which it cools."""

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)


@dataclass(frozen=True, slots=True)
class Counts:
    """Addresses by state.

    `allocated` are those that the NIC had for pods when last read. `missing` are the other assigned ones: gone from the
    NIC, or for no later pod. So always allocated + missing = assigned + free + cooling + programming + releasing.
    """

    allocated: int
    assigned: int
    free: int
    cooling: int
    programming: int
    releasing: int
    missing: int


@dataclass(frozen=True, slots=True)
class Observation:
    """What one read of the NIC means for the ledger. All tuples are in address order."""

    change: Change
    appeared: tuple[IPv4Address, ...] = ()
    """Free for pods from now on: new on the NIC, or their operation has now Succeeded."""
    vanished: tuple[IPv4Address, ...] = ()
    """Gone from the NIC since the last read although nobody here chose them."""
    excluded: tuple[IPv4Address, ...] = ()
    """In the pool until this read; their configurations are not for pods any more, or show an address twice."""


def no_address(counts: Counts, holder: Holder, count: int, *, at_limit: bool) -> NoAddress:
    """That a sandbox cannot have `count` of these, with the numbers."""
    wanted = "an address" if count == 1 else addresses(count)
    return NoAddress(
        f"cannot assign {wanted} to {holder}: {counts.free or 'none'} of {counts.allocated} on the NIC is free "
        f"({counts.assigned} assigned, {counts.cooling} cooling, {counts.programming} being programmed, "
        f"{counts.releasing} being released)" + (", and the node can hold no more" if at_limit else ""),
        cause="NodeAtLimit" if at_limit else "PoolEmpty",
    )


def is_new(before: Slot | None, after: Slot | None) -> bool:
    """Whether pods can have the address from now on."""
    known = before is not None and before.state is not State.PROGRAMMING
    return after is not None and after.state is State.FREE and not known


def resting(moves: Iterable[Move]) -> dict[IPv6Address, float]:
    """What was cooling with a partner that leaves it by these moves, and since when."""
    return {
        before.ipv6: before.since_s
        for _, before, after in moves
        if before and before.state is State.COOLING and before.ipv6 and (after is None or after.ipv6 != before.ipv6)
    }


def change_of(moves: Iterable[Move]) -> Change:
    """What to store of these."""
    moves, put, drop = list(moves), [], []
    for address, before, after in moves:
        if after is None and before is not None:
            drop.append(address)
        elif after is not None and after is not before:
            put.append(after)
    return Change(tuple(put), tuple(drop), tuple(resting(moves).items()))


def network_of(held: Sequence[Slot], *, unless: Sandbox) -> str:
    """The network of whoever holds these; "" if that is this sandbox, or nobody."""
    holder = held[0].holder if held else None
    return "" if holder is None or holder.sandbox.matches(unless) else holder.sandbox.network
