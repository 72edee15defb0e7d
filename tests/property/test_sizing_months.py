"""The advice of `forecast` on pools' sizes, followed for a simulated month: it saves that, and nobody waits more.

The advice is made from the records of a month; then a pool with the sizes of before and one with those that are advised
serve that month.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import pytest

from azure_cni.api.audit_reports import UsageHour, UsageReport
from azure_cni.api.introspection import PoolReport
from azure_cni.diagnose.sizing_advice import SizingAdvice, advise
from azure_cni.ipam.sizing import Policy
from azure_cni.ipam.usage_history import usage_hours
from azure_cni.model.text import time_text
from property.pool_months import Served, serve
from property.usage_months import DAY_S, EPOCH_S, Happening, Month, happenings, records

DAYS: Final = 28
SIZES: Final = ((8, 24, 16), (20, 60, 40))
"""minFree, maxFree, batch: the chart's, and large ones."""
QUIET: Final = {
    "days and nights": Month(per_day=0, churn=1),
    "jobs of three": Month(per_day=0, jobs=3, jobs_a_day=24),
    "jobs of six": Month(per_day=0, jobs=6, jobs_a_day=24),
    "growth": Month(per_day=4),
    "a release": Month(per_day=0, steps=((10, 40),)),
}
BUSY: Final = {
    "jobs of twelve": Month(per_day=0, jobs=12, jobs_a_day=24),
    "jobs of thirty": Month(per_day=0, jobs=30, jobs_a_day=24),
    "sixty on Saturday nights": Month(per_day=0, weekly_jobs=60),
}


@cache
def seen(month: Month) -> tuple[list[Happening], list[UsageHour]]:
    happened = happenings(month, days=DAYS)
    return happened, usage_hours(records(happened), node="vm1", now_s=EPOCH_S + DAYS * DAY_S)


def followed(month: Month, sizes: tuple[int, int, int]) -> tuple[SizingAdvice, Served, Served]:
    """The advice, and what both pools do."""
    happened, hours = seen(month)
    min_free, max_free, batch = sizes
    pool = PoolReport(ceiling=250, min_free=min_free, max_free=max_free, batch=batch)
    (found,) = advise([UsageReport("vm1", time_text(EPOCH_S), hours, pool)])
    before = serve(happened, Policy(min_free, max_free, batch), days=DAYS)
    advised = Policy(found.advised_min_free, found.advised_max_free, found.advised_batch)
    return found, before, serve(happened, advised, days=DAYS)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", [*QUIET, *BUSY])
def test_it_saves_what_it_says_and_nobody_waits_more(name: str, sizes: tuple[int, int, int]):
    found, before, after = followed({**QUIET, **BUSY}[name], sizes)
    saved = before.held - after.held
    assert abs(saved - found.saving) <= max(4.0, 0.25 * abs(saved)), (saved, found)
    assert len(after.waits) <= len(before.waits)
    assert max(after.waits, default=0.0) <= max(before.waits, default=0.0)


@pytest.mark.parametrize("name", QUIET)
def test_quiet_nodes_with_large_pools_are_told_to_hold_far_fewer(name: str):
    found, before, after = followed(QUIET[name], SIZES[1])
    assert (before.waits, after.waits) == ([], [])
    assert found.saving >= 15


@pytest.mark.parametrize("name", BUSY)
def test_busy_nodes_are_told_what_it_costs_that_nobody_waits(name: str):
    found, before, after = followed(BUSY[name], SIZES[0])
    assert found.short > 0
    assert before.waits
    assert not after.waits
    assert found.saving < 0


def test_no_burst_that_is_covered_today_is_uncovered_for_a_saving():
    """A burst of seven in one hour of a month is rarer than the advice looks at; minFree 8 covers it all the same."""
    quiet = [UsageHour(hour, peak=20, burst=1) for hour in range(DAYS * 24)]
    once = [*quiet[:-1], UsageHour(quiet[-1].hour, peak=20, burst=7)]
    pool = PoolReport(ceiling=250, min_free=8, max_free=24, batch=16)
    (found,) = advise([UsageReport(name, time_text(EPOCH_S), seen, pool) for name, seen in (("a", quiet), ("b", once))])
    assert (found.burst, found.advised_min_free) == (1, 7)
