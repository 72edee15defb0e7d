"""The command line of `make soak`, and its exit status."""

import argparse
import random
import signal
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import NoReturn

from azurebox import release
from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import Node
from scenarios.harness.product import Product
from scenarios.harness.stage import Stage
from soak import table
from soak.faults import FAULTS
from soak.run import Soak
from soak.verdict import failures

DESCRIPTION = (
    "Pods come and go on the box for some minutes while one fault after the other happens, in the order of a seed. "
    "Fails when one of them is not survived, an address leaks, a log has an error that nobody expects, or a process "
    "takes more than before. See docs/reliability.md."
)
MINUTES = 30.0
WARM_S = 30.0
HIGHEST_SEED = 9999


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="make soak ARGS='...'", usage="%(prog)s", description=DESCRIPTION)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long faults happen, default %(default)g")
    parser.add_argument(
        "--mode", choices=release.MODES, default=release.MODES[0], help="how pods hang on nodes, default %(default)s"
    )
    parser.add_argument(
        "--nic-writer",
        choices=("agent", "controller"),
        default="agent",
        help="who writes the NICs, default %(default)s",
    )
    parser.add_argument("--seed", type=int, help="which faults in which order; without it, another each time")
    parser.add_argument(
        "--warm-seconds", type=float, default=WARM_S, help="pods without faults before, default %(default)g"
    )
    parser.add_argument(
        "--only", action="append", choices=list(FAULTS), default=[], metavar="FAULT", help="; ".join(FAULTS)
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run it; 1 when something was not as it must be."""
    chosen = options(arguments)
    seed = random.randint(1, HIGHEST_SEED) if chosen.seed is None else chosen.seed
    signal.signal(signal.SIGTERM, _interrupt)
    print(
        f"soak: {chosen.minutes:g} minutes, mode {chosen.mode}, NICs by the {chosen.nic_writer}, seed {seed}",
        flush=True,
    )
    try:
        box = Box()
        product = Product(box, nic_writer=chosen.nic_writer, mode=chosen.mode)
        stage = Stage(box, product, Cloud(box), [Node(box, name) for name in box.nodes][:2])
        soak = Soak(stage, chosen.minutes, seed, chosen.warm_seconds, partial(print, flush=True), tuple(chosen.only))
        outcome = soak.carry_out()
    except StepError as error:
        print(f"\n{error}")
        return 1
    print("\n".join([f"\nsoak of {chosen.minutes:g} minutes, mode {chosen.mode}, seed {seed}", *table.lines(outcome)]))
    if not any(failures(outcome)):
        return 0
    print(f"again: make soak ARGS='{again(chosen, seed)}'")
    return 1


def again(chosen: argparse.Namespace, seed: int) -> str:
    """The arguments that make this run once more."""
    only = "".join(f' --only "{name}"' for name in chosen.only)
    return f"--minutes {chosen.minutes:g} --mode {chosen.mode} --nic-writer {chosen.nic_writer} --seed {seed}{only}"


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """As Ctrl-C does: what was changed is put back."""
    raise KeyboardInterrupt
