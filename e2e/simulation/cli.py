"""The command line: which run, how large, how fast, with which faults."""

import argparse
import asyncio
import shutil
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from azurebox import tools
from azurebox.facts import REPOSITORY
from simulation import drawing, report
from simulation.cluster import Cluster, new_directory
from simulation.measures import beside_the_budget, beside_the_demand, beside_the_honest, took_s
from simulation.plan import PRESETS, Scenario, seeded
from simulation.run import Outcome, Simulation
from simulation.shapes import mixed

OUTPUT = REPOSITORY / "build" / "simulation"
DESCRIPTION = (
    "Many nodes with real controllers and a real API server on a fake Azure; fails at the first instant at which a "
    "limit is passed. Counts are addresses, times simulated seconds. See docs/simulation.md."
)
SLOWER = 4
"""By so much, what was not done in time is repeated. What passes a limit is not repeated."""
OPTIONS = tuple(one for one in fields(Scenario) if one.name != "name")


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
    parser = argparse.ArgumentParser(prog="make simulate ARGS='...'", usage="%(prog)s", description=DESCRIPTION)
    sizes = "; ".join(f"{one.name}: {one.nodes} nodes, {one.demand:,} wanted" for one in PRESETS.values())
    parser.add_argument("preset", nargs="?", choices=list(PRESETS), default="ci", help=f"{sizes}. Default: ci")
    for option in OPTIONS:
        kind = type(getattr(PRESETS["ci"], option.name))
        parser.add_argument(f"--{_dashed(option.name)}", type=kind, metavar="N", help=option.metadata["help"])
    parser.add_argument("--seed", type=int, metavar="N", help="let things go wrong, in the order of this seed")
    parser.add_argument("--seeds", metavar="FIRST-LAST", help="one run for each of these seeds, until one fails")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that went well")
    options = parser.parse_args(argv)
    try:
        mixed(options.mix or "vm")
    except ValueError as error:
        parser.error(str(error))
    return options


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """What of the preset is changed."""
    given = {option.name: getattr(options, option.name) for option in OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def _seeded(options: argparse.Namespace) -> bool:
    return options.seed is not None or bool(options.seeds)


def _scenario(options: argparse.Namespace) -> Scenario:
    preset = PRESETS[options.preset]
    return replace(seeded(preset) if _seeded(options) else preset, **_given(options))


def _again(options: argparse.Namespace, seed: int) -> str:
    """The command that makes one run once more."""
    words = [options.preset, *(f"--{_dashed(name)} {value}" for name, value in _given(options).items())]
    return f"make simulate ARGS='{' '.join([*words, *([f'--seed {seed}'] if _seeded(options) else [])])}'"


def _seeds(options: argparse.Namespace) -> list[int]:
    if options.seeds:
        first, _, last = options.seeds.partition("-")
        return list(range(int(first), int(last or first) + 1))
    return [options.seed or 0]


def _slower(options: argparse.Namespace) -> argparse.Namespace | None:
    """The same at less speed; None for a run in real time.

    At speed all deadlines are as much shorter, and a busy machine meets none of them: then leaders change all the time.
    """
    speed = _scenario(options).speed
    return None if speed <= 1 else argparse.Namespace(**{**vars(options), "speed": max(1.0, speed / SLOWER)})


async def _run(options: argparse.Namespace, directory: Path) -> int:
    """All runs on one control plane."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    cluster = Cluster(directory)
    failed = True
    try:
        await cluster.start()
        without_s = await _without_lies(cluster, options, directory) if _scenario(options).liars else None
        for number, seed in enumerate(_seeds(options)):
            if number or without_s is not None:
                await cluster.clear()
            path = directory / f"run-{seed}"
            outcome = await _one(cluster, options, seed=seed, directory=path, without_s=without_s)
            if outcome.late and (slower := _slower(options)):
                print(f"seed {seed}: perhaps the machine was too busy; once more at speed {slower.speed:g}", flush=True)
                await cluster.clear()
                path = directory / f"run-{seed}-slower"
                outcome = await _one(cluster, slower, seed=seed, directory=path, without_s=without_s)
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


async def _without_lies(cluster: Cluster, options: argparse.Namespace, directory: Path) -> float:
    """How long the honest nodes take to their last address while nobody lies."""
    path = directory / "without-lies"
    path.mkdir()  # nothing else runs yet
    scenario = replace(_scenario(options), rest_s=0.0)
    simulation = Simulation(cluster, scenario, seed=0, directory=path, say=partial(print, flush=True), lying=False)
    outcome = await _judged(simulation, path / "run.log")
    if outcome.failure:
        raise RuntimeError(f"without lies: {outcome.failure}")
    print(f"without lies: {took_s(outcome):.0f} s to the last address", flush=True)
    return took_s(outcome)


async def _one(
    cluster: Cluster, options: argparse.Namespace, *, seed: int, directory: Path, without_s: float | None
) -> Outcome:
    """One run and its report; how it went. `without_s`: what it took without lies, if there are some."""
    directory.mkdir()  # noqa: ASYNC240  # nothing else runs yet
    began_s, scenario = time.monotonic(), _scenario(options)
    simulation = Simulation(cluster, scenario, seed=seed, directory=directory, say=partial(print, flush=True))
    outcome = await _judged(simulation, directory / "run.log")
    seconds = time.monotonic() - began_s
    if without_s is not None and not outcome.failure:
        outcome.failure = beside_the_honest(outcome, without_s=without_s)
    if without_s is not None and outcome.liars is not None and not outcome.failure:
        took, liars = took_s(outcome), outcome.liars
        print(
            f"seed {seed}: as it must be; {took:.0f} s to the last address of {scenario.honest} honest nodes, "
            f"{took / without_s:.2f} times as long as without liars, and as it must be {outcome.rest_s:.0f} s later; "
            f"{liars.taken} lies taken by the API server, {liars.refused} refused; most on NICs "
            f"{outcome.history.judge.most_on_nics} of {scenario.limit}; {seconds:.0f} s",
            flush=True,
        )
        return outcome
    if scenario.faults_s and not outcome.failure:
        print(
            f"seed {seed}: as it must be, after {len(outcome.injected)} faults; most on NICs "
            f"{outcome.history.judge.most_on_nics} of {scenario.limit}; {seconds:.0f} s",
            flush=True,
        )
        return outcome
    words = [*report.lines(outcome), f"  it took                   {seconds:.0f} s"]
    drawn = drawing.draw(outcome, words, OUTPUT)
    print("\n".join([*words, *(f"  drawn in                  {path}" for path in drawn)]), flush=True)
    if outcome.failure:
        print("\n".join(["what went wrong on purpose before:", *outcome.injected]) if outcome.injected else "")
        print(f"again: {_again(options, seed)}", flush=True)
    return outcome


async def _judged(simulation: Simulation, log: Path) -> Outcome:
    """How it went. An error that breaks a run off fails it like any other: its seed and its logs must be shown."""
    outcome = simulation.outcome
    try:
        await simulation.carry_out()
    except Exception as error:  # noqa: BLE001  # whatever it is
        log.write_text(traceback.format_exc())  # noqa: ASYNC240  # nothing else runs any more
        outcome.failure = f"broken off by {error!r}: see {log}"
    outcome.failure = outcome.failure or beside_the_demand(outcome) or beside_the_budget(outcome)
    return outcome
