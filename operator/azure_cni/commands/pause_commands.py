"""`pause` and `resume`: stop the writes of a node's NIC, and let them go on. All else reads; these two change."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from azure_cni.api import node_ip_pool
from azure_cni.api.reading import metadata_of, number
from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import SECONDS, cluster_command
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit, facts, progress
from azure_cni.diagnose.evidence import condition_of
from azure_cni.diagnose.pauses import NodePause, parse_pause, pause_patch, resume_patch
from azure_cni.errors import ConfigInvalid, KubeDenied, KubeError, KubeNotFound
from azure_cni.model.text import addresses, counted

if TYPE_CHECKING:
    from rich.console import Console

LOOK_AGAIN_S: Final = 1.0
ROLE: Final = "azure-cni-pause"
"""The chart's ClusterRole, where the release is called azure-cni."""


class PausedNode(msgspec.Struct, frozen=True, rename="camel"):
    """One node afterwards. `pause` is None when it is not paused; `error` says why nothing could be changed.

    `seen`: its agent has taken notice. `writing`: a write that it began before is still under way at Azure.
    """

    node: str
    changed: bool = False
    pause: NodePause | None = None
    seen: bool = False
    writing: bool = False
    free: int = 0
    """Addresses with which pods can start now."""
    error: str = ""

    @property
    def settled(self) -> bool:
        """Nothing is written any more, or the pool's agent goes on."""
        return self.seen and not (self.pause and self.writing)


class PauseAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `pause` and `resume`."""

    nodes: list[PausedNode]
    dry_run: bool


F = Callable[..., Any]


def _pause_flags(work: F) -> F:
    """Those that both have."""
    for option in (
        click.option("--timeout", type=SECONDS, default=60.0, show_default=True, help="Seconds to wait at most."),
        click.option("--wait", is_flag=True, help="Wait until the agents have seen it, and writes under way are over."),
        click.option("--dry-run", is_flag=True, help="Have the API server try it, rights included; change nothing."),
        click.option("--all", "everywhere", is_flag=True, help="All nodes that have a NodeIPPool now."),
        click.argument("nodes", nargs=-1, metavar="[NODE]..."),
    ):
        work = option(work)
    return work


@click.command(short_help="Stop all writes of a node's NIC.")
@_pause_flags
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever finds the pause.")
@cluster_command
def pause(access: ClusterAccess, form: Form, *, reason: str, **flags: Any) -> ExitCode:
    """Stop all writes of the NIC of NODE, or of all nodes: its addresses stay as they are.

    Pods run on, start with what is free and give their addresses back. Nodes without a pool, and those that join later,
    are not paused. Exits with 1 if --wait ended too early, with 3 if a node could not be paused.
    """

    def change(body: Mapping[str, Any]) -> dict[str, Any] | None:
        return None if parse_pause(body) else pause_patch(by=_user(access), reason=reason)

    return _run(access, form, change, verb="pause", **flags)


@click.command(short_help="End the pause of a node.")
@_pause_flags
@cluster_command
def resume(access: ClusterAccess, form: Form, **flags: Any) -> ExitCode:
    """End the pause of NODE, or of all nodes, whoever began it: the agent writes its NIC again.

    Exits with 1 if --wait ended too early, with 3 if a pause could not be ended.
    """
    return _run(access, form, lambda body: resume_patch() if parse_pause(body) else None, verb="resume", **flags)


def _run(
    access: ClusterAccess,
    form: Form,
    change: Callable[[Mapping[str, Any]], dict[str, Any] | None],
    *,
    verb: str,
    nodes: tuple[str, ...],
    everywhere: bool,
    dry_run: bool,
    wait: bool,
    timeout: float,
) -> ExitCode:
    if bool(nodes) == everywhere:
        raise ConfigInvalid(f"cannot {verb}: name nodes, or all of them with --all: azure-cni {verb} NODE")
    for node in nodes:
        reads.require_names(node=node)
    if everywhere:
        nodes = tuple(str(metadata_of(body).get("name")) for body in access.list_objects(reads.POOLS))
        if not nodes:
            raise KubeNotFound(f"cannot {verb} any node: there is no NodeIPPool; see azure-cni status")
    with progress(f"{verb}: {counted(len(nodes), 'node')}"):
        done = reads.at_once(lambda node: _changed(access, node, change, verb=verb, dry_run=dry_run), nodes)
        if wait and not dry_run:
            done = _awaited(access, done, until_s=time.monotonic() + timeout)
    emit(PauseAnswer(done, dry_run), form, _show_pauses)
    if any(one.error for one in done):
        return ExitCode.NO_ANSWER
    return ExitCode.WRONG if wait and not dry_run and not all(one.settled for one in done) else ExitCode.WELL


def _changed(
    access: ClusterAccess,
    node: str,
    change: Callable[[Mapping[str, Any]], dict[str, Any] | None],
    *,
    verb: str,
    dry_run: bool,
) -> PausedNode:
    """One node's outcome: that of one that fails does not keep others from theirs."""
    path = f"{reads.POOLS}/{node}"
    try:
        body = access.read_object(path)
        patch = change(body)
        if patch is None:
            return _outcome(node, body, changed=False)
        return _outcome(node, access.patch_object(path, patch, dry_run=dry_run), changed=True)
    except KubeDenied as error:
        return PausedNode(node, error=f"cannot {verb} node {node}: {error}; the ClusterRole {ROLE} gives the right")
    except KubeError as error:
        return PausedNode(node, error=f"cannot {verb} node {node}: {error}")


