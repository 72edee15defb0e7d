"""The command line: which run, how large, how fast, with which faults."""

import argparse
import asyncio
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from azurebox import tools
from azurebox.facts import REPOSITORY
from simulation import drawing, report
from simulation.cluster import Cluster, new_directory
from simulation.measures import beside_the_budget
from simulation.plan import PRESETS, Scenario, seeded
from simulation.run import Outcome, Simulation

OUTPUT = REPOSITORY / "build" / "simulation"


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 1 when something was not as it must be."""
    options = _options(argv)
    if shutil.which("etcd") is None:
        print("cannot simulate: etcd is not installed; e2e/box packages does that")
        return 1
    tools.ensure_tools((tools.KUBERNETES,))
    try:
        return asyncio.run(_run(options, new_directory()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; everything is ended")
        return 130


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate ARGS='...'", description=__doc__)
    parser.add_argument("preset", nargs="?", choices=list(PRESETS), default="ci")
    for field in fields(Scenario):
        if field.name != "name":
            kind = type(getattr(PRESETS["ci"], field.name))
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind)
    parser.add_argument("--seed", type=int, help="let things go wrong, in the order of this seed")
    parser.add_argument("--seeds", help="FIRST-LAST: one run for each, until one fails")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that went well")
    return parser.parse_args(argv)


def _scenario(options: argparse.Namespace) -> Scenario:
    given = {field.name: getattr(options, field.name, None) for field in fields(Scenario)}
    scenario = PRESETS[options.preset]
    if options.seed is not None or options.seeds:
        scenario = seeded(scenario)
    return replace(scenario, **{name: value for name, value in given.items() if value is not None})


def _seeds(options: argparse.Namespace) -> list[int]:
    if options.seeds:
        first, _, last = options.seeds.partition("-")
        return list(range(int(first), int(last or first) + 1))
    return [options.seed or 0]


async def _run(options: argparse.Namespace, directory: Path) -> int:
    """All runs on one control plane."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    cluster = Cluster(directory)
    scenario, failed = _scenario(options), True
    try:
        await cluster.start()
        for number, seed in enumerate(_seeds(options)):
            if number:
                await cluster.clear()
            outcome = await _one(cluster, scenario, seed=seed, directory=directory / f"run-{seed}")
            if outcome.failure:
                break
        else:
            failed = False
    finally:
        await cluster.stop()
        if failed or options.keep:
            print(f"logs: {directory}")
        else:
            shutil.rmtree(directory)
    return int(failed)


async def _one(cluster: Cluster, scenario: Scenario, *, seed: int, directory: Path) -> Outcome:
    directory.mkdir()  # noqa: ASYNC240  # nothing else runs yet
    began_s = time.monotonic()
    simulation = Simulation(cluster, scenario, seed=seed, directory=directory, say=partial(print, flush=True))
    outcome = await simulation.carry_out()
    outcome.failure = outcome.failure or beside_the_budget(outcome)
    seconds = time.monotonic() - began_s
    if scenario.faults_s and not outcome.failure:
        print(
            f"seed {seed}: as it must be, after {len(outcome.troubles)} faults; most on NICs "
            f"{outcome.history.judge.most_on_nics} of {scenario.limit}; {seconds:.0f} s",
            flush=True,
        )
        return outcome
    words = [*report.lines(outcome), f"  it took                   {seconds:.0f} s"]
    drawn = drawing.draw(outcome, words, OUTPUT)
    print("\n".join([*words, *(f"  drawn in                  {path}" for path in drawn)]), flush=True)
    if outcome.failure:
        print("\n".join(["what went wrong on purpose before:", *outcome.troubles]) if outcome.troubles else "")
        print(f"again: make simulate ARGS='{scenario.name}{f' --seed {seed}' if scenario.faults_s else ''}'")
    return outcome
