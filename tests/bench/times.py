"""Times of calls, summed up. Pure."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Any

from bench.speed_figures import BETWEEN, DRAWS
from scenarios.harness.attacks import percentile

EDGE = 30
"""How many ADDs count as the first, and as the last, on a node that fills up."""


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Percentiles in milliseconds, each one of the measured values."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return {
        "count": len(ordered),
        "p50": round(ordered[round(last * 0.5)] * 1e3, 2),
        "p99": round(ordered[round(last * 0.99)] * 1e3, 2),
        "max": round(ordered[last] * 1e3, 2),
    }


def growth(seconds: Sequence[float]) -> dict[str, Any]:
    """The medians of the first and the last EDGE, and their ratio with its interval, by draws with repetition from
    both. The same values have the same interval.
    """
    first, last = seconds[:EDGE], seconds[-EDGE:]
    chance = random.Random(len(seconds))
    drawn = [_median_of_draw(last, chance) / _median_of_draw(first, chance) for _ in range(DRAWS)]
    low, high = (percentile(drawn, edge) for edge in BETWEEN)
    ratio = statistics.median(last) / statistics.median(first)
    return {
        "first": summary(first),
        "last": summary(last),
        "ratio": round(ratio, 2),
        "low": round(low, 2),
        "high": round(high, 2),
    }


def _median_of_draw(values: Sequence[float], chance: random.Random) -> float:
    return statistics.median(chance.choices(values, k=len(values)))
