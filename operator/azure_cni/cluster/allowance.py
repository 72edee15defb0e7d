"""The write budget and the fair shares, as pure functions of numbers.

Tokens: one is one NIC write. They come at 0.95 of the rate and at most 0.05 of a minute's are kept, so no minute has
more than the rate. After Azure asked to wait the pace is halved, and comes back by a tenth a minute.
Shares: what is to be had is shared max-min over what nodes need for their pods, and only what is left then over what
they would keep ready; what a node is granted already it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from azure_cni.api.quota import Tokens

KEPT: Final = 0.05
STEADY: Final = 1 - KEPT
SLOWEST: Final = 0.1
RECOVERY_PER_MINUTE: Final = 0.1
MINUTE_S: Final = 60.0
BELIEVED_AHEAD_S: Final = 60.0
"""Clocks of controllers may differ by so much."""


def capacity(per_minute: int) -> float:
    """How many tokens are kept at most."""
    return max(1.0, KEPT * per_minute)


def rate_per_s(per_minute: int, pace: float) -> float:
    """How fast tokens come."""
    return STEADY * per_minute * pace / MINUTE_S


def counted(tokens: Tokens | None, *, per_minute: int, now_s: float, throttled_until_s: float) -> Tokens:
    """The tokens as they are now. A new budget is full; a clock that went back makes none.

    A budget that was counted by a clock far ahead of ours goes on from now: else there would be no write until time
    has caught up. What such a clock can cost is the full budget that it found, `capacity`, each time it counts.
    """
    if tokens is None:
        return Tokens(capacity(per_minute), now_s, 1.0)
    if tokens.time_s > now_s + BELIEVED_AHEAD_S:
        return Tokens(tokens.tokens, now_s, tokens.pace)
    elapsed_s = max(0.0, now_s - tokens.time_s)
    calm_s = max(0.0, now_s - max(tokens.time_s, throttled_until_s))
    pace = min(1.0, max(SLOWEST, tokens.pace) + calm_s / MINUTE_S * RECOVERY_PER_MINUTE)
    left = min(capacity(per_minute), tokens.tokens + elapsed_s * rate_per_s(per_minute, tokens.pace))
    return Tokens(left, max(now_s, tokens.time_s), pace)


def slowed(tokens: Tokens) -> Tokens:
    """Azure asked to wait."""
    return Tokens(tokens.tokens, tokens.time_s, max(SLOWEST, tokens.pace / 2))


def next_token_s(tokens: Tokens, *, per_minute: int) -> float:
    """Seconds until there is one."""
    return max(0.0, 1.0 - tokens.tokens) / rate_per_s(per_minute, max(SLOWEST, tokens.pace))


@dataclass(frozen=True, slots=True)
class Ask:
    """One node's: what it is granted already, needs for its pods, and asks for with what it would keep ready."""

    granted: int
    needed: int
    requested: int


def shares(asks: Sequence[Ask], room: int) -> list[int]:
    """How many addresses each node should have, in the order of `asks`; `room` is for all of them together.

    Nobody has less than is granted, so that the sum is above `room` where that is so already. What cannot be shared
    evenly goes to those that are granted least, of them to the first.
    """
    floors = [ask.granted for ask in asks]
    for wishes in ([ask.needed for ask in asks], [max(ask.needed, ask.requested) for ask in asks]):
        floors = _filled(floors, wishes, room)
    return floors


def _filled(floors: Sequence[int], wishes: Sequence[int], room: int) -> list[int]:
    """Raise the floors towards the wishes, the lowest first, as far as there is room."""

    def at(level: int) -> list[int]:
        return [max(floor, min(wish, level)) for floor, wish in zip(floors, wishes, strict=True)]

    low, high = 0, max(wishes, default=0)
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if sum(at(level)) <= room else (low, level - 1)
    filled = at(low)
    left = room - sum(filled)
    # Who has nothing yet comes first: one address more for the others would be one NIC write more for each.
    for index in sorted(range(len(wishes)), key=floors.__getitem__):
        if left > 0 and filled[index] == low < wishes[index]:
            filled[index] += 1
            left -= 1
    return filled
