"""`status` and `check`: is the cluster well, and is it as it has to be?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from azure_cni import __version__
from azure_cni.api.conditions import holds
from azure_cni.commands import program_reads, reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import SECONDS, cluster_command
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit, facts, progress, table
from azure_cni.diagnose.check_results import CheckList, CheckResult
from azure_cni.diagnose.checks import NOT_ASKED, check_all, check_before
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.findings import ERROR, Finding
from azure_cni.diagnose.overview import NodeRow, Overview, QuotaRow, survey
from azure_cni.diagnose.pool_findings import NAMED_BY_AGENTS, Problems
from azure_cni.errors import ConfigInvalid, KubeUnreachable
from azure_cni.model.text import counted

if TYPE_CHECKING:
    from rich.console import Console

LOOK_AGAIN_S: Final = 2.0


@click.command()
@click.option("--wait", is_flag=True, help="Wait until nothing is wrong.")
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, help="Seconds to wait at most.")
@cluster_command
def status(access: ClusterAccess, form: Form, *, wait: bool, timeout: float) -> ExitCode:
    """Show the cluster on one screen, what is wrong first.

    Exits with 1 if something is wrong, warnings included.
    """
    until_s = time.monotonic() + (timeout if wait else 0.0)
    while True:
        found, left_s = _look(access, may_fail=time.monotonic() < until_s), until_s - time.monotonic()
        if found is not None and (not found.findings or left_s <= 0):
            break
        wrong = f"{counted(len(found.findings), 'thing')} wrong" if found else "the API server does not answer"
        with progress(f"{wrong}, {left_s:.0f} s left"):
            time.sleep(max(0.0, min(LOOK_AGAIN_S, left_s)))
    emit(found, form, _show_overview)
    if found.findings:
        return ExitCode.WRONG
    return ExitCode.WELL if found.well else ExitCode.NO_ANSWER


def _look(access: ClusterAccess, *, may_fail: bool) -> Overview | None:
    """None where the API server does not answer, and `may_fail`: it is asked again."""
    try:
        return survey(reads.read_cluster(access, pods=False), version=__version__)
    except KubeUnreachable:
        if may_fail:
            return None
        raise


@click.command(short_help="Check nodes, cluster and azure-cni; or files, for CI (-f).")
@click.option("--pre", is_flag=True, help="Before the install: only what must be right then.")
@click.option("--azure", is_flag=True, help="Ask Azure too, with your own login, for what only Azure knows.")
@click.option(
    "--resource-group",
    "groups",
    metavar="ID",
    multiple=True,
    help="With --azure: look for VMs there by the names of Nodes that do not name theirs; repeatable.",
)
@click.option(
    "-f",
    "--file",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Check this file instead, without a cluster: values of the chart, manifests, a conflist; repeatable.",
)
@click.option("--chart", metavar="DIR", type=click.Path(path_type=Path), help="The chart that -f checks by.")
@cluster_command
def check(
    access: ClusterAccess | None,
    form: Form,
    *,
    pre: bool,
    azure: bool,
    groups: tuple[str, ...],
    files: tuple[Path, ...],
    chart: Path | None,
) -> ExitCode:
    """Check nodes, cluster and, where it is installed, azure-cni itself; or files (-f).

    What it finds has the command that mends it, where one does. It looks at what the API server shows, and asks the
    agents of nodes with a HostConflict or PermissionMissing. Exits with 1 if a check is bad, else with 3 if one could
    not be made; warnings alone exit with 0.
    """
    if access is None:
        if pre or azure:
            flag = "--pre" if pre else "--azure"
            raise ConfigInvalid(
                f"cannot use {flag} with -f: files are checked without a cluster; leave one of them out"
            )
        from azure_cni.commands.lint import lint_files

        return lint_files(files, form, chart=chart)
    if chart is not None:
        raise ConfigInvalid("cannot use --chart without -f: it says by which chart files are checked")
    evidence = program_reads.with_programs(access, reads.read_cluster(access, settings=True))
    if pre:
        before = evidence.knows("nodes", "pods", "kubeProxy")  # other objects are of kinds that only the install brings
        checks, unread = check_before(evidence), [] if before else list(evidence.unread)
    else:
        problems, unasked = _problems(access, evidence)
        overview = survey(evidence, version=__version__, problems=problems)
        checks = check_all(evidence, overview, version=__version__, now_s=time.time())
        unread = [*evidence.unread, *unasked]
    if azure:
        from azure_cni.commands.azure_access import SdkAccess
        from azure_cni.commands.cloud_reads import CloudReader
        from azure_cni.diagnose.cloud_checks import check_cloud

        checks += check_cloud(CloudReader(SdkAccess(), groups=groups).read(evidence))
    answer = CheckList(checks, unread, [] if azure else [NOT_ASKED])
    emit(answer, form, _show_checks)
    codes = {CheckResult.BAD: ExitCode.WRONG, CheckResult.UNKNOWN: ExitCode.NO_ANSWER}
    return codes.get(answer.worst, ExitCode.WELL)


def _problems(access: ClusterAccess, evidence: ClusterEvidence) -> tuple[Problems, tuple[str, ...]]:
    """What agents name the commands for, of those nodes whose conditions say that there is something."""
    nodes = {pool.name for pool in evidence.pools if any(holds(pool.status, kind) for kind in NAMED_BY_AGENTS)}
    agents = [one for one in map(evidence.agent, sorted(nodes)) if one is not None and one.ready]
    with progress(f"asking {counted(len(agents), 'agent')}"):
        reports, unasked = reads.ask_agents(access, agents)
    said = tuple(f"the commands that mend it are not known: {words}" for words in unasked)
    return {one.node: one.problems for one in reports}, said


def _show_overview(console: Console, found: Overview) -> None:
    for finding in found.findings:
        _show_finding(console, finding)
    if found.well:
        console.print(f"{GOOD} nothing is wrong", style="green")
    elif not found.findings:
        console.print(f"{DOUBTFUL} nothing wrong was found, and not everything could be read", style="yellow")
    console.print(f"\ncontroller: {found.controllers}   versions: {', '.join(found.versions) or 'unknown'}\n")
    head: tuple[str, ...] = (
        "NODE",
        "READY",
        "REASON",
        "ALLOCATED",
        "ASSIGNED",
        "FREE",
        "COOLING",
        "GRANTED",
        "WAITING",
        "AGENT",
    )
    console.print(table(head, [_node_cells(row) for row in found.nodes]))
    console.print()
    head = ("VNETQUOTA", "READY", "LIMIT", "GRANTED", "ASSIGNED", "OTHERS", "WRITES")
    console.print(table(head, [_quota_cells(row) for row in found.quotas]))
    for words in found.unread:
        console.print(f"{DOUBTFUL} {words}", style="yellow")


def _node_cells(row: NodeRow) -> tuple[str, ...]:
    numbers = (row.allocated, row.assigned, row.free, row.cooling, row.granted, row.waiting)
    return row.node, _whether(row.ready), row.reason, *map(str, numbers), row.agent or "?"


def _whether(known: bool | None) -> str:  # noqa: FBT001  # a cell of a table
    return "?" if known is None else str(known)


def _quota_cells(row: QuotaRow) -> tuple[str, ...]:
    numbers = (row.limit, row.granted, row.assigned, row.used_by_others)
    return row.quota, _whether(row.ready), *map(str, numbers), f"{row.writes_left:g} of {row.writes_kept:g}"


def _show_finding(console: Console, finding: Finding) -> None:
    mark, style = (BAD, "red") if finding.severity == ERROR else (DOUBTFUL, "yellow")
    console.print(f"{mark} {finding.about}: {finding.code}", style=style)
    since = f" (since {finding.since})" if finding.since else ""
    console.print(
        facts(
            [
                (" ", f"{finding.message}{since}"),
                (" ", f"{finding.actor}: {finding.do}"),
                (" ", f"on {finding.node}: {finding.command}" if finding.node else finding.command),
                (" ", finding.page),
            ]
        )
    )


def _show_checks(console: Console, answer: CheckList) -> None:
    signs = {
        CheckResult.GOOD: (GOOD, "green"),
        CheckResult.WARNING: (DOUBTFUL, "yellow"),
        CheckResult.BAD: (BAD, "red"),
        CheckResult.UNKNOWN: (DOUBTFUL, "yellow"),
    }
    group = ""
    for one in answer.checks:
        if one.group != group:
            group = one.group
            console.print(f"\n{group}", style="bold")
        sign, style = signs[one.result]
        console.print(f"{sign} {one.message} [{one.code}]", style=style)
        if one.result is not CheckResult.GOOD:
            on_node = f"on {one.node}:" if one.node else ""
            console.print(facts([(" ", one.do), (" ", f"{on_node} {one.command}".strip()), (" ", one.page)]))
    for words in answer.unread:
        console.print(f"{DOUBTFUL} {words}", style="yellow")
    for words in answer.notes:
        console.print(f"\n{words}")
