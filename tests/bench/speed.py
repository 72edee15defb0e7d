"""What a packet pays: pods of azure-cni in each mode, pods of ptp, and the nodes themselves, in turns in one run.

    PYTHONPATH=operator:tests:e2e python -m bench.speed [--rounds 20] [--seconds 0.5] [--json FILE] [--plot FILE]
        [--reference DIRECTORY]

Needs root. Pairs of nodes (`bench.network`) stand side by side. In each round every way between two ends is measured
once, in an order that changes: TCP throughput, how long a request of one byte and its answer take, and connections per
second (`bench.traffic`). What is compared is the ratio to host to host in the same round, because other work on the
machine comes and goes. Nothing passes or fails by a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azure_cni.model.identity import ModeName
from azurebox import tools
from bench import speed_plot, traffic
from bench.network import Pair, Way
from bench.node import BenchError
from bench.speed_figures import Values, figures, table
from datapath.namespaces import Namespaces

HOST = "host to host"
KINDS = ("stream", "requests", "connections")
SLACK_S = 30.0
END_WITHIN_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(prog="bench.speed", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20, help="default 20, 2 to 200")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement, default 0.5, 0.05 to 10")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--plot", type=Path, help="where to draw them (SVG)")
    parser.add_argument("--reference", type=Path, help="directory with ptp and host-local; built when left out")
    options = parser.parse_args(arguments)
    if not 2 <= options.rounds <= 200 or not 0.05 <= options.seconds <= 10:
        parser.error("--rounds must be 2 to 200, and --seconds 0.05 to 10")
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    try:
        found = measured(options.reference or _reference(), rounds=options.rounds, seconds=options.seconds)
    except BenchError as error:
        print(f"bench.speed: {error}", file=sys.stderr)
        return 1
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.plot:
        options.plot.write_text(speed_plot.drawn(found))
    return 0


def measured(reference: Path, *, rounds: int, seconds: float) -> dict[str, Any]:
    """All figures as a document (`speed_figures.figures`), with the machine and its load."""
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch, Namespaces() as namespaces:
        ways = asyncio.run(_ways(namespaces, reference, Path(scratch)))
        with served(ways.values()):
            values = in_turns(ways, rounds=rounds, seconds=seconds)
    machine = {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
    }
    return {"machine": machine, "rounds": rounds, "seconds": seconds} | figures(values, base=HOST)


async def _ways(namespaces: Namespaces, reference: Path, scratch: Path) -> dict[str, Way]:
    ways = {HOST: Pair(namespaces).host_to_host()}
    pairs: dict[str, Pair] = {}
    for mode in ModeName:
        pairs[f"azure-cni, {mode.value}"] = pair = Pair(namespaces)
        await pair.wire(mode)
    pairs["ptp"] = pair = Pair(namespaces)
    pair.wire_by_ptp(reference, scratch)
    return ways | {f"{name}, {way}": ends for name, pair in pairs.items() for way, ends in pair.pod_to_pod().items()}


@contextmanager
def served(ways: Iterable[Way]) -> Iterator[None]:
    """While somebody answers at the end of each way."""
    processes = []
    try:
        for way in ways:
            process = subprocess.Popen(_inside(way.target.path, "serve", way.address), stdout=subprocess.PIPE)
            processes.append(process)
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise BenchError(f"nobody answers at {way.address} in {way.target.name}")
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=END_WITHIN_S)


def in_turns(ways: Mapping[str, Way], *, rounds: int, seconds: float) -> Values:
    """Each round begins with another way, and every second one goes backwards."""
    values: Values = {}
    names = list(ways)
    for number in range(rounds):
        at = number % len(names)
        order = (names[at:] + names[:at])[:: -1 if number % 2 else 1]
        for kind in KINDS:
            for name in order:
                for metric, value in _measured(ways[name], kind, seconds).items():
                    values.setdefault(metric, {}).setdefault(name, []).append(value)
    return values


def _measured(way: Way, kind: str, seconds: float) -> dict[str, float]:
    command = _inside(way.source.path, kind, way.address, str(seconds))
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + SLACK_S, check=False)
    if done.returncode:
        raise BenchError(f"cannot measure {kind} from {way.source.name} to {way.address}: {done.stderr[-500:]}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _inside(netns: str, *arguments: str) -> list[str]:
    return ["nsenter", f"--net={netns}", sys.executable, "-S", str(traffic.__file__), *arguments]


def _reference() -> Path:
    tools.ensure_tools((tools.REFERENCE,))
    return tools.path("ptp").parent


if __name__ == "__main__":
    sys.exit(main())
