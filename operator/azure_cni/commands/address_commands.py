"""`addresses`, `who` and `plan`: what a node has, who has an address, and which write of the NIC comes next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click
import msgspec

from azure_cni.api.introspection import NodeReport, PaceReport, WriteReport
from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import cluster_command
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit, facts, progress, table
from azure_cni.diagnose.address_rows import AddressRow, compare, from_api
from azure_cni.diagnose.evidence import ClusterEvidence, ProcessFacts
from azure_cni.diagnose.holders import History, Holders, find_holders, parse_address, parse_time, with_history
from azure_cni.diagnose.pauses import NodePause
from azure_cni.errors import ConfigInvalid
from azure_cni.model.text import counted

if TYPE_CHECKING:
    from rich.console import Console


SHORT_ID: Final = 13


class AddressList(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `addresses`. `unasked`: agents that were not, each with the reason."""

    addresses: list[AddressRow]
    differences: int
    unasked: list[str]


class PlanAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `plan`."""

    node: str
    time: str
    nic_age_s: float | None
    write: WriteReport
    report: NodeReport
    pause: NodePause | None = None
    budget: str = ""
    """What the VNet's write budget has left for all nodes, in words; "" where no VNetQuota was read."""


@click.command(short_help="List every address, and where sources differ.")
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--check", is_flag=True, help="Ask the agents too, and exit with 1 if anything differs.")
@cluster_command
def addresses(access: ClusterAccess, form: Form, *, nodes: tuple[str, ...], check: bool) -> ExitCode:
    """List every address with its state, its pod and since when, of NODE or of all nodes.

    With NODE or --check the agents are asked (this needs the right to create pods/exec in their namespace), and ledger,
    kernel, NIC and API server stand side by side. Else the API server alone is asked.
    """
    evidence = reads.read_cluster(access)
    reads.require_nodes(evidence, nodes)
    asks, away = _agents(evidence, nodes) if check or nodes else ([], [])
    with progress(f"asking {counted(len(asks), 'agent')}"):
        reports, unasked = reads.ask_agents(access, asks)
    rows = compare(reports, evidence)
    answered = {report.node for report in reports}
    rest = [pool.name for pool in evidence.pools if pool.name not in answered and (not nodes or pool.name in nodes)]
    rows = sorted([*rows, *(from_api(evidence, rest) if rest else ())], key=lambda row: row.node)
    silent = list(dict.fromkeys([*evidence.unread, *away, *unasked]))
    answer = AddressList(rows, sum(bool(row.differs) for row in rows), silent)
    emit(answer, form, _show_addresses)
    if (check and answer.unasked) or not evidence.knows("pools"):
        return ExitCode.NO_ANSWER
    return ExitCode.WRONG if check and answer.differences else ExitCode.WELL


@click.command(short_help="Say which pod or node has an address, or had it.")
@click.argument("address")
@click.option("--at", metavar="TIME", help="Who had it then: 2026-11-28T06:19:00Z, UTC where no zone is named.")
@click.option("--history", is_flag=True, help="Also who had it before, as far as is known.")
@click.option("--node", "nodes", metavar="NODE", multiple=True, help="Ask the agents of these nodes only; repeatable.")
@cluster_command
def who(
    access: ClusterAccess, form: Form, *, address: str, at: str | None, history: bool, nodes: tuple[str, ...]
) -> ExitCode:
    """Say which pod or node has ADDRESS, and which NIC it is on; or who had it, by the nodes' audit trails.

    --at and --history ask the agents, which needs the right to create pods/exec in their namespace. Exits with 1 if two
    pods have it, or a pod whose node's NIC has not got it; with 3 if it is not known who has it, or with --at had it.
    """
    if nodes and at is None and not history:
        raise ConfigInvalid(
            "--node says whose audit trails are read: give it with --at TIME or --history; without them no agent is "
            "asked, and the answer is that of the whole cluster"
        )
    moment = parse_time(at, now_s=time.time()) if at is not None else ""
    evidence = reads.read_cluster(access)
    found = find_holders(parse_address(address, ipv6=not (moment or history)), evidence)
    if moment or history:
        reads.require_nodes(evidence, nodes)
        asks, away = _agents(evidence, nodes)
        with progress(f"asking {counted(len(asks), 'agent')}"):
            trails, unasked = reads.ask_trails(access, asks, found.address)
        found = with_history(found, trails, [*away, *unasked], at=moment)
    emit(found, form, _show_holders)
    return _outcome(found)


@click.command(short_help="Show the next write of a node's NIC, and why.")
@click.argument("node")
@cluster_command
def plan(access: ClusterAccess, form: Form, *, node: str) -> ExitCode:
    """Show the write of NODE's NIC that comes next, as a difference, why, and what it waits for.

    It asks the node's agent, which needs the right to create pods/exec in its namespace.
    """
    evidence = reads.read_cluster(access, pods=False)
    report = reads.ask_agent(access, reads.require_agent(evidence, node))
    answer = PlanAnswer(
        node,
        report.time,
        report.nic.age_s if report.nic else None,
        report.next_write,
        report,
        evidence.pauses.get(node),
        _budget(evidence, node),
    )
    emit(answer, form, _show_plan)
    return ExitCode.WRONG if report.failures else ExitCode.WELL


