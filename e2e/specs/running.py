"""Upstream's specs as processes at the box's control plane: which there are, several of them at once, and their end.

`tools/specs` is the program that has them. Each process runs a share of the specs and leaves a report.
"""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from azurebox import lifecycle, tools
from azurebox.controlplane import people_environment
from azurebox.facts import CONTROL_PLANE, KUBECONFIG, LOGS
from azurebox.machine import NETNS
from azurebox.steps import StepError, capture, say
from specs.report import Spec, shards, specs_of

END_S = 60.0
"""For a process to remove what it made in the cluster."""

Running = dict[str, subprocess.Popen[bytes]]


def names(focus: str) -> list[str]:
    """Of the specs whose name has this regular expression. StepError: none has."""
    listed = LOGS / "specs.json"
    LOGS.mkdir(parents=True, exist_ok=True)
    listed.unlink(missing_ok=True)
    capture(_command(_argv(focus, listed, "-ginkgo.dry-run")), what="list the specs", env=people_environment())
    found = [spec.name for spec in specs_of(listed)]
    if not found:
        raise StepError(f"no spec's name has {focus!r}", advice="say another --focus; it is a regular expression")
    return found


def begin_specs(running: Running, chosen: Sequence[str], at_once: int) -> list[Path]:
    """Begin these specs in as many processes, and say where their reports will be."""
    reports = list[Path]()
    for number, focus in enumerate(shards(chosen, at_once)):
        reports.append(LOGS / f"specs-{number}.json")
        reports[-1].unlink(missing_ok=True)
        begin(running, f"specs-{number}", _argv(focus, reports[-1]))
    return reports


def found_in(reports: Sequence[Path]) -> list[Spec]:
    """What the reports have."""
    return [spec for report in reports for spec in specs_of(report)]


def begin(running: Running, name: str, argv: Sequence[str]) -> None:
    """Begin a program at the control plane, with the rights of the cluster's administrator."""
    with log_of(name).open("wb") as log:
        running[name] = subprocess.Popen(_command(argv), env=people_environment(), stdout=log, stderr=subprocess.STDOUT)


def log_of(name: str) -> Path:
    """What a program wrote."""
    return LOGS / f"{name}.log"


@contextlib.contextmanager
def ended() -> Iterator[Running]:
    """Programs that end with this one, and remove what they made in the cluster."""
    running = Running()
    try:
        yield running
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
            process.kill()


def wait(running: Running, seconds: float) -> dict[str, int | None]:
    """Until all have ended, or that long; their codes, None for one that still runs."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s and any(process.poll() is None for process in running.values()):
        time.sleep(1)
    codes = {name: process.poll() for name, process in running.items()}
    say(json.dumps(codes))
    return codes


def _argv(focus: str, report: Path, *flags: str) -> list[str]:
    return [
        str(tools.path("specs")), f"-kubeconfig={KUBECONFIG}", "-provider=local", "-dump-logs-on-failure=false",
        f"-ginkgo.focus={focus}", f"-ginkgo.json-report={report}", "-ginkgo.no-color", "-ginkgo.v",
        "-ginkgo.timeout=24h", f"-num-nodes={len(lifecycle.node_machines())}", *flags,
    ]  # fmt: skip


def _command(argv: Sequence[str]) -> list[str]:
    return ["nsenter", f"--net={NETNS / CONTROL_PLANE}", "--", *argv]
