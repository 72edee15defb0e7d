"""The table at the end of a run."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from soak.verdict import Befallen, Outcome, Usage, failures, leaks, percentile, starts_s

SHARES = (0.5, 0.9, 0.99, 1.0)


def lines(outcome: Outcome) -> Iterator[str]:
    """What was seen, and the verdict."""
    lives = outcome.pods.lives.values()
    yield _row("pods asked for", f"{len(lives)}")
    yield _row("pods started", f"{sum(life.started for life in lives)}")
    yield _row("pods ended", f"{sum(life.gone_s is not None for life in lives)}")
    yield _row("of these before they started", f"{sum(life.gone_s is not None and not life.started for life in lives)}")
    yield _row("two pods with one address", f"{len(outcome.pods.shared)}")
    yield _row("addresses lost to another node", f"{len(outcome.pods.bereft)}, as their pools said")
    calm, troubled = starts_s(outcome)
    yield _row("pod start, nothing wrong", _percentiles(calm))
    yield _row("pod start, during a fault", _percentiles(troubled))
    survived = sum(fault.right_s is not None for fault in outcome.faults)
    yield _row("faults survived", f"{survived} of {len(outcome.faults)}")
    yield from _faults(outcome.faults)
    for name, before in outcome.usage_before.items():
        between = [reading[name] for reading in outcome.usage_meanwhile if name in reading]
        yield _row(name, _usage(before, between, outcome.usage_after.get(name)))
    yield _row("leaks", _leaks(outcome))
    levels = ", ".join(f"{count} {level}" for level, count in sorted(outcome.logs.levels.items()))
    yield _row("lines logged", levels or "none")
    yield _row("errors that nobody expects", f"{len(outcome.logs.unknown)}")
    yield _row("tokens in logs", f"{len(outcome.logs.tokens)}")
    wrong = list(failures(outcome))
    yield _row("result", "passed" if not wrong else f"FAILED, {len(wrong)} reasons")
    yield from (f"  - {why}" for why in wrong)


def _row(title: str, text: str) -> str:
    return f"  {title:<34} {text}"


def _percentiles(values: Sequence[float]) -> str:
    if not values:
        return "none"
    shown = (f"{'max' if share == 1 else f'p{share * 100:.0f}'} {percentile(values, share):.1f} s" for share in SHARES)
    return f"{', '.join(shown)} (of {len(values)})"


def _faults(faults: Sequence[Befallen]) -> Iterator[str]:
    by_kind: dict[str, list[Befallen]] = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault)
    for kind, befallen in sorted(by_kind.items()):
        right = [fault.right_s for fault in befallen if fault.right_s is not None]
        times = f", right again after {percentile(right, 0.5):.1f} s, at most {max(right):.1f} s" if right else ""
        yield _row(f"  {kind}", f"{len(right)} of {len(befallen)}{times}")


def _usage(before: Usage, between: Sequence[Usage], after: Usage | None) -> str:
    if after is None:
        return f"{before.memory_mib:.1f} MiB, {before.descriptors} descriptors; not measured at the end"
    change = "" if after.identity == before.identity else " (another process)"
    meanwhile = " ".join(f"{one.memory_mib:.1f}" for one in between if one.identity == after.identity)
    return (
        f"{before.memory_mib:.1f} to {after.memory_mib:.1f} MiB, "
        f"{before.descriptors} to {after.descriptors} descriptors{change}"
        + (f"; between two faults {meanwhile} MiB" if meanwhile else "")
    )


def _leaks(outcome: Outcome) -> str:
    if not outcome.counts_after:
        return "not counted"
    before, after = outcome.counts_before, outcome.counts_after
    return f"{len(leaks(before, after))}, of {len(before)} counts"
