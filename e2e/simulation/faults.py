"""What goes wrong in a run, and when: drawn from its seed, so that a run that failed can be repeated."""

import random
from dataclasses import dataclass, field
from typing import Any

from simulation.plan import Scenario

AZURE_KINDS = (
    "lost-reply",
    "lost-request",
    "fail",
    "fail-half",
    "cancel",
    "busy",
    "superseded",
    "overwritten",
    "touched",
)
PAUSE_S = 60.0
WORKS = ("azure", "throttle", "kill-controller", "pause-controller", "second-leader", "lose-lease", "restart-apiserver",
         "kill-nodes", "delete-nodes", "replace-nodes", "take", "fill-subnet")  # fmt: skip
WEIGHTS = (6, 2, 4, 2, 2, 2, 1, 2, 2, 2, 2, 2)
LATE: float = 0.3
"""How often Azure finds out that the subnet is full after it has accepted a write."""
EACH_S = 10.0
"""One thing goes wrong about that often."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, `at_s` after the beginning."""

    at_s: float
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = " ".join(f"{key}={value}" for key, value in self.facts.items())
        return f"{self.at_s:6.1f} s {self.kind} {words}"


def schedule(scenario: Scenario, seed: int) -> list[Fault]:
    """All that goes wrong, in order."""
    chance = random.Random(seed)
    count = round(scenario.faults_s / EACH_S)
    times = sorted(chance.uniform(0.0, scenario.faults_s) for _ in range(count))
    drawn = chance.choices(WORKS, WEIGHTS, k=count)
    gone: set[str] = set()
    return [Fault(at_s, kind, _facts(kind, scenario, chance, gone)) for at_s, kind in zip(times, drawn, strict=True)]


def _facts(kind: str, scenario: Scenario, chance: random.Random, gone: set[str]) -> dict[str, Any]:
    if kind in {
        "delete-nodes",
        "replace-nodes",
    }:  # each node once, and no instance of a scale set: its NIC goes with it
        left = [name for name in scenario.node_names if name not in gone and scenario.shape_of(name)[0].replaced]
        names = chance.sample(left, min(max(0, len(left) - 1), chance.randint(1, 2)))
        gone.update(names)
        if kind == "replace-nodes":
            return {"names": names, "away_s": chance.choice((1.0, 15.0, 40.0))}
        return {"names": names, "keep_nic_s": chance.choice((0.0, 60.0, 10_000.0))}
    soon_s = round(chance.uniform(0.0, 20.0), 1)
    facts: dict[str, dict[str, Any]] = {
        "azure": {"effect": chance.choice(AZURE_KINDS), "times": chance.randint(1, 4)},
        "throttle": {"seconds": chance.randint(10, 40)},
        "kill-controller": {"which": chance.randrange(2), "seconds": soon_s},
        "pause-controller": {"which": chance.randrange(2), "seconds": soon_s},
        "second-leader": {"seconds": chance.randint(60, 120)},
        "kill-nodes": {"share": chance.randrange(scenario.node_processes), "seconds": soon_s},
        "take": {"count": scenario.limit // 50},
        "fill-subnet": {"seconds": chance.randint(40, 160), "late": chance.random() < LATE},
    }
    return facts.get(kind, {})
