"""`forecast`: when addresses run out, and how large pools should be, by what the nodes' audit trails saw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click
import msgspec

from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import Amount, cluster_command
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit, progress, table
from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.forecasts import ForecastRow, forecast_rows, report_time_s, subnet_names, wrong_clocks
from azure_cni.diagnose.sizing_advice import SizingAdvice, advise
from azure_cni.errors import ConfigInvalid, KubeNotFound
from azure_cni.ipam.exhaustion import Outlook
from azure_cni.model.text import addresses, counted, few

if TYPE_CHECKING:
    from rich.console import Console

LONGEST_COUNT: Final = 9
"""Digits."""
MISSING: Final = (
    "by the audit trails of the nodes that are here now: pods of nodes that were deleted since are missing, so where "
    "many were, growth is overestimated"
)


class ForecastAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `forecast`. `due`: how many rows run out within the days that were asked about."""

    rows: list[ForecastRow]
    advice: list[SizingAdvice]
    due: int
    notes: list[str]
    unasked: list[str]


@click.command(short_help="Say when addresses run out, and which sizes fit.")
@click.option("--within", type=Amount("days"), default=7.0, show_default=True, help="Days that count as soon.")
@click.option(
    "--subnet-free",
    "subnets",
    metavar="NAME=COUNT",
    multiple=True,
    help="How many addresses that subnet has left, instead of what Azure counted last; repeatable.",
)
@cluster_command
def forecast(access: ClusterAccess, form: Form, *, within: float, subnets: tuple[str, ...]) -> ExitCode:
    """Say in how many days nodes, subnets and VNets run out of addresses, and which pool sizes this cluster needs.

    It asks the agents for their audit trails, which needs the right to create pods/exec in their namespace. Exits with
    1 if something runs out within --within days, else with 3 if an agent could not be asked.
    """
    free = dict(map(_free_of, subnets))
    evidence = reads.read_cluster(access, pods=False)
    _require_subnets(free, evidence)
    nodes = sorted({agent.node for agent in evidence.agents} | {pool.name for pool in evidence.pools})
    if not nodes:
        raise KubeNotFound("cannot forecast anything: there is no NodeIPPool and no agent; see azure-cni status")
    found = {node: evidence.agent(node) for node in nodes}
    asked = [agent for agent in found.values() if agent is not None]
    with progress(f"asking {counted(len(asked), 'agent')}"):
        reports, unasked = reads.ask_usage(access, asked)
    away = [f"node {node}: there is no pod of an agent" for node, agent in found.items() if agent is None]
    silent = [f"node {report.node}: {report.error}" for report in reports if report.error]
    now_s = report_time_s(reports, here_s=time.time()) or time.time()
    astray = wrong_clocks(reports, now_s=now_s)
    rows = forecast_rows(evidence, [one for one in reports if one.node not in astray], now_s=now_s, subnets=free)
    due = sum(row.outlook in {Outlook.FULL, Outlook.EXHAUSTS} and (row.days or 0.0) <= within for row in rows)
    unread = [*evidence.unread, *away, *unasked, *silent, *astray.values()]
    answer = ForecastAnswer(rows, advise(reports), due, [MISSING], unread)
    emit(answer, form, _show_forecast)
    if due:
        return ExitCode.WRONG
    return ExitCode.NO_ANSWER if unread else ExitCode.WELL


def _free_of(written: str) -> tuple[str, int]:
    name, _, count = written.partition("=")
    if not name or not count.isdecimal() or len(count) > LONGEST_COUNT:
        raise ConfigInvalid(f"cannot use --subnet-free {written}: it must be NAME=COUNT, as in nodes=120")
    return name, int(count)


def _require_subnets(free: Mapping[str, int], evidence: ClusterEvidence) -> None:
    """ConfigInvalid for a subnet that no node is in: the person has another one in mind."""
    known = subnet_names(evidence)
    wrong = [name for name in free if name.lower() not in known]
    if wrong and evidence.knows("pools"):
        raise ConfigInvalid(
            f"cannot use --subnet-free {wrong[0]}: no node is in a subnet of that name; nodes are in "
            f"{few(sorted(known)) or 'none that is known'}"
        )


def _show_forecast(console: Console, answer: ForecastAnswer) -> None:
    cells = [
        (
            row.kind,
            row.name,
            str(row.used),
            "?" if row.room is None else str(row.room),
            str(row.watched_days),
            row.message,
        )
        for row in answer.rows
    ]
    console.print(table(("KIND", "NAME", "PEAK", "ROOM", "DAYS SEEN", "FORECAST"), cells))
    for one in answer.advice:
        console.print(f"\n{_advice_in_words(one)}")
    if answer.due:
        console.print(f"\n{BAD} {counted(answer.due, 'row runs', 'rows run')} out soon", style="red")
    for words in answer.notes:
        console.print(f"\n{words}")
    for words in answer.unasked:
        console.print(f"{DOUBTFUL} {words}", style="yellow")


def _advice_in_words(one: SizingAdvice) -> str:
    seen = (
        f"{counted(one.nodes, 'node')}: at most {counted(one.burst, 'pod')} started within a minute in 999 of 1,000 "
        f"hours; in {one.short} of {one.hours} hours more than minFree {one.min_free} did; NIC writes a day "
        f"and node: {one.writes_per_day:g}"
    )
    if not one.is_change:
        return f"{GOOD} {seen}. The sizes fit"
    sizes = f"minFree {one.advised_min_free}, batch {one.advised_batch}, maxFree {one.advised_max_free}"
    effect = f"{addresses(abs(one.saving))} {'fewer' if one.saving >= 0 else 'more'} on these nodes together"
    return f"{seen}. Try {sizes} (now {one.min_free}, {one.batch}, {one.max_free}): about {effect}"
