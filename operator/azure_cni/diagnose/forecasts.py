"""`forecast`: when nodes, subnets and VNets run out of addresses, by what their nodes' audit trails saw. Pure.

A node is exhausted when pods hold as many addresses as it may have. A VNet is when what its quota still grants is
gone, although nodes keep spare ones: these cannot serve pods elsewhere, so as many as are spare now are subtracted. The
same of a subnet: how much is left there the VNetQuota says, as Azure counted it last, or a person.

The trail of a node that was deleted is gone. So a sum over nodes begins when the youngest trail begins whose node is
older than it, and says that pods of deleted nodes are missing from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from azure_cni.api.audit_reports import UsageHour, UsageReport
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.reading import text
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.ipam.exhaustion import FEWEST_DAYS, Exhaustion, Growth, Outlook, daily_peaks, exhaustion, fit
from azure_cni.ipam.usage_history import HOUR_S
from azure_cni.model.text import addresses, counted, few, seconds_of, time_text

HALF_UNSEEN_S: Final = HOUR_S // 2
YOUNG_S: Final = 6 * HOUR_S
"""A trail that begins this soon after its node's creation knows all of it."""
SURE_DAYS: Final = 7
"""With fewer a forecast is a guess, and says so."""

Samples = Sequence[tuple[float, int]]


class ForecastRow(msgspec.Struct, frozen=True, rename="camel"):
    """One node, subnet or VNet. Days are from now; `room` is None where nobody knows it, `used` is of a day now."""

    kind: str
    name: str
    outlook: str
    watched_days: int
    used: int
    room: int | None
    per_day: float
    days: float | None
    earliest: float | None
    latest: float | None
    message: str


def forecast_rows(
    evidence: ClusterEvidence, reports: Sequence[UsageReport], *, now_s: float, subnets: Mapping[str, int]
) -> list[ForecastRow]:
    """VNets, then subnets, then nodes; what runs out soonest comes first. `subnets`: free addresses by name."""
    known = {report.node: report for report in reports if report.hours}
    rows = [_node_row(name, report, now_s) for name, report in known.items()]
    for kind, name_of in (("vnet", _vnet_of), ("subnet", _subnet_of)):
        groups: dict[str, list[NodeIPPool]] = {}
        for pool in evidence.pools:
            if name_of(pool):
                groups.setdefault(name_of(pool), []).append(pool)
        for resource, pools in groups.items():
            room = _room_of(kind, resource, pools, evidence, subnets)
            here = [known[pool.name] for pool in pools if pool.name in known]
            samples = summed(here, _created(evidence))
            rows.append(_row(kind, resource.rpartition("/")[2], samples, room, now_s))
    order = {"vnet": 0, "subnet": 1, "node": 2}
    return sorted(rows, key=lambda row: (order[row.kind], row.days if row.days is not None else 1e9, row.name))


def summed(reports: Sequence[UsageReport], created: Mapping[str, float]) -> Samples:
    """The sum over nodes, hour by hour. What one did not see is taken as it was before."""
    if not reports:
        return []
    begin = min(report.hours[0].hour for report in reports)
    for report in reports:
        first = report.hours[0].hour
        if first * HOUR_S - created.get(report.node, 0.0) > YOUNG_S:
            begin = max(begin, first)
    total: dict[int, int] = {}
    for report in reports:
        for hour, used in _carried(report.hours):
            if hour >= begin:
                total[hour] = total.get(hour, 0) + used
    return [(hour * HOUR_S, total[hour]) for hour in sorted(total)]


def _carried(hours: Iterable[UsageHour]) -> Iterable[tuple[int, int]]:
    last = 0
    for hour in hours:
        last = hour.peak if hour.unseen_s < HALF_UNSEEN_S else max(last, hour.peak)
        yield hour.hour, last


def _node_row(name: str, report: UsageReport, now_s: float) -> ForecastRow:
    samples = [(one.hour * HOUR_S, one.peak) for one in report.hours if one.unseen_s < HALF_UNSEEN_S]
    return _row("node", name, samples, report.pool.ceiling or None, now_s)


