"""What others on the host do that stands in the way of pods' traffic, as data. Pure.

A conflict is what the agent must not or cannot put right itself: a rule, a table, a switch or a service that belongs
to somebody else. It differs from a repair, which is done and over: a conflict lasts until a person ends it. The
pool's condition HostConflict, one log line, one event and a metric report it; see `node.kernel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ConflictReason(StrEnum):
    """Every conflict that the agent recognises, as conditions, events and metrics name it."""

    FOREIGN_POLICY_RULES = "ForeignPolicyRules"
    AMBIGUOUS_UPLINK = "AmbiguousUplink"
    DEFAULT_ROUTE_ELSEWHERE = "DefaultRouteElsewhere"
    ADDRESS_ELSEWHERE = "AddressElsewhere"
    FOREIGN_FILTER = "ForeignFilter"
    REPAIRS_UNDONE = "RepairsUndone"


@dataclass(frozen=True, slots=True)
class Conflict:
    """One conflict; a host has at most one of each reason.

    `message` says what is in the way of pods, whose it is, and the command that ends it. It must be the same from pass
    to pass while nothing changes: no counters, no times.
    """

    reason: ConflictReason
    message: str


@dataclass(frozen=True, slots=True)
class HostReport:
    """What one pass over the node found: `repaired` in words, one for each repair, and the conflicts that stand."""

    repaired: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
