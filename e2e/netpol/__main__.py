"""`python -m netpol`, which `e2e/box policy` becomes: the engine on each node, upstream's specs and cyclonus' cases."""

import argparse
import re
import sys
from collections.abc import Sequence

from azurebox import release, tools
from azurebox.facts import AGNHOST
from azurebox.steps import StepError, say, step
from netpol.engine import engine_on_nodes
from specs import running
from specs.choice import SCTP
from specs.report import shown, table

DESCRIPTION = (
    "kube-network-policies' engine on each node of the box, over azure-cni's data plane, and against it Kubernetes' "
    "own specs for NetworkPolicy and cyclonus' cases. Fails when one of them does. See docs/works-beside.md."
)
SPECS, CASES = "specs", "cases"
WITHOUT_SCTP = r"Feature:SCTPConnectivity"


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="e2e/box policy", description=DESCRIPTION)
    parser.add_argument("--mode", choices=release.MODES, help="how pods hang on nodes")
    parser.add_argument("--only", choices=(SPECS, CASES), help="one of the two")
    parser.add_argument("--focus", default="Netpol", help="which specs, as a regular expression; default all")
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="specs at a time, default %(default)s")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th case of cyclonus")
    parser.add_argument(
        "--cases", default="", metavar="N,N...", help="only these cases, by the numbers that a run prints"
    )
    parser.add_argument("--minutes", type=float, default=60, help="end what still runs then, default %(default)g")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run them; 1 when one failed or was not reached, or when no spec passed."""
    chosen = options(arguments)
    try:
        tools.ensure_tools((tools.POLICY, tools.SPECS, tools.PROBES))
        print(f"policy: mode {release.mode()}", flush=True)
        with engine_on_nodes():
            return _carry_out(chosen)
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def _carry_out(chosen: argparse.Namespace) -> int:
    names = _names(chosen.focus) if chosen.only != CASES else []
    with running.ended() as programs:
        reports = running.begin_specs(programs, names, chosen.at_once)
        if chosen.only != SPECS:
            which = ["-only", chosen.cases] if chosen.cases else ["-every", str(chosen.every)]
            running.begin(programs, CASES, [str(tools.path("probes")), *which, AGNHOST])
        with step("specs and cases"):
            codes = running.wait(programs, chosen.minutes * 60)
        found = running.found_in(reports)
    if chosen.only != CASES:
        print("\n".join(table(found, len(names))), flush=True)
    if CASES in codes:
        print("\n".join(running.log_of(CASES).read_text().splitlines()[-1:]), flush=True)
        print(f"each case: {running.log_of(CASES)}")
    return 0 if (chosen.only == CASES or shown(found, len(names))) and codes.get(CASES, 0) == 0 else 1


def _names(focus: str) -> list[str]:
    """Of the specs that this kernel can carry out."""
    names = running.names(focus)
    left_out = [] if SCTP.exists() else [name for name in names if re.search(WITHOUT_SCTP, name)]
    if left_out:
        say(f"left out, for this kernel has no SCTP: {len(left_out)} of {len(names)} specs")
    return [name for name in names if name not in left_out]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
