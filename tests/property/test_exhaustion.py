"""The forecast of a month of growth, with days and nights, weekends and chance, against what then happens."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from azure_cni.ipam.exhaustion import DAY_S, FEWEST_DAYS, Outlook, daily_peaks, exhaustion, fit

HOUR_S = 3600.0
MONTH = 30
NOW_S = 1_800_000_000.0
Use = Callable[[int], float]
"""Addresses in use in an hour; 0 is the first of the month."""


@st.composite
def uses(draw: st.DrawFn, *, growing: bool = True) -> tuple[Use, float]:
    """A use of addresses, and its growth a day. Its swings are shares of what is there, its chance of the growth.

    Less than two a day is a matter of single pods: a fifth of the time until fourteen more is half a week.
    """
    per_day = draw(st.floats(2, 40)) if growing else 0.0
    base = draw(st.floats(20, 500))
    nightly, weekend = draw(st.floats(0, 0.6)), draw(st.floats(0, 0.6))
    first = draw(st.integers(0, 6))
    rng = random.Random(draw(st.integers(0, 2**32)))
    chance = draw(st.floats(0, 0.03)) * (per_day * MONTH if growing else base)
    odd = [rng.gauss(0, chance) for _ in range(24 * 400)]

    def use(hour: int) -> float:
        level = base + per_day * hour / 24
        day = 1 - nightly * (1 - math.sin(2 * math.pi * hour / 24)) / 2
        week = 1 - weekend if (first + hour // 24) % 7 >= 5 else 1.0
        return max(0.0, level * day * week + odd[hour])

    return use, per_day


def seen(use: Use, *, hours: int, start: int = 0) -> list[tuple[float, int]]:
    """What was sampled, up to NOW_S."""
    return [(NOW_S - (hours - hour) * HOUR_S, round(use(start + hour))) for hour in range(hours)]


@given(grown=uses(), later=st.integers(14, 60))
def test_within_a_fifth_on_a_month_of_growth(grown: tuple[Use, float], later: int):
    use, _ = grown
    hours = MONTH * 24
    room = max(round(use(hour)) for hour in range(hours + later * 24))
    truth = next((hour - hours) / 24 for hour in range(hours, hours + later * 24) if round(use(hour)) >= room)
    found = exhaustion(fit(daily_peaks(seen(use, hours=hours), now_s=NOW_S)), room)
    if truth < 7:  # a single odd hour was as high as all that came
        return
    assert found.days is not None, (found, truth)
    assert abs(found.days - truth) <= max(0.2 * truth, 1.0), (found, truth)


@given(grown=uses(growing=False), room=st.integers(2000, 5000))
def test_what_does_not_grow_is_not_said_to_run_out(grown: tuple[Use, float], room: int):
    use, _ = grown
    found = exhaustion(fit(daily_peaks(seen(use, hours=MONTH * 24), now_s=NOW_S)), room)
    assert found.outlook in {Outlook.STEADY, Outlook.BEYOND}
    assert found.latest is None


@given(grown=uses(), days=st.integers(0, MONTH), room=st.integers(1, 5000))
def test_the_range_is_around_the_forecast_and_nothing_is_said_beyond_its_reach(
    grown: tuple[Use, float], days: int, room: int
):
    found = exhaustion(fit(daily_peaks(seen(grown[0], hours=days * 24), now_s=NOW_S)), room)
    if days < FEWEST_DAYS:
        assert found == exhaustion(None, room)
        assert found.outlook is Outlook.UNKNOWN
        return
    assert found.reach <= 4 * days
    bounds = [one for one in (found.earliest, found.days, found.latest) if one is not None]
    assert bounds == sorted(bounds)
    assert all(0 <= one <= found.reach for one in bounds)
    assert (found.days is not None) == (found.outlook in {Outlook.EXHAUSTS, Outlook.FULL})


@given(grown=uses(), room=st.integers(100, 3000), more=st.integers(1, 500))
def test_more_room_lasts_longer(grown: tuple[Use, float], room: int, more: int):
    growth = fit(daily_peaks(seen(grown[0], hours=MONTH * 24), now_s=NOW_S))
    fewer, larger = (exhaustion(growth, each).days or math.inf for each in (room, room + more))
    assert larger > fewer or fewer == math.inf or exhaustion(growth, room + more).outlook is Outlook.FULL


@given(grown=uses(), lost=st.sets(st.integers(0, MONTH - 1), max_size=4))
def test_days_that_nobody_watched_change_little(grown: tuple[Use, float], lost: set[int]):
    use, per_day = grown
    samples = [one for one in seen(use, hours=MONTH * 24) if int((NOW_S - one[0]) / DAY_S) not in lost]
    whole, holed = (fit(daily_peaks(each, now_s=NOW_S)) for each in (seen(use, hours=MONTH * 24), samples))
    assert whole is not None
    assert holed is not None
    assert abs(holed.per_day - whole.per_day) <= 0.35 * per_day + 0.2
