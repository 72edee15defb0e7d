"""`python -m specs`, which `e2e/box specs` becomes: Kubernetes' own specs for the network, against azure-cni."""

import argparse
import sys
from collections.abc import Sequence

from azurebox import clusterdns, lifecycle, release, tools
from azurebox.steps import StepError, say, step
from specs import images, running
from specs.choice import choose
from specs.report import shown, table

DESCRIPTION = (
    "Kubernetes' own specs for the network (Services, DNS, probes of traffic between pods and nodes, and with a box of "
    "both families those for dual stack) on the box's nodes. Fails when one of them does, and when none passes."
)


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="e2e/box specs", description=DESCRIPTION)
    parser.add_argument("--mode", choices=release.MODES, help="how pods hang on nodes")
    parser.add_argument("--focus", default=r"\[sig-network\]", help="which specs, as a regular expression; default all")
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="specs at a time, default %(default)s")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th spec")
    parser.add_argument("--minutes", type=float, default=90, help="end what still runs then, default %(default)g")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run them; 1 when one failed or was not reached, or when none passed."""
    chosen = options(arguments)
    try:
        tools.ensure_tools((tools.SPECS,))
        print(f"specs: mode {release.mode()}", flush=True)
        machines = lifecycle.node_machines()
        with step(f"images on {len(machines)} nodes"):
            for machine in machines:
                images.load(machine)
        with step("cluster DNS"):
            clusterdns.apply()
            clusterdns.await_ready()
        return _carry_out(chosen)
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _carry_out(chosen: argparse.Namespace) -> int:
    names, left_out = choose(running.names(chosen.focus), dual_stack=lifecycle.DUAL_STACK.exists())
    names = names[:: chosen.every]
    for why, number in left_out.items():
        say(f"left out: {number} specs that {why}")
    with running.ended() as programs:
        reports = running.begin_specs(programs, names, chosen.at_once)
        with step(f"{len(names)} specs"):
            running.wait(programs, chosen.minutes * 60)
        found = running.found_in(reports)
    print("\n".join(table(found, len(names))), flush=True)
    return 0 if shown(found, len(names), may_skip=True) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
