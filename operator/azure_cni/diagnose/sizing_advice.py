"""How large pools should be by the churn of this cluster, and what that saves. Pure.

A pod starts at once while an address is free, and a write of the NIC takes about a minute. So `minFree` must be what
starts within a minute, on the busiest node in nearly every hour, with a quarter more. It is not lowered below any burst
that it covers today: no pod waits that did not wait before. `batch` need not be larger than that twice over, or pools
hold what no burst needs; it stays as it is where it is smaller. `maxFree` keeps its distance.

What is saved is the difference of what a pool holds with both sizes through the hours that were seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from azure_cni.api.audit_reports import UsageReport
from azure_cni.api.introspection import PoolReport
from azure_cni.api.vnet_quota import MOST_IN_A_VNET, VNetQuota
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.ipam.exhaustion import FEWEST_DAYS
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.ipam.sizing import Policy, target
from azure_cni.model.nic import BLOCK_SIZE

NEARLY_ALL: Final = 0.999
"""Of the hours of all nodes: at most one in six weeks of a node has a larger burst."""
RESERVE: Final = 1.25
LEAST_FREE: Final = 2
LEAST_BATCH: Final = 4
HOURS: Final = 24


class SizingAdvice(msgspec.Struct, frozen=True, rename="camel"):
    """Of all nodes with the same values. `saving`: addresses that these nodes together would hold less; negative: more.

    `burst`: pods that started within a minute, in nearly every hour; `short`: hours in which more did than `minFree`.
    """

    nodes: int
    hours: int
    burst: int
    short: int
    writes_per_day: float
    min_free: int
    max_free: int
    batch: int
    advised_min_free: int
    advised_max_free: int
    advised_batch: int
    saving: int

    @property
    def is_change(self) -> bool:
        """Whether anything should be another."""
        now = (self.min_free, self.max_free, self.batch)
        return now != (self.advised_min_free, self.advised_max_free, self.advised_batch)


def advise(reports: Sequence[UsageReport]) -> list[SizingAdvice]:
    """One for each set of values that nodes have. None of nodes of a fixed size, or that were watched too shortly."""
    groups: dict[tuple[int, int, int, int], list[UsageReport]] = {}
    for report in reports:
        pool = report.pool
        if pool.size is None and pool.batch and len(report.hours) >= FEWEST_DAYS * HOURS:
            groups.setdefault((pool.min_free, pool.max_free, pool.batch, pool.blocks), []).append(report)
    return [_of_group(found[0].pool, found) for _, found in sorted(groups.items())]


def _of_group(pool: PoolReport, reports: Sequence[UsageReport]) -> SizingAdvice:
    hours = [hour for report in reports for hour in report.hours]
    bursts = sorted(hour.burst for hour in hours)
    burst = bursts[math.ceil(NEARLY_ALL * len(bursts)) - 1]
    covered = max((one for one in bursts if one <= pool.min_free), default=0)
    free = min(MAX_ADDRESSES_PER_NODE, max(LEAST_FREE, math.ceil(burst * RESERVE), covered))
    part = BLOCK_SIZE if pool.blocks else 1  # what a pool grows by is a multiple of it
    batch = min(pool.batch, math.ceil(max(LEAST_BATCH, 2 * free) / part) * part)
    distance = max(0, pool.max_free - pool.min_free - pool.batch)
    most = min(2 * MAX_ADDRESSES_PER_NODE, free + batch + distance)
    now = Policy(min_free=pool.min_free, max_free=pool.max_free, batch=pool.batch)
    then = Policy(min_free=free, max_free=most, batch=batch)
    return SizingAdvice(
        nodes=len(reports),
        hours=len(hours),
        burst=burst,
        short=sum(hour.burst > pool.min_free for hour in hours),
        writes_per_day=round(HOURS * sum(hour.writes for hour in hours) / len(hours), 1),
        min_free=pool.min_free,
        max_free=pool.max_free,
        batch=pool.batch,
        advised_min_free=free,
        advised_max_free=most,
        advised_batch=batch,
        saving=round(sum(_held(report, now) - _held(report, then) for report in reports)),
    )


def sufficient_limit(evidence: ClusterEvidence, quota: VNetQuota) -> str:
    """What `spec.limit` has to be for all that nodes of the VNet ask for; "" where it is enough."""
    limit = quota.limits.limit - quota.grantable + evidence.needed_in(quota.vnet_id)
    return str(limit) if quota.limits.limit < limit <= MOST_IN_A_VNET else ""


def _held(report: UsageReport, policy: Policy) -> float:
    """How many addresses that node would have held in the mean. A pool that has too many free shrinks to its target."""
    most, held, total = report.pool.ceiling or MAX_ADDRESSES_PER_NODE, 0, 0
    for hour in report.hours:
        wanted = min(most, target(policy, assigned=hour.peak, waiting=0, cooling=0))
        if wanted > held or held - hour.peak > policy.max_free:
            held = wanted
        total += held
    return total / len(report.hours)