def _row(kind: str, name: str, samples: Samples, room: int | None, now_s: float) -> ForecastRow:
    growth = fit(daily_peaks(samples, now_s=now_s))
    found = exhaustion(growth, room)
    newest = max((used for at_s, used in samples if at_s > now_s - 24 * HOUR_S), default=0)
    rounded = {key: None if one is None else round(one, 1) for key, one in _days(found).items()}
    return ForecastRow(
        kind=kind,
        name=name,
        outlook=found.outlook.value,
        watched_days=growth.days if growth else len(daily_peaks(samples, now_s=now_s)),
        used=round(growth.level) if growth else newest,
        room=room,
        per_day=round(growth.per_day, 2) if growth else 0.0,
        message=_in_words(found, growth, room),
        **rounded,
    )


def _days(found: Exhaustion) -> dict[str, float | None]:
    return {"days": found.days, "earliest": found.earliest, "latest": found.latest}


def _in_words(found: Exhaustion, growth: Growth | None, room: int | None) -> str:
    if growth is None:
        return f"too little was seen: a forecast needs {FEWEST_DAYS} days of the audit trail"
    weekly = growth.high_day_per_week
    grows = f"{weekly:+.0f} a week on one day of the week" if weekly else f"{growth.per_day:+.1f} a day"
    pace = f"{grows}{_jumps_in_words(growth)}"
    if room is None:
        return f"{pace}; how much room there is, is not known here"
    match found.outlook:
        case Outlook.FULL:
            return f"exhausted at the daily peak now ({addresses(room)})"
        case Outlook.STEADY:
            return "no growth was seen"
        case Outlook.BEYOND:
            return f"not within {found.reach:.0f} days, as far as can be said: {pace}"
        case _:
            latest = "maybe never" if found.latest is None else f"{found.latest:.0f}"
            guess = "" if growth.days >= SURE_DAYS else f"; a guess, from {counted(growth.days, 'day')}"
            earliest = found.days if found.earliest is None else found.earliest
            return f"in about {found.days or 0:.0f} days ({earliest or 0:.0f} to {latest}), {pace}{guess}"


def _jumps_in_words(growth: Growth) -> str:
    """Which changes are taken for releases, and not for growth."""
    jumps = [f"{one.size:+.0f} at once {counted(round(-one.at), 'day')} ago" for one in growth.jumps]
    return f" beside {few(jumps)}" if jumps else ""


def _room_of(
    kind: str, resource: str, pools: Sequence[NodeIPPool], evidence: ClusterEvidence, subnets: Mapping[str, int]
) -> int | None:
    if kind == "vnet":
        quota = evidence.quota(resource)
        spare = sum(max(0, pool.view.allocated - pool.assigned) for pool in pools)
        return None if quota is None else max(0, quota.grantable - spare)
    name, quota = resource.rpartition("/")[2].lower(), evidence.quota(pools[0].vnet_id)
    uses = [] if quota is None else [use for use in quota.subnets if use.name.lower() == name]
    counted_free = next((max(0, use.limit - use.used) for use in uses), None)
    free = next((free for one, free in subnets.items() if one.lower() == name), counted_free)
    return None if free is None else free + sum(pool.assigned for pool in pools)


def _vnet_of(pool: NodeIPPool) -> str:
    return pool.vnet_id.lower()


def _subnet_of(pool: NodeIPPool) -> str:
    return text(pool.status.get("subnetID")).lower()


def subnet_names(evidence: ClusterEvidence) -> set[str]:
    """Of the subnets that nodes are in, in lower case."""
    return {_subnet_of(pool).rpartition("/")[2] for pool in evidence.pools} - {""}


def _created(evidence: ClusterEvidence) -> dict[str, float]:
    return {node.name: node.created_s for node in evidence.nodes if node.created_s is not None}


def report_time_s(reports: Iterable[UsageReport], *, here_s: float) -> float | None:
    """The time by the agents' own clocks: by the one nearest to this machine's, `here_s`.

    A clock that is years wrong is a single node's or this machine's, and neither decides.
    """
    times = (at for report in reports if (at := seconds_of(report.time)) is not None)
    return min(times, key=lambda at: abs(at - here_s), default=None)


def wrong_clocks(reports: Iterable[UsageReport], *, now_s: float) -> dict[str, str]:
    """What is wrong with the clocks of nodes whose hours cannot be compared with those of others, by node."""
    return {
        report.node: f"node {report.node}: its clock says {report.time}, and it is {time_text(now_s)}: its hours are "
        "left out"
        for report in reports
        if (at := seconds_of(report.time)) is not None and abs(at - now_s) > HOUR_S
    }
