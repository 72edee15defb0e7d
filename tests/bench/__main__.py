"""ADD and DEL of azure-cni beside the reference plugins, on this machine, in one run.

    PYTHONPATH=operator:tests:e2e python -m bench [--rounds 60] [--json FILE] [--plugin BINARY] [--reference DIRECTORY]
        [--mode transparent|bridge] [--load N]
    PYTHONPATH=operator:tests:e2e python -m bench speed ...     (what a packet pays: `bench.speed`)
    PYTHONPATH=operator:tests:e2e python -m bench docker ...    (start of a container of Docker: `bench.docker`)
    PYTHONPATH=operator:tests:e2e python -m bench families ...  (pods with both families: `bench.families`)
    PYTHONPATH=operator:tests:e2e python -m bench cli ...       (how long `azure-cni` takes: `bench.command_line`)
    PYTHONPATH=operator:tests:e2e python -m bench kubelet ...   (pods and nodes of the box: `bench.kubelet`)

Needs root. What is not given is built and kept as the box does it. Three parts:

1. side by side: in each round every subject adds and deletes one sandbox, in turns, alone on the machine's network;
2. a full node: 250 sandboxes one after another; the last 30 beside the first 30, in turns with ptp's on another node;
   with `--load N`, beside N processes that compute without a pause;
3. a burst: 30 sandboxes at once, five times over.

Times are those of the whole call (`bench.node`), so the start of a process is in all of them. Nothing here passes or
fails by a time: the figures are printed, and beside those that have an aim whether it was met.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from azure_cni.model.identity import ModeName
from azurebox import tools
from bench import command_line, docker, families, kubelet, speed
from bench.full_node import full_nodes
from bench.node import AT_ONCE, BenchError, Node, Subject
from bench.times import EDGE, summary
from datapath.namespaces import Namespaces

OURS = "azure-cni"
BURSTS = 5

PLUGIN_SOURCE = Path(__file__).parents[2] / "operator" / "cni-plugin"

Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures where asked."""
    given = sys.argv[1:] if arguments is None else arguments
    others = {
        "families": families.main,
        "speed": speed.main,
        "docker": docker.main,
        "cli": command_line.main,
        "kubelet": kubelet.main,
    }
    if given and given[0] in others:
        return others[given[0]](given[1:])
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--rounds", type=int, default=60, help="rounds of the side by side part (default 60, at most 120)"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures, in milliseconds")
    parser.add_argument("--plugin", type=Path, help="our CNI binary; built when left out")
    parser.add_argument("--reference", type=Path, help="directory with ptp, bridge and host-local; built when left out")
    parser.add_argument(
        "--mode", type=ModeName, choices=list(ModeName), default=ModeName.TRANSPARENT, help="of our pods"
    )
    parser.add_argument(
        "--load", type=int, default=0, help="processes that compute beside the full node, at most 16, default none"
    )
    options = parser.parse_args(given)
    if not 0 <= options.load <= 16:
        parser.error("--load must be 0 to 16")
    if not 2 <= options.rounds <= 120:
        parser.error("--rounds must be 2 to 120: each round uses one of the node's 250 addresses until it has cooled")
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch:
        plugin = options.plugin or build_plugin(Path(scratch))
        reference = options.reference or _build_reference()
        try:
            figures = _measure(Path(scratch), plugin=plugin, reference=reference, options=options)
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    _print(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def _measure(scratch: Path, *, plugin: Path, reference: Path, options: argparse.Namespace) -> Figures:
    mode, rounds = options.mode, options.rounds
    with Namespaces() as namespaces, _node(namespaces, scratch) as node:
        ptp = node.reference("ptp", reference, "10.250.0.0/16")
        bridge = node.reference("bridge", reference, "10.251.0.0/16")
        with node.agent(plugin, mode=mode) as ours:
            beside = _side_by_side(node, [ours, ptp, bridge], rounds)
        with node.agent(plugin, mode=mode) as ours, _node(namespaces, scratch) as other:
            full = full_nodes([(node, ours), (other, ptp)], load=options.load)
        with node.agent(plugin, mode=mode) as ours:
            bursts = {subject.name: _burst(node, subject) for subject in (ours, ptp)}
    return {"mode": mode.value, "rounds": rounds, "side_by_side": beside, "full_node": full, "burst": bursts}


@contextlib.contextmanager
def _node(namespaces: Namespaces, scratch: Path) -> Iterator[Node]:
    node = Node(namespaces, scratch)
    try:
        yield node
    finally:
        node.close()


def _side_by_side(node: Node, subjects: list[Subject], rounds: int) -> Figures:
    """Each round begins with another subject, so that none always follows the same one."""
    pods = {subject.name: node.new_pods(rounds + 1) for subject in subjects}
    took: dict[str, dict[str, list[float]]] = {subject.name: {"ADD": [], "DEL": []} for subject in subjects}
    for number in range(rounds + 1):
        first = number % len(subjects)
        for subject in subjects[first:] + subjects[:first]:
            pod = pods[subject.name][number]
            for verb in ("ADD", "DEL"):
                took[subject.name][verb].append(node.call(subject, verb, pod))
            node.wait_gone(subject)
    # The very first round warms caches up and makes the bridge: it is not counted.
    return {name: {verb: summary(times[1:]) for verb, times in verbs.items()} for name, verbs in took.items()}


def _burst(node: Node, subject: Subject) -> Figures:
    pods = node.new_pods(AT_ONCE)
    took: dict[str, list[float]] = {"ADD": [], "DEL": []}
    for _ in range(BURSTS):
        for verb, times in took.items():
            times.extend(node.call_all(subject, verb, pods))
        node.wait_gone(subject)
    return {verb: summary(times) for verb, times in took.items()}


def _print(figures: Figures) -> None:
    beside = figures["side_by_side"]
    print(f"mode {figures['mode']}")
    print(f"side by side, {figures['rounds']} rounds, ms      ADD p50     p99    DEL p50     p99    of ptp: ADD    DEL")
    for name, verbs in beside.items():
        add, delete = verbs["ADD"], verbs["DEL"]
        ratios = [verbs[verb]["p50"] / beside["ptp"][verb]["p50"] for verb in ("ADD", "DEL")]
        times = f"{add['p50']:>11.1f} {add['p99']:>7.1f} {delete['p50']:>10.1f} {delete['p99']:>7.1f}"
        print(f"  {name:<32}{times}    {ratios[0]:>11.2f} {ratios[1]:>6.2f}")
    ratio = {verb: beside[OURS][verb]["p50"] / beside["ptp"][verb]["p50"] for verb in ("ADD", "DEL")}
    print(f"  of ptp: ADD {judged(ratio['ADD'], aim=0.5)}, DEL {judged(ratio['DEL'], aim=0.2)}")
    _print_full(figures["full_node"])
    for name, verbs in figures["burst"].items():
        add, delete = verbs["ADD"], verbs["DEL"]
        print(
            f"{AT_ONCE} at once, {name}: ADD p50 {add['p50']} p99 {add['p99']} ms, "
            f"DEL p50 {delete['p50']} p99 {delete['p99']} ms"
        )
    ratio_p99 = figures["burst"][OURS]["ADD"]["p99"] / figures["burst"]["ptp"]["ADD"]["p99"]
    print(f"  ADD p99 of ptp's: {judged(ratio_p99, aim=0.35)}")


def _print_full(full: Figures) -> None:
    print(f"full node, beside {full['computing']} processes that compute, last {EDGE} of 250 beside the first {EDGE}:")
    for name in (OURS, "ptp"):
        one = full[name]
        ratio = judged(one["ratio"], aim=1.1) if name == OURS else one["ratio"]
        times = f"{one['first']['p50']} and {one['last']['p50']} ms"
        print(f"  {name}: ADD p50 {times}, ratio {ratio}, between {one['low']} and {one['high']}")
    beside = full["beside"]
    print(f"  as a part of ptp's: ratio {beside['ratio']}, between {beside['low']} and {beside['high']}")


def judged(value: float, *, aim: float) -> str:
    """The value with its aim, and whether it was met: "0.45 (aim: at most 0.7, met)"."""
    missed = f"missed on this machine, with {os.cpu_count()} CPUs and a load of {os.getloadavg()[0]:.1f}"
    return f"{value:.4g} (aim: at most {aim:g}, {'met' if value <= aim else missed})"


def build_plugin(scratch: Path) -> Path:
    """Our CNI binary, as the image has it."""
    go, environment = tools.go_command("go")
    binary = scratch / "azure-cni"
    subprocess.run(
        [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "."],
        cwd=PLUGIN_SOURCE,
        env=environment | {"CGO_ENABLED": "0"},
        check=True,
    )
    return binary


def _build_reference() -> Path:
    tools.ensure_tools((tools.REFERENCE,))
    return tools.path("ptp").parent


if __name__ == "__main__":
    sys.exit(main())
