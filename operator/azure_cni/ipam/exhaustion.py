"""When addresses run out, from how many were in use so far; and how sure that is. Pure.

What counts is the highest use of each day, because a pod waits at the first moment at which all are taken. The growth
is the median of the slopes between two days (Theil and Sen): single odd days do not move it. From two weeks on only
days that are whole weeks apart are compared, so a quiet weekend is not mistaken for a decline; a day of the week that
is higher or lower than the others by more than chance is expected to be so again. Use that jumps to another level and
stays there (`ipam.level_shifts`) has not grown by the jump: no slope is measured across one. The range of the growth is
the confidence interval of that median, about 90 %. A forecast reaches no further than four times as long as was
watched: beyond that it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

from azure_cni.ipam.level_shifts import LEAST_JUMP, WEEK, Jump, Peaks, Trend, day_of_week, trend_of

DAY_S: Final = 86_400.0
FEWEST_DAYS: Final = 3
"""With fewer nothing is said."""
LONGEST_DAYS: Final = 28
"""What lies further back says less about tomorrow."""
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
class HighDay:
    """The day of the week on which more are used: `at` days from now, and each week. `level`: as it would be now.

    It grows by `per_day` more than other days do.
    """

    at: float
    level: float
    per_day: float = 0.0

    def reached(self, room: int, *, per_day: float) -> float:
        """In how many days it is as high as that for the first time; infinite where it never is."""
        slope = per_day + self.per_day
        missing = room - self.level - slope * self.at
        if missing <= 0:
            return self.at
        return self.at + WEEK * math.ceil(missing / slope / WEEK) if slope >= STILL else math.inf

    def per_week(self, *, per_day: float) -> float:
        """By how many it grows each week; 0 where that is so few that chance may have made them."""
        slope = WEEK * (per_day + self.per_day)
        return slope if slope >= LEAST_JUMP else 0.0

    def was(self, *, per_day: float) -> float:
        """How high it was last time."""
        return self.level + (per_day + self.per_day) * (self.at - WEEK)


@dataclass(frozen=True, slots=True)
class Growth:
    """Of the daily highest use, in addresses: `per_day`, between `slowest` and `fastest`; `level`: of a day now.

    `jumps`: what is not counted as growth.
    """

    days: int
    per_day: float
    slowest: float
    fastest: float
    level: float
    high_days: tuple[HighDay, ...] = ()
    jumps: tuple[Jump, ...] = ()

    @property
    def high_day_per_week(self) -> float:
        """Where usual days do not grow: by how many the day of the week does that grows most; 0 where none does."""
        grows = self.per_day >= STILL
        return 0.0 if grows else max((one.per_week(per_day=self.per_day) for one in self.high_days), default=0.0)


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


def fit(peaks: Peaks) -> Growth | None:
    """The growth of daily peaks as `daily_peaks` returns them. None with fewer than FEWEST_DAYS."""
    if len(peaks) < FEWEST_DAYS:
        return None
    trend = trend_of(peaks)
    slopes, half = trend.slopes, _CONFIDENCE / math.sqrt(len(peaks))
    return Growth(
        days=len(peaks),
        per_day=trend.per_day,
        slowest=slopes[max(0, math.floor((0.5 - half) * (len(slopes) - 1)))],
        fastest=slopes[min(len(slopes) - 1, math.ceil((0.5 + half) * (len(slopes) - 1)))],
        level=trend.level,
        high_days=_high_days(peaks, trend),
        jumps=trend.jumps,
    )


def exhaustion(growth: Growth | None, room: int | None) -> Exhaustion:
    """When the use reaches `room`, both in addresses; `room` is None where nobody knows it."""
    if growth is None or room is None:
        return Exhaustion(Outlook.UNKNOWN)
    reach = min(REACH * growth.days, FURTHEST_DAYS)
    if max(growth.level, *(one.was(per_day=growth.per_day) for one in growth.high_days), 0.0) >= room:
        return Exhaustion(Outlook.FULL, reach, 0.0, 0.0, 0.0)
    earliest, latest = (_reached(growth, room, slope, reach) for slope in (growth.fastest, growth.slowest))
    if growth.per_day < STILL and not growth.high_day_per_week:
        return Exhaustion(Outlook.STEADY, reach, earliest=earliest)
    days = _reached(growth, room, growth.per_day, reach)
    if growth.high_day_per_week:  # of one day in each week: too few to say when it is at the latest
        latest = None
    return Exhaustion(Outlook.BEYOND if days is None else Outlook.EXHAUSTS, reach, days, earliest, latest)


def _high_days(peaks: Peaks, trend: Trend) -> tuple[HighDay, ...]:
    newest = {day_of_week(at): at for at, _ in peaks}
    return tuple(
        HighDay(newest[day] % WEEK or WEEK, trend.level + _more_now(peaks, trend, day), trend.steeper.get(day, 0.0))
        for day, more in trend.of_week.items()
        if more > 0
    )


def _more_now(peaks: Peaks, trend: Trend, day: int) -> float:
    """How many more that day of the week has, as it would be now: it may have grown by the week since it was last."""
    more, steeper = trend.of_week[day], trend.steeper.get(day, 0.0)
    if WEEK * steeper < LEAST_JUMP:
        return more
    its = [(at, left) for (at, _), left in zip(peaks, trend.left, strict=True) if day_of_week(at) == day]
    return more + median(left - steeper * at for at, left in its)


def _reached(growth: Growth, room: int, slope: float, reach: float) -> float | None:
    """In how many days as many are in use as that, on a usual day or on a high one."""
    usual = (room - growth.level) / slope if slope >= STILL else math.inf
    days = min([usual, *(one.reached(room, per_day=slope) for one in growth.high_days)])
    return days if days <= reach else None
