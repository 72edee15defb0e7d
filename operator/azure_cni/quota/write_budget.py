"""The budget of NIC writes that a VNet's nodes share, as a token bucket, and what each node had of it. Pure.

One token is one NIC write. Tokens come at 0.95 of the rate, and at most 0.05 of a minute's are saved up, so no minute
has more writes than the rate. After Azure asked to wait, the pace is halved; it recovers by a tenth a minute.

Only the node itself says that its pods wait, and it may ask at any rate. So what it is granted in a minute is bounded
whatever it says (`GrantHistory`: NIC writes, and answers, each of which is a write of the ledger), and a node that had
its share comes after all that had fewer: asking more often, or for more, gains nothing. Only what this controller
reserved is counted. The next one starts at zero, which allows one more minute's worth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from azure_cni.api.vnet_quota import Tokens

KEPT: Final = 0.05
STEADY: Final = 1 - KEPT
SLOWEST: Final = 0.1
RECOVERY_PER_MINUTE: Final = 0.1
MINUTE_S: Final = 60.0
BELIEVED_AHEAD_S: Final = 60.0
"""How far the clocks of two controllers may differ."""


def capacity(per_minute: int) -> float:
    """How many tokens are kept at most."""
    return max(1.0, KEPT * per_minute)


def rate_per_s(per_minute: int, pace: float) -> float:
    """How fast tokens come."""
    return STEADY * per_minute * pace / MINUTE_S


def counted(tokens: Tokens | None, *, per_minute: int, now_s: float, throttled_until_s: float) -> Tokens:
    """The tokens as they are now. A new budget is full; a clock that went back makes none.

    A budget that was counted by a clock far ahead of this one continues from now; otherwise nothing would be written
    until time has caught up. Such a clock can cost at most the full budget that it found (`capacity`), each time it
    counts.
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


WINDOW_S: Final = 60.0
MOST_ANSWERS: Final = 30
"""Of one node in a minute, whether or not they allow a write of its NIC. A node whose writes fail needs one after each
pause, and a burst of pods one or two: a node that does its work stays far below. What keeps a node that does not from
the others' writes is its turn, not this bound."""
SHARE: Final = 2
"""Writes in a minute that do not yet put a node behind the others: a node needs no more to grow to 250 addresses. Not
more in a small cluster, whose nodes could each have more: one that asks without end would come first for as many, and a
neighbour that asks for the first time would wait until they have all been paid for."""


JUDGED_MINUTES: Final = 10
JUDGED_S: Final = JUDGED_MINUTES * MINUTE_S
"""Over this the use of the budget is judged: a burst of some minutes is what a budget is for."""


@dataclass(frozen=True, slots=True)
class RecentUse:
    """What one node had in the last minute. Times are monotonic seconds."""

    writes: int = 0
    answers: int = 0
    last_s: float = float("-inf")
    """When it was last granted a write."""
    free_s: float = float("-inf")
    """When the oldest of what was counted stops counting."""

    @property
    def beyond_share(self) -> int:
        """The more, the later it comes."""
        return max(0, self.writes - SHARE + 1)

    @property
    def is_spent(self) -> bool:
        """Nothing more before `free_s`."""
        return self.answers >= MOST_ANSWERS


NO_USE: Final = RecentUse()


class GrantHistory:
    """What was reserved for each node of one VNet in the last minute, and for all together in the last ten."""

    def __init__(self, *, since_s: float) -> None:
        self._had: dict[str, deque[tuple[float, int]]] = {}
        self._since_s = since_s
        self._writes: deque[tuple[float, int]] = deque()

    def note(self, costs: Iterable[tuple[str, int]], *, now_s: float) -> None:
        """The ledger with these nodes' requests was written; each with the tokens it cost."""
        writes = 0
        for name, cost in costs:
            self._had.setdefault(name, deque()).append((now_s, cost))
            writes += cost
        if writes:
            self._writes.append((now_s, writes))

    def writes(self, *, now_s: float) -> int | None:
        """NIC writes that were granted in the last `JUDGED_S`; None before that much was watched."""
        while self._writes and self._writes[0][0] <= now_s - JUDGED_S:
            self._writes.popleft()
        return sum(writes for _, writes in self._writes) if now_s - self._since_s >= JUDGED_S else None

    def uses(self, *, now_s: float) -> Mapping[str, RecentUse]:
        """What each node had; nodes that had nothing are left out."""
        for name, had in list(self._had.items()):
            while had and had[0][0] <= now_s - WINDOW_S:
                had.popleft()
            if not had:
                del self._had[name]
        return {name: _use(had) for name, had in self._had.items()}


def _use(had: deque[tuple[float, int]]) -> RecentUse:
    writes = [at_s for at_s, cost in had if cost]
    return RecentUse(len(writes), len(had), max(writes, default=float("-inf")), had[0][0] + WINDOW_S)
