"""How a series of daily peaks grows, and where it jumps: a release that doubles the replicas is no growth. Pure.

A day's peak is taken as level + growth + what is usual on that day of the week + chance. The growth is the median slope
between two days; the level and the days of the week are medians of what is left (Tukey's median polish), so single odd
days move none of them. Jumps are assumed where they leave much less unexplained, and are larger than chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median
from typing import Final, TypeAlias

Peaks: TypeAlias = Sequence[tuple[float, int]]
"""(time in days from now, which is negative; addresses in use), oldest first, one for each 24 hours back from now."""

WEEK: Final = 7
MOST_JUMPS: Final = 3
LIKELIEST: Final = 5
"""Places that are tried for jumps, and all sets of them."""
SETTLED_DAYS: Final = 3
"""What lasts for fewer is an odd day, not a level."""
EXPLAINS: Final = 0.6
"""Each jump must leave less than this share of what is unexplained without it."""
DAY_EXPLAINS: Final = 0.9
"""The same of a day of the week that is unlike the others."""
TIMES_CHANCE: Final = 6.0
"""And be larger than chance, what stays unexplained of a day, by this factor."""
HABIT_TIMES_CHANCE: Final = 4.0
"""The same of a day of the week, by the median of what stays unexplained."""
LEAST_JUMP: Final = 3.0
"""Addresses."""
POLISHED: Final = 3
ENOUGH_WEEKS: Final = 3
"""To say that some day of the week grows faster than the others."""


@dataclass(frozen=True, slots=True)
class Jump:
    """Between two days, `at` days from now (negative), the use became another by `size` addresses, and stayed so."""

    at: float
    size: float


@dataclass(frozen=True, slots=True)
class Trend:
    """`slopes` between two days, sorted, in addresses a day; `per_day` is their median. `level`: of a usual day now.

    `of_week`: how many more there are where that is more than chance, by `day_of_week`. `left`: what stays unexplained
    of each day. `steeper`: by how many addresses a day such a day grows faster than the others.
    """

    slopes: Sequence[float]
    per_day: float
    level: float
    of_week: Mapping[int, float]
    steeper: Mapping[int, float]
    jumps: tuple[Jump, ...]
    left: Sequence[float]

    @property
    def unexplained(self) -> float:
        """The sum over all days, in addresses."""
        return sum(map(abs, self.left))


def day_of_week(at: float) -> int:
    """0 to 6; 0 is the 24 hours before now."""
    return int(-at) % WEEK


def trend_of(peaks: Peaks) -> Trend:
    """Of three days or more."""
    best = _trend(peaks, ())
    likely = _likeliest(peaks)
    for count in range(1, min(MOST_JUMPS, len(likely)) + 1):
        tried = {splits: _trend(peaks, splits) for splits in combinations(likely, count)}
        found = _moved(peaks, *min(tried.items(), key=_cost_of_tried))
        if _cost(found) < _cost(best) and _are_more_than_chance(found):
            best = found
    return best


def _cost_of_tried(tried: tuple[tuple[int, ...], Trend]) -> float:
    return _cost(tried[1])


def _cost(trend: Trend) -> float:
    """What is unexplained, where every assumption costs."""
    return trend.unexplained / (EXPLAINS ** len(trend.jumps) * DAY_EXPLAINS ** len(trend.of_week))


def _moved(peaks: Peaks, splits: tuple[int, ...], trend: Trend) -> Trend:
    """With each jump where it explains most: a place that is likely may be a day off."""
    for number in range(len(splits)):
        near = [(*splits[:number], splits[number] + by, *splits[number + 1 :]) for by in (-1, 1)]
        tried = {one: _trend(peaks, one) for one in near if _are_apart(one, len(peaks))}
        splits, trend = min([(splits, trend), *tried.items()], key=_cost_of_tried)
    return trend


def _are_apart(splits: Sequence[int], days: int) -> bool:
    return all(later - place >= SETTLED_DAYS for place, later in pairwise((0, *splits, days)))


def _likeliest(peaks: Peaks) -> list[int]:
    """The places with the largest differences between the days before and after, beside what each week has there."""
    places = range(SETTLED_DAYS, len(peaks) - SETTLED_DAYS + 1)
    use = [used for _, used in peaks]
    height = {
        place: median(use[place : place + SETTLED_DAYS]) - median(use[place - SETTLED_DAYS : place]) for place in places
    }
    day = {place: day_of_week(peaks[place][0]) if len(peaks) >= 2 * WEEK else 0 for place in places}
    usual = {each: median(height[place] for place in places if day[place] == each) for each in set(day.values())}

    def strange(place: int) -> float:
        return abs(height[place] - usual[day[place]])

    chosen: list[int] = []
    for place in sorted(places, key=strange, reverse=True):
        if len(chosen) < LIKELIEST and all(abs(place - one) >= SETTLED_DAYS for one in chosen):
            chosen.append(place)
    return sorted(chosen)


def _are_more_than_chance(found: Trend) -> bool:
    """What was fitted to the days, a place and a size for each jump, leaves fewer to judge chance by."""
    free = len(found.left) - 2 * (len(found.jumps) + 1)
    chance = found.unexplained / free if free > 0 else math.inf
    return all(abs(one.size) >= max(LEAST_JUMP, TIMES_CHANCE * chance) for one in found.jumps)


def _trend(peaks: Peaks, splits: Sequence[int]) -> Trend:
    """With jumps before those days."""
    pieces = [range(begin, end) for begin, end in pairwise((0, *splits, len(peaks)))]
    slopes = sorted(slope for piece in pieces for slope in _slopes(peaks[piece.start : piece.stop])) or [0.0]
    per_day = median(slopes)
    rest = [used - per_day * at for at, used in peaks]
    days = [day_of_week(at) for at, _ in peaks]
    levels, of_week = _polished(rest, pieces, days)
    flat = [rest[place] - level for level, piece in zip(levels, pieces, strict=True) for place in piece]
    jumps = tuple(
        Jump((peaks[place - 1][0] + peaks[place][0]) / 2, after - before)
        for place, (before, after) in zip(splits, pairwise(levels), strict=True)
    )
    left = [one - of_week.get(day_of_week(at), 0.0) for (at, _), one in zip(peaks, flat, strict=True)]
    return Trend(slopes, per_day, levels[-1], of_week, _steeper(peaks, flat, of_week), jumps, left)


def _steeper(peaks: Peaks, flat: Sequence[float], of_week: Mapping[int, float]) -> dict[int, float]:
    found = {}
    for day in of_week:
        its = [(at, one) for (at, _), one in zip(peaks, flat, strict=True) if day_of_week(at) == day]
        if len(its) >= ENOUGH_WEEKS:
            found[day] = median((later - one) / (then - at) for (at, one), (then, later) in combinations(its, 2))
    return found


def _slopes(piece: Peaks) -> Iterable[float]:
    """Between days that are weeks apart, or, with less than two weeks, at least half of all days apart."""
    weekly, least = len(piece) >= 2 * WEEK, (piece[-1][0] - piece[0][0]) / 2
    for (at, used), (later, later_used) in combinations(piece, 2):
        apart = int(-at) - int(-later)
        if apart % WEEK == 0 if weekly else later - at >= least:
            yield (later_used - used) / (apart if weekly else later - at)


def _polished(
    rest: Sequence[float], pieces: Sequence[range], days: Sequence[int]
) -> tuple[list[float], dict[int, float]]:
    """The level of each piece, and what each day of the week is more: of none with less than two weeks."""
    of_week: dict[int, float] = {}
    levels = [median(rest[piece.start : piece.stop]) for piece in pieces]
    if len(rest) < 2 * WEEK:
        return levels, of_week
    for _ in range(POLISHED):
        flat = [rest[place] - level for level, piece in zip(levels, pieces, strict=True) for place in piece]
        seen: dict[int, list[float]] = {}
        for day, one in zip(days, flat, strict=True):
            seen.setdefault(day, []).append(one)
        usual = {day: _usual(values[-2:]) for day, values in seen.items()}
        middle = median(usual.values())
        chance = median(abs(one - usual[day]) for one, day in zip(flat, days, strict=True))
        of_week = {
            day: more - middle
            for day, more in usual.items()
            if abs(more - middle) > max(LEAST_JUMP, HABIT_TIMES_CHANCE * chance)
        }
        levels = [median(rest[place] - of_week.get(days[place], 0.0) for place in piece) for piece in pieces]
    return levels, of_week


def _usual(values: Sequence[float]) -> float:
    """The median; of two in the middle the one that is closer to nothing, because one odd day is not a habit."""
    ordered = sorted(values)
    return min(ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2], key=abs)
