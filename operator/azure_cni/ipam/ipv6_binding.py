"""Which IPv6 address goes with which of IPv4 in dual stack, and what of IPv6 a NIC lacks. Pure.

A pod gets both addresses or none, so each IPv4 address of the pool has one of IPv6 bound to it: it is assigned, cools
and leaves with it, and nothing counts it apart. From the NIC's block it is the one that ends as the IPv4 address does
(10.240.3.17 has ...:311), so people recognize it, and the node binds the same ones again after a reboot. Where Azure
gives no block, each is an ipConfiguration of its own, and a NIC holds half as many pods.

    ready block, or ready single addresses   -> bound to whatever is not assigned and has none
    what is bound is on the NIC no more      -> let go, and another one bound; a pod keeps what it was wired with
    bound to one that is not there any more  -> bound to another, and both cool for as long as it still had to
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from azure_cni.ipam.address_state import Slot, State
from azure_cni.ipam.ledger_values import Change, Move, resting
from azure_cni.ipam.sizing import Policy
from azure_cni.model.ipv6 import NO_IPV6, IPv6Configuration, IPv6Growth
from azure_cni.model.nic import MAX_CONFIGS_PER_NIC, NicView

_SLOTS: Final = 1 << 16
"""Addresses of a block."""


def bound(moves: Sequence[Move], ipv6: Iterable[IPv6Configuration]) -> list[Move]:
    """The same moves, with what is bound to each address after them. What pods have stays as it is."""
    shown = [(config.network, config.usable) for config in ipv6 if config.network is not None]
    there, usable = [network for network, _ in shown], [network for network, ready in shown if ready]
    taken = {after.ipv6 for _, _, after in moves if after and _keeps(after, there)}
    found: list[Move] = []
    for address, before, after in moves:
        if after is None or _keeps(after, there):
            found.append((address, before, after))
            continue
        chosen = _choose(address, usable, taken)
        taken.add(chosen)
        found.append((address, before, after if chosen == after.ipv6 else replace(after, ipv6=chosen)))
    return found


def unbound(moves: Iterable[Move]) -> list[Move]:
    """The same moves, with nothing bound to what no pod has: for a node whose pods get IPv4 alone."""
    return [
        (address, before, after if after is None or _keeps(after, ()) or not after.ipv6 else replace(after, ipv6=None))
        for address, before, after in moves
    ]


class RestingIPv6:
    """What pods had of IPv6 and whose partner has left since, of this agent's time: it cools on with the next one.

    Else the next pod could have it at once, and get what is still sent to the last one.
    """

    def __init__(self, cooling_s: float) -> None:
        """`cooling_s` is how long what a pod gave back is held back, in seconds."""
        self._cooling_s = cooling_s
        self._since_s: dict[IPv6Address, float] = {}

    def cooling_on(self, moves: Sequence[Move]) -> list[Move]:
        """The same moves, but what a pod had is not free with its new partner before it has cooled."""
        since_s = self._since_s | resting(moves)
        return [
            (address, before, replace(after, state=State.COOLING, since_s=since_s[after.ipv6]))
            if after is not None and after.state is State.FREE and after.ipv6 in since_s
            else (address, before, after)
            for address, before, after in moves
        ]

    def apply(self, change: Change) -> None:
        """Keep what the change sets to rest until a slot cools with it, or it has cooled whatever becomes of it."""
        for ipv6, since_s in change.resting:
            self._since_s = {one: old for one, old in self._since_s.items() if old > since_s - self._cooling_s}
            self._since_s[ipv6] = since_s
        for slot in change.put:
            if slot.ipv6 is not None and slot.state in {State.ASSIGNED, State.COOLING}:
                self._since_s.pop(slot.ipv6, None)


def _keeps(slot: Slot, networks: Sequence[IPv6Network]) -> bool:
    """A pod was wired with what is bound to it, or with nothing; else it stays while the NIC has it, also while Azure
    works on all of the NIC.
    """
    if slot.state is State.ASSIGNED:
        return True
    return slot.ipv6 is not None and any(slot.ipv6 in network for network in networks)


def _choose(
    address: IPv4Address, networks: Sequence[IPv6Network], taken: Collection[IPv6Address | None]
) -> IPv6Address | None:
    """One that nothing else has; None where there is none. In a block never the first, which is any router's (RFC
    4291, 2.6.1).
    """
    for network in networks:
        first = network.network_address
        if network.prefixlen == network.max_prefixlen:
            candidates = iter((first,))
        else:
            start = int(address) % _SLOTS
            candidates = (first + offset for offset in _around(start))
        if (free := next((one for one in candidates if one not in taken), None)) is not None:
            return free
    return None


def _around(start: int) -> Iterable[int]:
    """Every place of a block but its first, from `start` on."""
    return (offset for number in range(_SLOTS) if (offset := (start + number) % _SLOTS))


def kept_beside(view: NicView, slots: Iterable[Slot]) -> int:
    """Single addresses on the NIC that pods go on using whose IPv4 address is the pool's no more: another tool removed
    it, or took it for something else. They are no other pod's, and the NIC needs as many more.
    """
    singles = {one.network.network_address for one in view.ipv6 if not one.block and one.network is not None}
    return sum(slot.ipv6 in singles and not slot.in_pool for slot in slots) if singles else 0


def lacking(view: NicView, *, held: int, singles: bool, kept: int = 0) -> IPv6Growth:
    """What of IPv6 a NIC needs beside `held` addresses: its block, or with `singles` one for each, and for each pod of
    `kept_beside`.
    """
    needed = held + kept
    if any(config.block for config in view.ipv6) or len(view.ipv6) >= needed:
        return NO_IPV6
    return IPv6Growth(singles=needed - len(view.ipv6)) if singles else IPv6Growth(block=True)


def most_on_nic(view: NicView, policy: Policy, *, singles: bool, kept: int = 0) -> int:
    """Addresses for pods that a NIC could hold, with what they and `kept` pods need of IPv6."""
    size = policy.config_size
    if not policy.ipv6:
        return view.most(size=size)
    room = MAX_CONFIGS_PER_NIC - view.config_count - view.beside
    missing = lacking(view, held=view.held + size, singles=singles, kept=kept)
    if not missing or missing.block:
        return view.held + size * max(0, room - missing.configs)
    without = max(0, view.held + kept - len(view.ipv6))
    return view.held + size * max(0, (room - without) // (1 + size))


def singles_of(ipv6: Iterable[IPv6Configuration], slots: Iterable[Slot]) -> tuple[IPv6Configuration, ...]:
    """The single addresses that are bound to these: they leave the NIC with them."""
    leaving = {slot.ipv6 for slot in slots if slot.ipv6 is not None}
    return tuple(
        one for one in ipv6 if not one.block and one.network is not None and one.network.network_address in leaving
    )