def _agents(evidence: ClusterEvidence, nodes: tuple[str, ...]) -> tuple[list[ProcessFacts], list[str]]:
    """One of each of these nodes, or of all; and about each node that has none, and cannot be asked, why."""
    known = {agent.node for agent in evidence.agents} | {pool.name for pool in evidence.pools}
    found = {node: evidence.agent(node) for node in nodes or sorted(known)}
    away = [f"node {node}: there is no pod of an agent" for node, agent in found.items() if agent is None]
    unread = [evidence.missing[name] for name in ("agents", "pools") if not evidence.knows(name)]
    if not nodes or not evidence.knows("agents"):
        away = unread or away or ([] if found else ["there is no agent to ask"])
    return [agent for agent in found.values() if agent is not None], away


def _show_addresses(console: Console, answer: AddressList) -> None:
    head = ("NODE", "ADDRESS", "STATE", "POD", "SINCE", "KERNEL", "IPCONFIGURATION", "API", "DIFFERS")
    console.print(
        table(
            head,
            [
                (row.node, row.address, row.state, row.pod, row.since, row.kernel, row.nic, row.api, row.differs)
                for row in answer.addresses
            ],
        )
    )
    if answer.differences:
        console.print(f"\n{BAD} {counted(answer.differences, 'address differs', 'addresses differ')}", style="red")
    for words in answer.unasked:
        console.print(f"{DOUBTFUL} {words}", style="yellow")


def _outcome(found: Holders) -> ExitCode:
    """Of a time that is over, two pods are no contradiction: one may have followed the other within a second."""
    past = found.history is not None and bool(found.history.at)
    if found.contradicts and not past:
        return ExitCode.WRONG
    return ExitCode.NO_ANSWER if found.unknown else ExitCode.WELL


def _show_holders(console: Console, found: Holders) -> None:
    signs = {ExitCode.WRONG: (BAD, "red"), ExitCode.NO_ANSWER: (DOUBTFUL, "yellow")}
    sign, style = signs.get(_outcome(found), (GOOD, "green"))
    console.print(f"{sign} {found.verdict}", style=style)
    if found.history is not None:
        _show_history(console, found.history)
    if found.present and not (found.history and found.history.at):
        rows = [(one.kind, one.name, one.node, one.nic.rpartition("/")[2], one.config) for one in found.present]
        console.print(table(("KIND", "NAME", "NODE", "NIC", "IPCONFIGURATION"), rows))
    for words in found.unread:
        console.print(f"{DOUBTFUL} {words}", style="yellow")


def _show_history(console: Console, history: History) -> None:
    if history.tenures:
        rows = [
            (one.holder, one.place, one.begin, _end(one.end, one.end_not_before), one.uid, one.container[:SHORT_ID])
            for one in history.tenures
        ]
        console.print(table(("POD", "NODE", "FROM", "TO", "UID", "CONTAINER"), rows))
    for words in history.unknown:
        console.print(f"{DOUBTFUL} {words}", style="yellow")


def _end(at: str, not_before: str) -> str:
    if not at:
        return f"not known, after {not_before}" if not_before else "now"
    return f"between {not_before} and {at}" if not_before else at


def _budget(evidence: ClusterEvidence, node: str) -> str:
    pool = evidence.pool(node)
    quota = evidence.quota(pool.vnet_id) if pool is not None else None
    if quota is None or quota.tokens is None:
        return ""
    return f"for all nodes (VNetQuota {quota.name}), NIC writes left: {quota.tokens.tokens:.1f}"


def _pace(pace: PaceReport) -> str:
    if not pace.at_once:
        return ""  # an agent of before
    waits = f"; what waits is written at {pace.next_at}" if pace.next_at else ""
    return f"{pace.left} of {counted(pace.at_once, 'write')} at once, then one each {pace.every_s:.0f} s{waits}"


def _show_plan(console: Console, answer: PlanAnswer) -> None:
    write, pool = answer.write, answer.report.pool
    age = "never" if answer.nic_age_s is None else f"{answer.nic_age_s:.0f} s ago"
    due = write.not_before or ("under way" if write.under_way else "at once")
    console.print(
        facts(
            [
                ("next write", "none" if write.kind == "None" else f"{write.kind}, {due}"),
                ("why", write.why),
                ("pause", f"{answer.pause.in_words}; end it: azure-cni resume {answer.node}" if answer.pause else ""),
                ("waits for", "; ".join(write.waits)),
                ("held", f"{pool.held} of at most {pool.ceiling}; {pool.target} wanted, {pool.granted} granted"),
                ("budget", answer.budget),
                ("attaching", _pace(answer.report.attachment_pace)),
                ("NIC read", age),
                *(("fails", f"{one.activity}: {one.reason}: {one.message}") for one in answer.report.failures),
            ]
        )
    )
    if write.add:
        console.print(f"+ {counted(write.add, 'address', 'addresses')} that Azure chooses", style="green")
    for removal in write.remove:
        console.print(f"- {removal.address} {removal.config}", style="red")
    for change in write.attach:
        for resource in change.add:
            console.print(f"+ {change.address} {resource}", style="green")
        for resource in change.remove:
            console.print(f"- {change.address} {resource}", style="red")
    for one in answer.report.attachments:
        if not one.done:
            again = f"; tried again at {one.retry_at}" if one.retry_at else ""
            console.print(f"{DOUBTFUL} {one.namespace}/{one.pod}: {one.reason}: {one.message}{again}", style="yellow")
