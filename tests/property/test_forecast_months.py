"""The forecast of simulated months, from the records of the audit trail to the day, against what then happens.

Each month grows until all addresses are in use, about day 31. The forecast is asked on several days before, always at
nine in the morning, with what the trail had seen by then.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final

import pytest

from azure_cni.api.audit_reports import UsageHour
from azure_cni.ipam.exhaustion import Exhaustion, Growth, Outlook, daily_peaks, exhaustion, fit
from azure_cni.ipam.level_shifts import SETTLED_DAYS
from azure_cni.ipam.usage_history import HOUR_S, usage_hours
from property.usage_months import DAY_S, EPOCH_S, Happening, Month, first_reached, happenings, records

DAYS: Final = 35
"""As many as are counted: see MOST_HOURS."""
NINE: Final = 9 / 24
ASKED: Final = (20, 16, 12, 9, 7, 5, 3)
"""Days before the end."""
SURE_DAYS: Final = 7
"""With fewer the forecast calls itself a guess."""
MONTHS: Final = {
    "growth with days and nights": Month(),
    "quiet weekends": Month(weekend=0.4),
    "jobs that start together": Month(jobs=8),
    "odd days": Month(odd_days=40),
    "a release on day 5": Month(steps=((5, 60),)),
    "a release on day 14": Month(steps=((14, 60),)),
    "a release on day 22": Month(steps=((22, 60),)),
    "two releases": Month(steps=((8, 40), (18, 50))),
    "a release that needs fewer": Month(steps=((14, -40),)),
    "a release, quiet weekends and jobs": Month(weekend=0.3, jobs=5, steps=((12, 60),)),
}


class Seen:
    """A month, and what the trail says of it up to some moment."""

    def __init__(self, month: Month) -> None:
        self.month = month
        self.happened: list[Happening] = happenings(month, days=DAYS)
        self._hours: list[UsageHour] = usage_hours(records(self.happened), node="vm1", now_s=EPOCH_S + DAYS * DAY_S)

    def growth(self, at_day: float) -> Growth | None:
        now_s = EPOCH_S + at_day * DAY_S
        samples = [(one.hour * HOUR_S, one.peak) for one in self._hours if (one.hour + 1) * HOUR_S <= now_s]
        return fit(daily_peaks(samples, now_s=now_s))

    def forecast(self, at_day: float, room: int) -> Exhaustion:
        return exhaustion(self.growth(at_day), room)

    def room(self, *, more: int = 3) -> int:
        """A few more than there ever were up to day 31."""
        first, last = ((EPOCH_S + day * DAY_S) // HOUR_S for day in (24, 31))
        return more + max(one.peak for one in self._hours if first <= one.hour < last)

    def asked_on(self, day: int) -> bool:
        """Whether enough was seen by then, of the newest release as well."""
        return day >= SURE_DAYS and all(day - release > SETTLED_DAYS for release, _ in self.month.steps)


@cache
def seen_of(month: Month) -> Seen:
    return Seen(month)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", MONTHS)
def test_within_a_fifth_on_each_day_that_it_is_asked(name: str, seed: int):
    seen = seen_of(replace(MONTHS[name], seed=seed))
    room = seen.room()
    truth = first_reached(seen.happened, room, after=24)
    assert truth is not None
    asked = [day for before in ASKED if seen.asked_on(day := int(truth) - before)]
    assert len(asked) >= 2
    wrong = {}
    for day in asked:
        found, left = seen.forecast(day + NINE, room), truth - day - NINE
        if found.days is None or abs(found.days - left) > max(0.2 * left, 1.5):
            wrong[day] = (round(left, 1), found)
    assert not wrong


@pytest.mark.parametrize("seed", range(2))
def test_a_weekly_night_of_jobs_is_expected_again(seed: int):
    """Saturday nights need most, and run out on a Saturday night: a median of all days would know of none."""
    seen = seen_of(Month(weekly_jobs=80, seed=seed))
    room = seen.room(more=14)
    truth = first_reached(seen.happened, room, after=24)
    assert truth is not None
    assert int(truth) % 7 == 5
    for before in (10, 7, 5, 3):
        day = int(truth) - before + NINE
        assert seen.forecast(day, room).days == pytest.approx(truth - day, abs=0.5)


@pytest.mark.parametrize("seed", range(2))
def test_a_release_is_named_and_is_no_growth(seed: int):
    seen = seen_of(Month(per_day=0.0, steps=((15, 60),), seed=seed))
    growth = seen.growth(25 + NINE)
    assert growth is not None
    (jump,) = growth.jumps
    assert (jump.at, jump.size) == (pytest.approx(-10.5, abs=1.5), pytest.approx(60, abs=5))
    assert exhaustion(growth, 300).latest is None, "growth by chance is no growth"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("month", [Month(), Month(weekend=0.4), Month(jobs=8)])
def test_growth_alone_has_no_jumps(month: Month, seed: int):
    seen = seen_of(replace(month, seed=seed))
    grown = [seen.growth(day + NINE) for day in (8, 15, 22, 29)]
    assert [one.jumps for one in grown if one is not None] == [()] * 4


@pytest.mark.parametrize("seed", range(2))
def test_what_shrinks_runs_out_on_no_day(seed: int):
    seen = seen_of(Month(base=200, per_day=-3, weekend=0.3, seed=seed))
    for day in (8, 14, 21, 28):
        found = seen.forecast(day + NINE, 230)
        assert (found.outlook, found.days, found.latest) == (Outlook.STEADY, None, None)
    lower = seen.growth(21 + NINE)
    assert lower is not None
    assert exhaustion(lower, round(lower.level) - 5).outlook is Outlook.FULL, "room that was taken away"


def test_before_enough_was_seen_it_says_so():
    seen = seen_of(Month())
    assert seen.growth(2) is None
    assert seen.forecast(2, 100).outlook is Outlook.UNKNOWN
    far = seen.forecast(4 + NINE, 1000)
    assert (far.outlook, far.days) == (Outlook.BEYOND, None)
    assert far.reach <= 20
