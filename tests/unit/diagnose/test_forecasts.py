"""Which nodes, subnets and VNets run out when, by their nodes' trails; and which sizes their churn asks for."""

from __future__ import annotations

from typing import Any

import pytest

from azure_cni.api.audit_reports import UsageHour, UsageReport
from azure_cni.api.introspection import PoolReport
from azure_cni.commands import reads
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.forecasts import ForecastRow, forecast_rows, report_time_s, summed
from azure_cni.diagnose.sizing_advice import advise
from azure_cni.model.text import time_text
from unit.diagnose.clusters import VNET, cluster, node, pool, process, quota

NOW = 490_000
NOW_S = NOW * 3600.0
SUBNET = f"{VNET}/subnets/nodes"


def usage(name: str = "vm1", *, days: int = 14, base: float = 10, per_day: float = 2, **more: Any) -> UsageReport:
    """A node whose pods grow steadily up to now."""
    first = NOW - days * 24
    hours = [UsageHour(hour, peak=int(base + per_day * (hour - first) / 24)) for hour in range(first, NOW + 1)]
    figures = PoolReport(ceiling=100, min_free=8, max_free=24, batch=16)
    return UsageReport(name, time_text(NOW_S), more.pop("hours", hours), more.pop("pool", figures), **more)


def evidence(
    *nodes: str, limit: int = 1000, created_s: float = 0.0, subnet: tuple[int, int] | None = None, **status: Any
) -> ClusterEvidence:
    pools = [pool(name, **{"subnetID": SUBNET, **status}) for name in nodes]
    vnet = quota()
    vnet["spec"]["limit"] = limit
    if subnet is not None:
        vnet["status"]["subnets"] = [{"name": "Nodes", "used": subnet[0], "limit": subnet[1]}]
    known = [node(name) for name in nodes]
    for one in known:
        one["metadata"]["creationTimestamp"] = time_text(created_s)
    processes = [process("agent", name) for name in nodes]
    return reads.read_cluster(cluster(pools=pools, nodes=known, quotas=[vnet], processes=processes), pods=False)


def row(rows: list[ForecastRow], kind: str) -> ForecastRow:
    (found,) = (one for one in rows if one.kind == kind)
    return found


def rows_of(known: ClusterEvidence, *reports: UsageReport, **subnets: int) -> list[ForecastRow]:
    return forecast_rows(known, reports, now_s=NOW_S, subnets=subnets)


def test_a_node_runs_out_when_its_pods_reach_its_limit():
    found = row(rows_of(evidence("vm1"), usage()), "node")
    assert (found.outlook, found.watched_days, found.room) == ("exhausts", 14, 100)
    assert found.days == pytest.approx((100 - 38) / 2, abs=1.5)
    assert found.per_day == pytest.approx(2, abs=0.1)
    assert found.message.startswith("in about 3")


def test_a_vnet_runs_out_when_its_nodes_together_reach_the_quota_less_what_is_spare():
    known = evidence("vm1", "vm2", limit=200)
    found = row(rows_of(known, usage("vm1"), usage("vm2")), "vnet")
    assert (found.name, found.room) == ("vnet", 200 - 2)  # each node has one that no pod has
    assert found.days == pytest.approx((198 - 76) / 4, abs=1.5)


def test_a_subnet_needs_somebody_who_knows_its_room():
    known = evidence("vm1")
    found = row(rows_of(known, usage()), "subnet")
    assert (found.name, found.outlook, found.room) == ("nodes", "unknown", None)
    assert found.message == "+2.0 a day; how much room there is, is not known here"
    found = row(rows_of(known, usage(), Nodes=60), "subnet")
    assert (found.outlook, found.room) == ("exhausts", 61)


def test_a_subnets_room_is_what_azure_counted_unless_a_person_knows_better():
    known = evidence("vm1", subnet=(191, 251))
    assert row(rows_of(known, usage()), "subnet").room == 61
    assert row(rows_of(known, usage(), nodes=100), "subnet").room == 101


@pytest.mark.parametrize(
    ("report", "outlook", "said"),
    [
        (usage(days=2), "unknown", "too little was seen: a forecast needs 3 days"),
        (usage(hours=[]), None, ""),
        (usage(days=4, base=80), "exhausts", "; a guess, from 4 days"),
        (usage(per_day=0), "steady", "no growth was seen"),
        (usage(per_day=0.4), "beyond", "not within 56 days, as far as can be said"),
        (usage(base=90), "full", "exhausted at the daily peak now (100 addresses)"),
    ],
)
def test_it_says_how_little_it_knows(report: UsageReport, outlook: str | None, said: str):
    found = [one for one in rows_of(evidence("vm1"), report) if one.kind == "node"]
    assert [one.outlook for one in found] == ([outlook] if outlook else [])
    assert all(said in one.message for one in found)


def test_a_release_is_named_beside_the_growth():
    released = [
        UsageHour(hour.hour, hour.peak + (30 if hour.hour > NOW - 9 * 24 else 0)) for hour in usage(days=20).hours
    ]
    found = row(rows_of(evidence("vm1"), usage(hours=released)), "node")
    assert found.per_day == pytest.approx(2, abs=0.1)
    assert "+2.0 a day beside +30 at once 8 days ago" in found.message
    assert found.days == pytest.approx((100 - 80) / 2, abs=1.5)


