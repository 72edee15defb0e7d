"""What a pod's second family costs: ADD and DEL of pods with an address of each family, beside pods with one.

    PYTHONPATH=operator:tests:e2e python -m bench families [--rounds 60] [--mode transparent|bridge] [--plugin BINARY]

Two nodes, each with an agent of its own, take turns; the times are those of the whole call. Beside the medians stands
their ratio, with the interval by draws with repetition that 95 of 100 such runs would fall into. On a busy machine that
is wide, and the fastest tenth says more.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from azure_cni.model.identity import ModeName
from bench.node import BenchError, Node, Subject
from bench.speed_figures import BETWEEN, DRAWS
from bench.times import summary
from datapath.namespaces import Namespaces
from scenarios.harness.attacks import percentile

AIM = 1.15
"""Of the ratio of ADDs, at most."""


def run(plugin: Path, scratch: Path, *, rounds: int, mode: ModeName) -> dict[str, Any]:
    """Figures by verb."""
    with Namespaces() as namespaces:
        nodes = [Node(namespaces, scratch) for _ in range(2)]
        try:
            with (
                nodes[0].agent(plugin, mode=mode) as one,
                nodes[1].agent(plugin, "--both-families", mode=mode) as both,
            ):
                took = _take_turns([(nodes[0], one), (nodes[1], both)], rounds)
        finally:
            for node in nodes:
                node.close()
    return {
        verb: {
            "one": summary(one) | fastest(one),
            "both": summary(both) | fastest(both),
            **ratio(one, both),
        }
        for verb, (one, both) in took.items()
    }


def fastest(seconds: Sequence[float]) -> dict[str, float]:
    """Where the fastest tenth ends, in milliseconds."""
    return {"p10": round(sorted(seconds)[len(seconds) // 10] * 1e3, 2)}


def _take_turns(pairs: Sequence[tuple[Node, Subject]], rounds: int) -> dict[str, list[list[float]]]:
    pods = [node.new_pods(rounds + 1) for node, _ in pairs]
    took: dict[str, list[list[float]]] = {"ADD": [[], []], "DEL": [[], []]}
    for number in range(rounds + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            node, subject = pairs[which]
            for verb, times in took.items():
                times[which].append(node.call(subject, verb, pods[which][number]))
            node.wait_gone(subject)
    # The very first round warms caches up and makes the bridge: it is not counted.
    return {verb: [times[1:] for times in of_verb] for verb, of_verb in took.items()}


def ratio(one: Sequence[float], both: Sequence[float]) -> dict[str, float]:
    """Of the medians, with its interval. The same values have the same."""
    chance = random.Random(len(one))
    drawn = [
        statistics.median(chance.choices(both, k=len(both))) / statistics.median(chance.choices(one, k=len(one)))
        for _ in range(DRAWS)
    ]
    low, high = (percentile(drawn, edge) for edge in BETWEEN)
    found = statistics.median(both) / statistics.median(one)
    return {"ratio": round(found, 3), "low": round(low, 3), "high": round(high, 3)}


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    from bench.__main__ import build_plugin

    parser = argparse.ArgumentParser(prog="bench families", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=60, help="default 60, at most 120")
    parser.add_argument("--mode", type=ModeName, choices=list(ModeName), default=ModeName.TRANSPARENT)
    parser.add_argument("--plugin", type=Path, help="our CNI binary; built when left out")
    options = parser.parse_args(arguments)
    if not 2 <= options.rounds <= 120:
        parser.error("--rounds must be 2 to 120: each round uses one of a node's 250 addresses until it has cooled")
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch:
        plugin = options.plugin or build_plugin(Path(scratch))
        try:
            figures = run(plugin, Path(scratch), rounds=options.rounds, mode=options.mode)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    for verb, found in figures.items():
        print(
            f"{verb}: p50 {found['one']['p50']} ms with one family, {found['both']['p50']} ms with both: "
            f"{found['ratio']} times ({found['low']} to {found['high']}); the fastest tenth ends at "
            f"{found['one']['p10']} and {found['both']['p10']} ms"
        )
    print(f"aim: ADD at most {AIM} times: {'met' if figures['ADD']['ratio'] <= AIM else 'missed'}")
    return 0