def _outcome(node: str, body: Mapping[str, Any], *, changed: bool) -> PausedNode:
    pool = node_ip_pool.parse(body)
    return PausedNode(
        node=node,
        changed=changed,
        pause=parse_pause(body),
        seen=number(pool.status.get("observedGeneration")) >= pool.generation,
        writing=condition_of(pool.status, "Growing").get("reason") == "NicWriteInFlight",
        free=pool.free,
    )


def _awaited(access: ClusterAccess, done: list[PausedNode], *, until_s: float) -> list[PausedNode]:
    """The same once all of them are settled, or the time is over."""
    while not all(one.settled or one.error for one in done) and time.monotonic() < until_s:
        time.sleep(LOOK_AGAIN_S)
        done = reads.at_once(lambda one: one if one.settled or one.error else _seen_again(access, one), done)
    return done


def _seen_again(access: ClusterAccess, one: PausedNode) -> PausedNode:
    try:
        body = access.read_object(f"{reads.POOLS}/{one.node}")
    except KubeError as error:
        return msgspec.structs.replace(one, error=f"cannot see whether the agent has taken notice: {error}")
    return _outcome(one.node, body, changed=one.changed)


def _user(access: ClusterAccess) -> str:
    """For the annotation; a cluster that does not say who one is can be paused all the same."""
    try:
        return access.read_user()
    except KubeError:
        return ""


def _show_pauses(console: Console, answer: PauseAnswer) -> None:
    for one in answer.nodes:
        if one.error:
            console.print(f"{BAD} {one.error}", style="red")
            continue
        state = one.pause.in_words if one.pause else "not paused"
        how = " (dry run, nothing was changed)" if answer.dry_run else "" if one.changed else " (as before)"
        console.print(f"{GOOD} node {one.node}: {state}{how}", style="green")
        console.print(facts([(" ", words) for words in _details(one, dry_run=answer.dry_run)]))


def _details(one: PausedNode, *, dry_run: bool) -> list[str]:
    if dry_run:
        return []
    noted = "" if one.seen else f"{DOUBTFUL} the agent has not taken notice yet; see with --wait, or azure-cni status"
    if one.pause is None:
        return [noted]
    under_way = f"{DOUBTFUL} Azure still works on a write from before the pause; see its end with --wait"
    return [
        f"works: pods run on, give addresses back, and start while one is free: {addresses(one.free)} now",
        "stops: all writes of the NIC: adding, removing, load balancer pools, public IPs, security groups",
        noted,
        under_way if one.writing else "",
        f"end it: azure-cni resume {one.node}",
    ]
