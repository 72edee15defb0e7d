"""How a VNet that cannot give every node what it asks for is shared. Pure.

The shares are max-min fair, in two passes: first over what nodes need for their pods, then, with what is left, over
what they would keep ready. What a node is granted already it keeps. Max-min fair means: a level is raised for all nodes
alike, and a node stops rising where it has all that it wants, so no node could have more unless a node with less gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShareRequest:
    """One node's addresses: those granted already, those its pods need, and those it asks for, spare ones included."""

    granted: int
    needed: int
    requested: int


def fair_shares(requests: Sequence[ShareRequest], room: int) -> list[int]:
    """How many addresses each node should have, in the order of `requests`; `room` is for all of them together.

    No node has less than it is granted, so the sum exceeds `room` where the grants already do. What cannot be divided
    evenly goes to the nodes that are granted least, and among those to the first.
    """
    floors = [request.granted for request in requests]
    # First what pods need, for all nodes; what is left then goes to spare addresses.
    for wishes in ([request.needed for request in requests], [max(one.needed, one.requested) for one in requests]):
        floors = _filled(floors, wishes, room)
    return floors


def _filled(floors: Sequence[int], wishes: Sequence[int], room: int) -> list[int]:
    """Raise the floors towards the wishes, the lowest first, as far as there is room."""

    def at(level: int) -> list[int]:
        return [max(floor, min(wish, level)) for floor, wish in zip(floors, wishes, strict=True)]

    # The highest level that fits, by bisection: the sum of `at(level)` never falls when the level rises.
    low, high = 0, max(wishes, default=0)
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if sum(at(level)) <= room else (low, level - 1)
    filled = at(low)
    left = room - sum(filled)
    # Fewer addresses than nodes are left. Nodes without any come first: their answer costs a NIC write in any case,
    # while one more address for another node would cost that node one more write.
    for index in sorted(range(len(wishes)), key=floors.__getitem__):
        if left > 0 and filled[index] == low < wishes[index]:
            filled[index] += 1
            left -= 1
    return filled
