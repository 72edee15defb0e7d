"""When addresses run out, from how many were in use so far; and how sure that is. Pure.

What counts is the highest use of each day, because a pod waits at the first moment at which all are taken. The growth
is the median of the slopes between two days (Theil and Sen): single odd days do not move it. From two weeks on only
days that are whole weeks apart are compared, so a quiet weekend is not mistaken for a decline. The range of the growth
is the confidence interval of that median, about 90 %. A forecast reaches no further than four times as long as was
watched: beyond that it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

DAY_S: Final = 86_400.0
FEWEST_DAYS: Final = 3
"""With fewer nothing is said."""
LONGEST_DAYS: Final = 28
"""What lies further back says less about tomorrow."""
WEEK: Final = 7
REACH: Final = 4
FURTHEST_DAYS: Final = 365.0
STILL: Final = 0.05
"""Addresses a day: one in three weeks is no growth."""
_CONFIDENCE: Final = 1.64 / 2


class Outlook(StrEnum):
    """What is known of the future."""

    EXHAUSTS = "exhausts"
    BEYOND = "beyond"
    """It grows, and will not be exhausted within what a forecast can reach."""
    STEADY = "steady"
    """No growth was seen."""
    FULL = "full"
    """It is exhausted now."""
    UNKNOWN = "unknown"
    """Too little was seen, or the room is not known."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Of the daily highest use, in addresses: `per_day`, between `slowest` and `fastest`; `level`: of a day now."""

    days: int
    per_day: float
    slowest: float
    fastest: float
    level: float


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """Days from now until all are in use; `latest` is None where it may also never be. `reach`: how far it looks."""

    outlook: Outlook
    reach: float = 0.0
    days: float | None = None
    earliest: float | None = None
    latest: float | None = None


def daily_peaks(samples: Iterable[tuple[float, int]], *, now_s: float) -> list[tuple[float, int]]:
    """Of samples (seconds since 1970, addresses in use): the highest of each 24 hours back from now, oldest first.

    Each with its time, in days from now, which is negative. A day with less than half of its hours is left out.
    """
    days: dict[int, list[tuple[int, float]]] = {}
    for at_s, used in samples:
        age = (now_s - at_s) / DAY_S
        if 0 <= age < LONGEST_DAYS:
            days.setdefault(int(age), []).append((used, -age))
    enough = {day: found for day, found in days.items() if len(found) >= 12}  # noqa: PLR2004  # hours
    return [(at, used) for used, at in (max(enough[day]) for day in sorted(enough, reverse=True))]


def fit(peaks: Sequence[tuple[float, int]]) -> Growth | None:
    """The growth of daily peaks as `daily_peaks` returns them. None with fewer than FEWEST_DAYS."""
    if len(peaks) < FEWEST_DAYS:
        return None
    slopes = sorted(_slopes(peaks))
    half = _CONFIDENCE / math.sqrt(len(peaks))
    per_day = median(slopes)
    newest = sorted((used - per_day * at for at, used in peaks[-WEEK:]), reverse=True)
    return Growth(
        days=len(peaks),
        per_day=per_day,
        slowest=slopes[max(0, math.floor((0.5 - half) * (len(slopes) - 1)))],
        fastest=slopes[min(len(slopes) - 1, math.ceil((0.5 + half) * (len(slopes) - 1)))],
        level=newest[1],  # one odd day is not the level of all
    )


def exhaustion(growth: Growth | None, room: int | None) -> Exhaustion:
    """When the use reaches `room`, both in addresses; `room` is None where nobody knows it."""
    if growth is None or room is None:
        return Exhaustion(Outlook.UNKNOWN)
    reach = min(REACH * growth.days, FURTHEST_DAYS)
    left = room - growth.level
    if left <= 0:
        return Exhaustion(Outlook.FULL, reach, 0.0, 0.0, 0.0)
    if growth.per_day < STILL:
        return Exhaustion(Outlook.STEADY, reach, earliest=_within(left, growth.fastest, reach))
    days = _within(left, growth.per_day, reach)
    earliest, latest = (_within(left, slope, reach) for slope in (growth.fastest, growth.slowest))
    return Exhaustion(Outlook.BEYOND if days is None else Outlook.EXHAUSTS, reach, days, earliest, latest)


def _slopes(peaks: Sequence[tuple[float, int]]) -> list[float]:
    """Between days that are weeks apart, or, with less than two weeks, at least half of all days apart."""
    weekly = len(peaks) >= 2 * WEEK
    least = peaks[-1][0] - peaks[0][0]
    found = []
    for place, (at, used) in enumerate(peaks):
        for later_at, later_used in peaks[place + 1 :]:
            apart = later_at - at
            fits = round(apart) % WEEK == 0 and round(apart) > 0 if weekly else apart >= least / 2
            if fits and apart > 0:
                found.append((later_used - used) / apart)
    return found or [0.0]


def _within(left: float, slope: float, reach: float) -> float | None:
    days = left / slope if slope >= STILL else math.inf
    return days if days <= reach else None
