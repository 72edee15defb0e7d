"""`writes`: which writes of NICs were made, by whom, why, and what came of them, by the nodes' audit trails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click
import msgspec

from azure_cni.api.audit_reports import NicWriteReport, WritesReport
from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import cluster_command
from azure_cni.commands.output import DOUBTFUL, ExitCode, Form, emit, progress, table
from azure_cni.diagnose.holders import parse_address, parse_time
from azure_cni.model.text import addresses, counted, few

if TYPE_CHECKING:
    from rich.console import Console

SUCCEEDED: Final = "Succeeded"


class WriteRow(msgspec.Struct, frozen=True, rename="camel"):
    """A write, and whose NIC it is."""

    node: str
    write: NicWriteReport


class WritesAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `writes`, oldest first. `unknown`: nodes and times of which nobody can say anything, in words."""

    writes: list[WriteRow]
    unknown: list[str]


@click.command(short_help="List the writes of NICs: by whom, why, what, result.")
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--since", metavar="TIME", help="Only writes since then: 2026-11-28T06:19:00Z, UTC without a zone.")
@click.option("--address", metavar="ADDRESS", help="Only writes that brought or took that address.")
@click.option("--failed", is_flag=True, help="Only writes that did not succeed.")
@cluster_command
def writes(
    access: ClusterAccess, form: Form, *, nodes: tuple[str, ...], since: str | None, address: str | None, failed: bool
) -> ExitCode:
    """List the writes of the NICs of NODE or of all nodes: when, by whom, why, what changed, and the result.

    The agents are asked for their audit trails, which needs the right to create pods/exec in their namespace. Exits
    with 3 if one could not be asked, or its trail does not know all since then.
    """
    moment = parse_time(since, now_s=time.time()) if since is not None else ""
    wanted = parse_address(address) if address is not None else ""
    evidence = reads.read_cluster(access, pods=False)
    reads.require_nodes(evidence, nodes)
    names = nodes or sorted({agent.node for agent in evidence.agents} | {pool.name for pool in evidence.pools})
    found = {node: evidence.agent(node) for node in names}
    asks = [agent for agent in found.values() if agent is not None]
    with progress(f"asking {counted(len(asks), 'agent')}"):
        reports, unasked = reads.ask_writes(access, asks)
    away = [f"node {node}: there is no pod of an agent" for node, agent in found.items() if agent is None]
    rows = [
        WriteRow(report.node, write)
        for report in reports
        for write in report.writes
        if write.time >= moment
        and (not wanted or wanted in {*write.came, *write.went})
        and not (failed and write.result == SUCCEEDED)
    ]
    unknown = [*evidence.unread, *away, *unasked, *(words for report in reports for words in _unknown(report, moment))]
    emit(WritesAnswer(sorted(rows, key=lambda row: row.write.time), unknown), form, _show)
    return ExitCode.NO_ANSWER if unknown else ExitCode.WELL


def _unknown(report: WritesReport, since: str) -> list[str]:
    """Which writes since then may be missing. Without a time, what the trail has is all that was asked for."""
    if report.error:
        return [f"node {report.node}: {report.error}"]
    if not since:
        return []
    begins = report.begins or "no time yet"
    late = (
        [] if report.begins and report.begins <= since else [f"node {report.node}: its audit trail begins at {begins}"]
    )
    holes = [
        f"node {report.node}: its audit trail has a hole from {one.begin} to {one.end}"
        for one in report.holes
        if one.end >= since and (one.lost or one.begin != one.end)  # times are whole seconds
    ]
    return [*late, *holes]


def _show(console: Console, answer: WritesAnswer) -> None:
    cells = [
        (
            row.write.time,
            row.node,
            row.write.writer or "?",
            _what(row.write),
            row.write.reason,
            row.write.result,
            row.write.etag,
        )
        for row in answer.writes
    ]
    console.print(table(("TIME", "NODE", "BY", "WHAT", "WHY", "RESULT", "ETAG"), cells))
    for words in answer.unknown:
        console.print(f"{DOUBTFUL} {words}", style="yellow")


def _what(write: NicWriteReport) -> str:
    """The addresses where they were seen, else how many were asked for."""
    done = [*_addresses("+", write.came, write.added), *_addresses("-", write.went, write.removed)]
    if write.attached:
        done.append(f"attachments of {counted(write.attached, 'pod')}")
    return "; ".join(done) or "as it was"


def _addresses(sign: str, seen: Sequence[str], asked: int) -> list[str]:
    if seen:
        return [f"{sign}{len(seen)}: {few(seen)}"]
    return [f"{sign}{addresses(asked)} asked for"] if asked else []
