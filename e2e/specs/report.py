"""What Ginkgo's reports say of specs, and how specs are shared out among processes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PASSED = "passed"
SKIPPED, INTERRUPTED = "skipped", "interrupted"
"""What Ginkgo calls specs that the run did not choose or that found they cannot run here, and those that still ran when
it was ended."""
NANOSECONDS = 1e9
LONGEST = 300
"""Of a failure's message, characters."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One that was chosen."""

    name: str
    state: str
    seconds: float
    failure: str


def specs_of(report: Path) -> list[Spec]:
    """Those that a JSON report has, without what the run did not reach; none when the run left no report."""
    if not report.exists():
        return []
    suites = json.loads(report.read_text()) or []
    return [
        _spec(one)
        for suite in suites
        for one in suite.get("SpecReports") or []
        if one["LeafNodeType"] == "It" and _reached(one)
    ]


def _reached(report: Mapping[str, object]) -> bool:
    """A spec that skipped itself says why, one that was not chosen says nothing."""
    return report["State"] != INTERRUPTED and (report["State"] != SKIPPED or bool(report.get("Failure")))


def _spec(report: dict[str, object]) -> Spec:
    containers, failure = report.get("ContainerHierarchyTexts"), report.get("Failure")
    texts = [*(containers if isinstance(containers, list) else []), report["LeafNodeText"]]
    run_time = report.get("RunTime")
    return Spec(
        name=" ".join(map(str, texts)),
        state=str(report["State"]),
        seconds=(run_time if isinstance(run_time, int) else 0) / NANOSECONDS,
        failure=str(failure.get("Message", "")) if isinstance(failure, dict) else "",
    )


def passed(spec: Spec) -> bool:
    """Whether it did."""
    return spec.state == PASSED


def skipped(spec: Spec) -> bool:
    """Whether it found that it cannot run here."""
    return spec.state == SKIPPED


def shown(found: Sequence[Spec], asked: int, *, may_skip: bool = False) -> bool:
    """Whether each spec that was asked for passed, or skipped itself where it may; a run without one shows nothing."""
    fine = all(passed(spec) or (may_skip and skipped(spec)) for spec in found)
    return fine and len(found) == asked and any(map(passed, found))


def shards(names: Sequence[str], number: int) -> list[str]:
    """For each process the expression that chooses its specs: each spec is one process', and no process has none.

    Ginkgo puts the suite's name before a spec's.
    """
    parts = (names[first::number] for first in range(number))
    return [f" ({'|'.join(map(re.escape, part))})$" for part in parts if part]


def table(found: Sequence[Spec], asked: int) -> list[str]:
    """Lines for a person: what failed or skipped itself and why, then the sums."""
    unusual = [spec for spec in found if not passed(spec)]
    lines = [f"{spec.state}: {spec.name} ({spec.seconds:.0f} s): {spec.failure[:LONGEST]}" for spec in unusual]
    left = sum(map(skipped, found))
    sums = (
        f"specs {asked} passed {len(found) - len(unusual)} failed {len(unusual) - left} skipped {left} "
        f"not reached {asked - len(found)}"
    )
    return [*lines, f"{sums}, {sum(spec.seconds for spec in found):.0f} s of specs"]
