"""A simulated month of one node's pods, as its audit trail has it: growth with days, weekends, jobs, churn, releases.

Pods are counted one by one, on a clock of the test's own, and what comes out are records of the audit trail.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from azure_cni.ipam.audit_records import AuditKind, AuditRecord
from azure_cni.model.text import time_text

DAY_S: Final = 86_400
TICK_S: Final = 1800
EPOCH_S: Final = 1_799_971_200
"""A Monday at midnight, UTC."""


@dataclass(frozen=True, slots=True)
class Month:
    """What the node's pods are like. `base` and `per_day`: pods by day, and their growth. `nightly` and `weekend`: the
    shares that are not needed then; `churn`: that of all pods replaced in a day. `jobs`: pods that come together some
    times a day, and go after half an hour; `weekly_jobs`: on Saturday nights. `steps`: releases (day, pods more).
    """

    base: float = 60.0
    per_day: float = 4.0
    nightly: float = 0.3
    weekend: float = 0.0
    churn: float = 0.5
    jobs: int = 0
    jobs_a_day: float = 6.0
    weekly_jobs: int = 0
    odd_days: int = 0
    """Pods more on three of the first twenty days: an incident, a migration."""
    steps: Sequence[tuple[float, int]] = ()
    seed: int = 0

    def wanted(self, at_s: float, random: Random) -> float:
        """Pods that should run now, jobs aside."""
        day = at_s / DAY_S
        level = self.base + self.per_day * day + sum(pods for since, pods in self.steps if day >= since)
        level *= 1 - self.nightly * (1 + math.cos(2 * math.pi * day)) / 2
        level *= 1 - self.weekend if int(day) % 7 >= 5 else 1.0
        return level + random.gauss(0, 1)


@dataclass(slots=True)
class Happening:
    """One pod that gets an address, or gives it back, seconds after the beginning."""

    at_s: float
    given: bool
    pod: int


@dataclass(slots=True)
class _Node:
    """Who runs, and what happened."""

    random: Random
    running: list[int] = field(default_factory=list)
    jobs: list[tuple[float, int]] = field(default_factory=list)
    made: int = 0

    def start(self, at_s: float) -> Happening:
        self.made += 1
        self.running.append(self.made)
        return Happening(at_s, True, self.made)

    def end(self, at_s: float) -> Happening:
        place = self.random.randrange(len(self.running))
        self.running[place], self.running[-1] = self.running[-1], self.running[place]
        return Happening(at_s, False, self.running.pop())


def happenings(month: Month, *, days: int) -> list[Happening]:
    """All of them, in their order."""
    random = Random(month.seed)
    node, found = _Node(random), list[Happening]()
    odd = {3, 12, 21} if month.odd_days else set()
    for tick in range(days * DAY_S // TICK_S):
        at_s = tick * TICK_S
        found += [Happening(at_s + 1.0, False, pod) for due, pod in node.jobs if due <= at_s]
        node.jobs = [one for one in node.jobs if one[0] > at_s]
        wanted = round(month.wanted(at_s, random)) + (month.odd_days if at_s // DAY_S in odd else 0)
        moments = [(at_s + one, change) for change, one in _changes(month, wanted - len(node.running), node)]
        found += [node.start(moment) if starts else node.end(moment) for moment, starts in sorted(moments)]
        found += _jobs(month, node, at_s)
    return sorted(found, key=lambda one: one.at_s)


def _changes(month: Month, more: int, node: _Node) -> Iterator[tuple[bool, float]]:
    """Whether a pod starts or ends, and when, in seconds of this tick: as many as are missing, and some replaced."""
    for number in range(abs(more)):
        yield more > 0, TICK_S * (number + 1) / (abs(more) + 1)
    for _ in node.running:
        if node.random.random() < month.churn * TICK_S / DAY_S:
            moment = node.random.uniform(5, TICK_S - 5)
            yield True, moment
            yield False, moment + 1


def _jobs(month: Month, node: _Node, at_s: float) -> Iterator[Happening]:
    count = 0
    if node.random.random() < month.jobs_a_day * TICK_S / DAY_S:
        count += month.jobs
    if int(at_s / DAY_S) % 7 == 5 and at_s % DAY_S == 2 * 3600:
        count += month.weekly_jobs
    for number in range(count):
        node.made += 1
        node.jobs.append((at_s + TICK_S, node.made))
        yield Happening(at_s + 10 + 20 * number / count, True, node.made)


def records(found: Sequence[Happening]) -> Iterator[AuditRecord]:
    """As the trail has them; each pod has an address of its own."""
    for one in found:
        event = AuditKind.ASSIGNED if one.given else AuditKind.RETURNED
        yield AuditRecord(time=time_text(EPOCH_S + one.at_s), event=event.value, address=str(one.pod))


def first_reached(found: Sequence[Happening], room: int, *, after: float = 0.0) -> float | None:
    """When as many pods ran at once for the first time `after` a day, in days; None where they never did."""
    now = 0
    for one in found:
        now += 1 if one.given else -1
        if now >= room and one.at_s >= after * DAY_S:
            return one.at_s / DAY_S
    return None
