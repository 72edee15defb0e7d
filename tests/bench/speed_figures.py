"""From what `bench.speed` measured in its rounds to medians, ratios with intervals, and a table. Pure."""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenarios.harness.attacks import percentile

Values = dict[str, dict[str, list[float]]]
"""By metric and way, one value for each round."""

DRAWS = 400
BETWEEN = (0.05, 0.95)
"""Shares of the draws that bound an interval: nine of ten lie in it."""


@dataclass(frozen=True, slots=True)
class Metric:
    """As people read it. `more`: more of it is better."""

    title: str
    digits: int
    more: bool


METRICS = {
    "gbit_s": Metric("TCP, Gbit/s", 1, more=True),
    "p50_us": Metric("request p50, us", 1, more=False),
    "p99_us": Metric("request p99, us", 0, more=False),
    "connections_s": Metric("connections/s", 0, more=True),
}


def ratio(values: Sequence[float], base: Sequence[float]) -> tuple[float, float, float]:
    """The median of the rounds' ratios, and between what it lies, by draws of rounds with repetition.

    The same values have the same interval.
    """
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    chance = random.Random(len(ratios))
    medians = [statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(DRAWS)]
    low, high = (percentile(medians, edge) for edge in BETWEEN)
    return statistics.median(ratios), low, high


def figures(values: Values, *, base: str) -> dict[str, Any]:
    """For each metric and way the median, the ratio to `base` in the same round with its interval, and all values."""
    found: dict[str, dict[str, Any]] = {}
    for metric, ways in values.items():
        found[metric] = {}
        for way, measured in ways.items():
            middle, low, high = ratio(measured, ways[base])
            summary = {"median": statistics.median(measured), "ratio": middle, "low": low, "high": high}
            found[metric][way] = {name: round(value, 4) for name, value in summary.items()} | {
                "values": [round(value, 3) for value in measured]
            }
    return {"base": base, "figures": found}


def table(document: Mapping[str, Any]) -> str:
    """The document of a run as a table in Markdown, with the machine above it."""
    machine, found = document["machine"], document["figures"]
    shown = [(metric, name) for name, metric in METRICS.items() if name in found]
    load = " before and ".join(map(str, machine["load"]))
    rounds = f"{document['rounds']} rounds of {document['seconds']} s; ratios to {document['base']}"
    lines = [
        f"{machine['cpus']} CPUs, kernel {machine['kernel']}, load {load} after, {rounds}",
        "",
        "| | " + " | ".join(metric.title for metric, _ in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for way in next(iter(found.values())):
        cells = [_cell(found[name][way], metric) for metric, name in shown]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(one: Mapping[str, float], metric: Metric) -> str:
    if one["low"] == one["high"] == 1:
        return f"{one['median']:.{metric.digits}f}"
    return f"{one['median']:.{metric.digits}f}: {one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
