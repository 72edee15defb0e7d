"""`status` and `why`: is the cluster well, and why has this pod no address or no traffic?"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from azure_cni import __version__
from azure_cni.api.conditions import holds
from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import cluster_command, namespace_flags
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit, facts, progress, table
from azure_cni.diagnose.check_results import CheckList, CheckResult
from azure_cni.diagnose.checks import NOT_ASKED, check_all, check_before
from azure_cni.diagnose.evidence import ENDED, ClusterEvidence, EventFacts, PodFacts
from azure_cni.diagnose.findings import ERROR, Finding
from azure_cni.diagnose.overview import NodeRow, Overview, QuotaRow, survey
from azure_cni.diagnose.pod_diagnosis import PodDiagnosis, explain_pod
from azure_cni.diagnose.pool_findings import NAMED_BY_AGENTS, Problems
from azure_cni.errors import ConfigInvalid, KubeDenied, KubeError, KubeNotFound, KubeUnreachable
from azure_cni.model.text import counted

if TYPE_CHECKING:
    from rich.console import Console

LOOK_AGAIN_S: Final = 2.0
PodWithEvents = tuple[PodFacts, tuple[EventFacts, ...]]


@click.command()
@click.option("--wait", is_flag=True, help="Wait until nothing is wrong.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds to wait at most.")
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
    evidence = reads.read_cluster(access, settings=True)
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


@click.command(short_help="Say why a pod has no address or no traffic.")
@click.argument("pod", required=False)
@namespace_flags
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="All pods that wait, in all namespaces.")
@cluster_command
def why(access: ClusterAccess, form: Form, *, pod: str | None, namespace: str | None, everywhere: bool) -> ExitCode:
    """Say why POD has no address or no traffic: the cause, since when, what comes next, and who must do what.

    POD is a name or NAMESPACE/NAME. Without it: all pods of the namespace that wait. Exits with 1 if something is
    wrong with one of them.
    """
    namespace = namespace or access.namespace
    evidence = reads.read_cluster(access)
    if pod is not None:
        if everywhere:
            raise ConfigInvalid("cannot use -A with the name of a pod: say in which namespace it is, with -n")
        namespace, _, name = pod.partition("/") if "/" in pod else (namespace, "", pod)
        answers = _explained(access, evidence, [reads.read_pod(access, namespace, name)])
    else:
        waiting = [
            one
            for one in evidence.pods
            if (everywhere or one.namespace == namespace)
            and not (one.addresses or one.host_network or one.phase in ENDED)
        ]
        if not evidence.knows("pods"):
            raise KubeDenied(f"cannot say which pods wait: {'; '.join(evidence.unread)}; name one: azure-cni why POD")
        with progress(f"asking about {counted(len(waiting), 'pod')}"):
            found = reads.at_once(lambda one: _read_listed(access, one), waiting)
            answers = _explained(access, evidence, [one for one in found if one is not None])
    emit(answers, form, _show_diagnoses)
    return ExitCode.WELL if all(one.healthy for one in answers) else ExitCode.WRONG


def _read_listed(access: ClusterAccess, pod: PodFacts) -> PodWithEvents | None:
    """None for one that was deleted after it was listed."""
    try:
        return reads.read_pod(access, pod.namespace, pod.name)
    except KubeNotFound:
        return None


def _explained(access: ClusterAccess, evidence: ClusterEvidence, pods: Sequence[PodWithEvents]) -> list[PodDiagnosis]:
    """In the pods' order. Each agent is asked once, however many of its node's pods wait: an answer is a process there,
    in the memory that the agent has.
    """
    by_node = defaultdict[str, list[PodWithEvents]](list)
    for one in pods:
        by_node[one[0].node].append(one)
    found = [
        diagnosis
        for diagnoses in reads.at_once(lambda on_node: _explain_node(access, evidence, on_node), by_node.values())
        for diagnosis in diagnoses
    ]
    order = {pod.full_name: place for place, (pod, _) in enumerate(pods)}
    return sorted(found, key=lambda one: order[one.pod])


def _explain_node(
    access: ClusterAccess, evidence: ClusterEvidence, pods: Sequence[PodWithEvents]
) -> list[PodDiagnosis]:
    """Pods of one node, with its agent's own answer where it may be asked; without it the objects say enough."""
    node, report = pods[0][0].node, None
    agent = evidence.agent(node)
    asked = any(not pod.addresses or pod.asks or pod.egress for pod, _ in pods)
    if agent is not None and agent.ready and asked:
        try:
            report = reads.ask_agent(access, agent)
        except KubeError:
            report = None
    return [explain_pod(pod, evidence, events, now_s=time.time(), report=report) for pod, events in pods]


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
    return row.node, "?" if row.ready is None else str(row.ready), row.reason, *map(str, numbers), row.agent


def _quota_cells(row: QuotaRow) -> tuple[str, ...]:
    numbers = (row.limit, row.granted, row.assigned, row.used_by_others)
    return row.quota, str(row.ready), *map(str, numbers), f"{row.writes_left:g} of {row.writes_kept:g}"


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


def _show_diagnoses(console: Console, answers: list[PodDiagnosis]) -> None:
    if not answers:
        console.print(f"{GOOD} no pod waits for an address", style="green")
    for number, one in enumerate(answers):
        if number:
            console.print()
        console.print(f"{GOOD if one.healthy else BAD} {one.pod}: {one.cause}", style="green" if one.healthy else "red")
        console.print(
            facts(
                [
                    ("node", one.node),
                    ("means", one.meaning),
                    ("since", one.since),
                    ("said", one.message),
                    ("next", one.next_step),
                    ("who", f"{one.actor}: {one.do}"),
                    ("do", one.command),
                    ("more", one.page),
                    *(("note", note) for note in one.notes),
                ]
            )
        )
