"""`python -m netpol`, which `e2e/box policy` becomes: the engine on each node, upstream's specs and cyclonus' cases."""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from azurebox import release, tools
from azurebox.controlplane import people_environment
from azurebox.facts import AGNHOST, CONTROL_PLANE, KUBECONFIG, LOGS
from azurebox.machine import NETNS
from azurebox.steps import StepError, capture, say, step
from netpol.engine import engine_on_nodes
from netpol.report import passed, shards, specs_of, table

DESCRIPTION = (
    "kube-network-policies' engine on each node of the box, over azure-cni's data plane, and against it Kubernetes' "
    "own specs for NetworkPolicy and cyclonus' cases. Fails when one of them does. See docs/works-beside.md."
)
SPECS, CASES = "specs", "cases"
SCTP = Path("/proc/net/sctp")
"""There where the kernel has that protocol."""
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
    """Run them; 1 when one failed or was not reached."""
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
    reports, running = list[Path](), dict[str, subprocess.Popen[bytes]]()
    LOGS.mkdir(parents=True, exist_ok=True)
    with _ended(running):
        if chosen.only != CASES:
            names = _names(chosen.focus)
            for number, focus in enumerate(shards(names, chosen.at_once)):
                reports.append(LOGS / f"netpol-specs-{number}.json")
                reports[-1].unlink(missing_ok=True)
                running[f"specs-{number}"] = _begin(f"specs-{number}", _specs(focus, reports[-1]))
        if chosen.only != SPECS:
            which = ["-only", chosen.cases] if chosen.cases else ["-every", str(chosen.every)]
            probes = [str(tools.path("probes")), *which, AGNHOST]
            running[CASES] = _begin(CASES, probes)
        with step("specs and cases"):
            codes = _wait(running, chosen.minutes * 60)
    found = [spec for report in reports for spec in specs_of(report)]
    if chosen.only != CASES:
        print("\n".join(table(found, len(names))), flush=True)
    if CASES in running:
        print("\n".join(_log(CASES).read_text().splitlines()[-1:]), flush=True)
        print(f"each case: {_log(CASES)}")
    whole = chosen.only == CASES or (len(found) == len(names) and all(map(passed, found)))
    return 0 if whole and codes.get(CASES, 0) == 0 else 1


def _names(focus: str) -> list[str]:
    """Of the specs that this kernel can carry out."""
    listed = LOGS / "netpol-specs.json"
    listed.unlink(missing_ok=True)
    capture(_command(_specs(focus, listed, "-ginkgo.dry-run")), what="list the specs", env=people_environment())
    names = [spec.name for spec in specs_of(listed)]
    if not names:
        raise StepError(f"no spec's name has {focus!r}", advice="say another --focus; it is a regular expression")
    left_out = [] if SCTP.exists() else [name for name in names if re.search(WITHOUT_SCTP, name)]
    if left_out:
        say(f"left out, for this kernel has no SCTP: {len(left_out)} of {len(names)} specs")
    return [name for name in names if name not in left_out]


def _specs(focus: str, report: Path, *flags: str) -> list[str]:
    return [
        str(tools.path("specs")), f"-kubeconfig={KUBECONFIG}", "-provider=local", "-dump-logs-on-failure=false",
        f"-ginkgo.focus={focus}", f"-ginkgo.json-report={report}", "-ginkgo.no-color", "-ginkgo.v",
        "-ginkgo.timeout=24h", *flags,
    ]  # fmt: skip


def _command(argv: Sequence[str]) -> list[str]:
    return ["nsenter", f"--net={NETNS / CONTROL_PLANE}", "--", *argv]


def _log(name: str) -> Path:
    return LOGS / f"netpol-{name}.log"


def _begin(name: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
    with _log(name).open("wb") as log:
        return subprocess.Popen(_command(argv), env=people_environment(), stdout=log, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def _ended(running: dict[str, subprocess.Popen[bytes]]) -> Iterator[None]:
    """They end with this program, and remove what they made in the cluster."""
    try:
        yield
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()


def _wait(running: dict[str, subprocess.Popen[bytes]], seconds: float) -> dict[str, int | None]:
    """Until all have ended, or that long; their codes, None for one that still runs."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s and any(process.poll() is None for process in running.values()):
        time.sleep(1)
    codes = {name: process.poll() for name, process in running.items()}
    say(json.dumps(codes))
    return codes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
