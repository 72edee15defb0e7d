"""`test`: proves the network on the user's own cluster, with pods of its own that are gone afterwards."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import SECONDS, cluster_command
from azure_cni.commands.lab_keeper import LabKeeper
from azure_cni.commands.network_run import run_checks
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit, facts
from azure_cni.diagnose.network_checks import CODES, NetworkCheck, NetworkResult, junit_xml
from azure_cni.diagnose.network_lab import IMAGE, NAMESPACE, choose_nodes
from azure_cni.errors import ConfigInvalid, KubeDenied, KubeError
from azure_cni.model.text import few

if TYPE_CHECKING:
    from rich.console import Console

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNS: Final = {
    NetworkResult.GOOD: (GOOD, "green"),
    NetworkResult.WARNING: (DOUBTFUL, "yellow"),
    NetworkResult.BAD: (BAD, "red"),
    NetworkResult.SKIPPED: ("-", "dim"),
}


class RunInterrupted(Exception):
    """A signal came; what was made has to go first."""


class SignalGuard:
    """SIGINT, SIGTERM and SIGHUP end the work where it is, once: later ones do not disturb what comes after it.

    While it is not `armed` they do nothing. In a thread, where no signal arrives, it does nothing at all; and who is
    started with SIGHUP ignored (nohup) goes on when the terminal is closed.
    """

    def __init__(self) -> None:
        self.armed = True
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            wanted = [one for one in SIGNALS if one is signal.SIGINT or signal.getsignal(one) is not signal.SIG_IGN]
            self._before = {one: signal.signal(one, self._take) for one in wanted}

    def __exit__(self, *_: object) -> None:
        for one, handling in self._before.items():
            signal.signal(one, handling)

    def _take(self, number: int, _: object) -> None:
        if self.armed:
            self.armed = False
            raise RunInterrupted(f"interrupted by {signal.Signals(number).name}")


class NetworkTestAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `test`. `unfinished`: why not all was tried; `left`: why something was not removed, or was kept."""

    namespace: str
    nodes: list[str]
    seconds: float
    checks: list[NetworkCheck]
    unfinished: str = ""
    left: str = ""


class CleanAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `test --clean`. `left`: why something was not removed, "" where nothing stays."""

    namespace: str
    left: str


@click.command(short_help="Prove the network with three pods on two nodes.")
@click.option("-n", "--namespace", metavar="NAME", default=NAMESPACE, show_default=True, help="Where its pods run.")
@click.option("--node", "nodes", metavar="NODE", multiple=True, help="Test on this node; twice at most.")
@click.option(
    "--image",
    metavar="IMAGE",
    default=IMAGE,
    envvar="AZURE_CNI_TEST_IMAGE",
    show_default=True,
    show_envvar=True,
    help="With agnhost as its entry point, and sh and curl.",
)
@click.option("--outbound", metavar="URL", default="", help="Also reach this; best if it answers whom it sees.")
@click.option("--timeout", type=SECONDS, default=90.0, show_default=True, help="Seconds until the pods must run.")
@click.option("--junit", metavar="FILE", type=click.Path(path_type=Path), help="Write the results there, as JUnit XML.")
@click.option("--keep", is_flag=True, help="Remove nothing afterwards.")
@click.option("--clean", is_flag=True, help="Only remove what a test left that was killed, or run with --keep.")
@cluster_command
def test(
    access: ClusterAccess,
    form: Form,
    *,
    namespace: str,
    nodes: tuple[str, ...],
    image: str,
    outbound: str,
    timeout: float,
    junit: Path | None,
    keep: bool,
    clean: bool,
) -> ExitCode:
    """Prove the network with three pods on two nodes: pods, nodes, a Service, DNS, the way out, and what is refused.

    The pods run in a namespace of their own, with Pod Security "restricted", and are removed in the end, also when it
    is interrupted; where the namespace is there already, only they are. It asks in the pods, by pods/exec there. Exits
    with 1 if a check is bad, with 3 if not all was tried or something was left.
    """
    reads.require_names(namespace=namespace)
    keeper = LabKeeper(access, namespace, uuid.uuid4().hex[:10])
    if clean:
        return _clean(keeper, form)
    if junit is not None and not junit.absolute().parent.is_dir():
        raise ConfigInvalid(f"cannot write {junit}: there is no directory {junit.absolute().parent}")
    if outbound and "://" not in outbound:
        outbound = f"http://{outbound}"
    began_s = time.monotonic()
    evidence = reads.read_cluster(access, pods=False)
    if not evidence.knows("nodes"):
        raise KubeDenied(f"cannot choose nodes to test on: {evidence.missing['nodes']}; the ClusterRole azure-cni-cli")
    chosen = choose_nodes(evidence, nodes)
    checks: list[NetworkCheck] = []

    def work() -> None:
        keeper.make(chosen, image=image, until_s=began_s + timeout)
        run_checks(access, keeper, evidence, chosen, checks, outbound=outbound, until_s=began_s + timeout)

    unfinished, left = _carried_out(work, keeper, keep=keep)
    seconds = time.monotonic() - began_s
    if junit is not None:
        _write(junit, junit_xml(_with_end(checks, unfinished), seconds=seconds))
    names = [node.name for node in chosen]
    answer = NetworkTestAnswer(namespace, names, round(seconds, 1), checks, unfinished, left)
    emit(answer, form, _show_results)
    if any(one.result is NetworkResult.BAD for one in checks):
        return ExitCode.WRONG
    return ExitCode.NO_ANSWER if unfinished or (left and not keep) else ExitCode.WELL


def _carried_out(work: Callable[[], None], keeper: LabKeeper, *, keep: bool) -> tuple[str, str]:
    """Why not all was done, and what was left of it; "" for nothing. It is removed whatever happens meanwhile."""
    unfinished, guard = "", SignalGuard()
    with guard:
        try:
            try:
                work()
            finally:
                guard.armed = False
        except RunInterrupted as interruption:
            unfinished = str(interruption)
        except KubeError as error:
            unfinished = f"the test ended early: {error}"
        finally:
            kept = f"everything was kept; remove it: azure-cni test --clean -n {keeper.namespace}" if keep else ""
            left = kept or keeper.remove()
    return unfinished, left


def _clean(keeper: LabKeeper, form: Form) -> ExitCode:
    answer = CleanAnswer(keeper.namespace, keeper.remove_all())
    emit(answer, form, _show_clean)
    return ExitCode.NO_ANSWER if answer.left else ExitCode.WELL


def _show_clean(console: Console, answer: CleanAnswer) -> None:
    sign, style = (BAD, "red") if answer.left else (GOOD, "green")
    nothing = f"nothing of azure-cni test stays in namespace {answer.namespace}"
    console.print(f"{sign} {answer.left or nothing}", style=style)


def _with_end(checks: Sequence[NetworkCheck], unfinished: str) -> list[NetworkCheck]:
    """A build server must not take a test that was cut off for one that passed."""
    ended = NetworkCheck("Unfinished", "", NetworkResult.BAD, unfinished, "run it again", CODES)
    return [*checks, *([ended] if unfinished else [])]


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigInvalid(f"cannot write {path}: {error.strerror}") from error


def _show_results(console: Console, answer: NetworkTestAnswer) -> None:
    for one in answer.checks:
        sign, style = SIGNS[one.result]
        where = f"{one.source} " if one.source else ""
        console.print(f"{sign} {where}{one.message} [{one.code}]", style=style)
        if one.result in {NetworkResult.BAD, NetworkResult.WARNING}:
            console.print(facts([(" ", one.do.replace("NAMESPACE", answer.namespace)), (" ", one.page)]))
    for words in (answer.unfinished, answer.left):
        if words:
            console.print(f"{DOUBTFUL} {words}", style="yellow")
    bad = sum(one.result is NetworkResult.BAD for one in answer.checks)
    good = sum(one.result is NetworkResult.GOOD for one in answer.checks)
    sign, style = (BAD, "red") if bad else (DOUBTFUL, "yellow") if answer.unfinished else (GOOD, "green")
    console.print(f"{sign} {good} good, {bad} bad, in {answer.seconds:.0f} s on {few(answer.nodes)}", style=style)
