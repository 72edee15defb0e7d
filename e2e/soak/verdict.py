"""What a run has shown, and whether it is as it must be: pure rules over counts that were read before and after."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from soak.log_lines import LogLines
from soak.pod_log import Life, PodLog

MORE_MEMORY = 0.05
SETTLED_MINUTES = 30.0
"""From this length on memory is judged: in a shorter run what a process loads and caches once weighs more than this."""
MORE_DESCRIPTORS = 8
"""Connections that are kept open for the next request; a leak of one in each fault is more."""
STUCK_S = 300.0
"""A pod that has not started after this time, faults included, never will."""


@dataclass(frozen=True, slots=True)
class Befallen:
    """One fault that happened, `at_s` after the beginning. `right_s`: from its end until all was right; None: never."""

    kind: str
    node: str
    at_s: float
    hold_s: float
    right_s: float | None
    why: str = ""
    """Why it did not come right."""

    def span(self) -> tuple[float, float]:
        """From when until when it could be felt."""
        return self.at_s, self.at_s + self.hold_s + (self.right_s if self.right_s is not None else math.inf)


@dataclass(frozen=True, slots=True)
class Usage:
    """A process. `identity`: process id and start, so that another process is another."""

    identity: str
    memory_mib: float
    """What no file backs."""
    descriptors: int


@dataclass(slots=True)
class Outcome:
    """All that was seen. Times in `faults` and `pods` are seconds since `began_s`'s clock."""

    minutes: float
    steady: frozenset[str]
    """Names of processes that nothing should end."""
    faults: list[Befallen] = field(default_factory=list)
    pods: PodLog = field(default_factory=PodLog)
    logs: LogLines = field(default_factory=LogLines)
    counts_before: Mapping[str, int] = field(default_factory=dict)
    counts_after: Mapping[str, int] = field(default_factory=dict)
    usage_before: Mapping[str, Usage] = field(default_factory=dict)
    usage_meanwhile: list[Mapping[str, Usage]] = field(default_factory=list)
    """Every so often between two faults, oldest first: whether memory grows on, or has come to its end."""
    usage_after: Mapping[str, Usage] = field(default_factory=dict)
    broken_off: str = ""
    """Why the run came to an end before its time, or could not be judged."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of all do not exceed; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def starts_s(outcome: Outcome) -> tuple[list[float], list[float]]:
    """How long pods took to start, seconds: while nothing was wrong, and those that could feel a fault."""
    spans = [fault.span() for fault in outcome.faults]
    calm: list[float] = []
    troubled: list[float] = []
    for life in outcome.pods.lives.values():
        if life.ready_s is None:
            continue
        felt = any(begin_s <= life.ready_s and life.asked_s <= end_s for begin_s, end_s in spans)
        (troubled if felt else calm).append(life.took_s)
    return calm, troubled


def stuck(pods: PodLog, *, at_s: float) -> list[Life]:
    """Those that have waited for too long."""
    return [life for life in pods.alive() if not life.started and not life.ending and at_s - life.asked_s > STUCK_S]


def leaks(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Each count that is not as it was."""
    return [
        f"{name}: {before.get(name, 0)} before, {after.get(name, 0)} after"
        for name in sorted(before.keys() | after.keys())
        if before.get(name, 0) != after.get(name, 0)
    ]


def failures(outcome: Outcome) -> Iterator[str]:
    """What is not as it must be, worst first; nothing when the run has passed."""
    if outcome.broken_off:
        yield f"the run was broken off: {outcome.broken_off}"
    yield from (f"two pods with one address: {pair}" for pair in outcome.pods.shared)
    for fault in outcome.faults:
        if fault.right_s is None:
            yield f"not right after {fault.kind} on {fault.node}: {fault.why}"
    left = [life.name for life in outcome.pods.alive()]
    if left:
        yield f"{len(left)} pods are not gone: {', '.join(left[:5])}"
    if not any(life.started for life in outcome.pods.lives.values()):
        yield "no pod has started"
    if not outcome.faults:
        yield "no fault has happened"
    if not outcome.broken_off:  # else nothing was counted at the end
        yield from (f"leaked: {leak}" for leak in leaks(outcome.counts_before, outcome.counts_after))
        yield from _usage(outcome)
    yield from (f"a token in a log: {line}" for line in outcome.logs.tokens)
    yield from (f"an error that nobody expects: {line}" for line in outcome.logs.unknown)


def _usage(outcome: Outcome) -> Iterator[str]:
    for name, before in outcome.usage_before.items():
        after = outcome.usage_after.get(name)
        if after is None or after.identity != before.identity:
            if name in outcome.steady:
                yield f"the {name} was restarted, and no fault of this run does that"
            continue
        if outcome.minutes >= SETTLED_MINUTES and after.memory_mib > before.memory_mib * (1 + MORE_MEMORY):
            yield f"the {name} takes {after.memory_mib:.1f} MiB, and took {before.memory_mib:.1f} MiB before"
        if after.descriptors > before.descriptors + MORE_DESCRIPTORS:
            yield f"the {name} has {after.descriptors} descriptors open, and had {before.descriptors} before"