@pytest.mark.parametrize(
    ("weekly", "outlook", "days", "said"),
    [
        (10, "exhausts", 8.0, "+10 a week on one day of the week"),  # 60, 70, 80, 90, of 100
        (0, "steady", None, "no growth was seen"),
    ],
)
def test_jobs_of_one_day_of_the_week_that_grow_are_growth(weekly: int, outlook: str, days: float | None, said: str):
    """Usual days stay at 20."""
    newest = NOW // 24
    hours = [
        UsageHour(hour, 90 - weekly * ((newest - hour // 24) // 7) if (newest - hour // 24) % 7 == 6 else 20)
        for hour in range(NOW - 28 * 24 + 1, NOW + 1)
    ]
    found = row(rows_of(evidence("vm1"), usage(hours=hours)), "node")
    assert (found.outlook, found.days) == (outlook, days if days is None else pytest.approx(days, abs=1.5))
    assert said in found.message
    assert found.latest is None


def test_hours_that_nobody_saw_are_no_hours_without_pods():
    seen = usage(days=10)
    holed = [
        UsageHour(hour.hour, 0, unseen_s=3600) if place in range(100, 130) else hour
        for place, hour in enumerate(seen.hours)
    ]
    whole, partly = (row(rows_of(evidence("vm1"), one), "vnet") for one in (seen, usage(days=10, hours=holed)))
    assert partly.per_day == pytest.approx(whole.per_day, abs=0.1)


def test_a_new_node_had_none_before_and_an_old_one_had_some_that_nobody_knows():
    old, young = usage("vm1", days=14, per_day=0), usage("vm2", days=5, per_day=0)
    born = {"vm1": 0.0, "vm2": (NOW - 5 * 24) * 3600.0}
    assert [used for _, used in summed([old, young], born)][:: 24 * 13] == [10, 20]
    assert len(summed([old, young], {"vm1": 0.0, "vm2": 0.0})) == 5 * 24 + 1
    assert len(summed([old, young], {})) == 5 * 24 + 1
    assert summed([], {}) == []


def test_what_runs_out_first_comes_first_and_vnets_before_nodes():
    known = evidence("vm1", "vm2", limit=5000)
    rows = rows_of(known, usage("vm1"), usage("vm2", base=60))
    assert [(one.kind, one.name) for one in rows] == [
        ("vnet", "vnet"), ("subnet", "nodes"), ("node", "vm2"), ("node", "vm1"),
    ]  # fmt: skip


def test_the_agents_clock_nearest_to_this_machines_counts():
    later = UsageReport(time=time_text(NOW_S + 10 * 365 * 86_400))
    assert report_time_s([UsageReport(), later, usage()], here_s=NOW_S + 3600) == NOW_S
    assert report_time_s([UsageReport(time="odd")], here_s=NOW_S) is None


def busy(burst: int, *, rarely: int = 0, **figures: Any) -> UsageReport:
    """30 days of hours with that burst, and one hour with another."""
    hours = [UsageHour(NOW - place, peak=20, started=burst, burst=burst, writes=1) for place in range(720)]
    hours[5] = UsageHour(hours[5].hour, peak=20, burst=max(burst, rarely))
    return usage(hours=hours, pool=PoolReport(**{"min_free": 8, "max_free": 24, "batch": 16, **figures}))


def test_a_quiet_cluster_holds_fewer():
    (found,) = advise([busy(2), busy(3)])
    assert (found.burst, found.advised_min_free, found.advised_batch, found.advised_max_free) == (3, 4, 8, 12)
    assert found.saving == 2 * ((8 + 8) - (4 + 4))
    assert (found.nodes, found.short, found.writes_per_day) == (2, 0, 24.0)
    assert found.is_change


def test_a_busy_cluster_holds_more_and_says_in_how_many_hours_pods_waited():
    (found,) = advise([busy(20)])
    assert (found.advised_min_free, found.advised_batch, found.advised_max_free) == (25, 16, 41)
    assert (found.short, found.saving) == (720, -16)


def test_a_pool_of_blocks_is_advised_whole_ones_and_apart_from_others():
    found = advise([busy(2), busy(2, blocks=28), busy(2, blocks=28, batch=32, max_free=40)])
    assert [(one.batch, one.advised_batch, one.nodes) for one in found] == [(16, 6, 1), (16, 16, 1), (32, 16, 1)]


def test_one_odd_hour_of_many_nodes_decides_nothing():
    assert advise([busy(2, rarely=40), busy(2)])[0].burst == 2


def test_sizes_that_fit_stay():
    (found,) = advise([busy(6)])
    assert (found.advised_min_free, found.is_change, found.saving) == (8, False, 0)


def test_nothing_is_advised_for_a_fixed_size_or_a_day():
    assert advise([busy(2, size=20), usage(days=1), busy(2, batch=0)]) == []


def test_advised_sizes_are_sizes_that_a_pool_takes():
    from azure_cni.ipam.sizing import Policy

    for burst in (0, 1, 7, 40, 199, 250):
        for size in ({}, {"min_free": 0, "max_free": 1, "batch": 1}, {"min_free": 100, "max_free": 400, "batch": 100}):
            (found,) = advise([busy(burst, **size)])
            Policy(min_free=found.advised_min_free, max_free=found.advised_max_free, batch=found.advised_batch)
