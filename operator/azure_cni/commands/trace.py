"""`trace`: hop by hop what becomes of a pod's packets to a destination, by the tables of its node."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from azure_cni.api.trace_reports import TRACE_PATH, TraceReport, decode_trace_report
from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.flags import cluster_command, namespace_flags
from azure_cni.commands.output import BAD, DOUBTFUL, GOOD, ExitCode, Form, emit, facts, progress
from azure_cni.diagnose.evidence import ClusterEvidence, PodFacts
from azure_cni.diagnose.packet_trace import HopResult, PacketSource, PacketTrace, trace_packet
from azure_cni.diagnose.trace_targets import (
    MOST_ENDS,
    TraceEnd,
    TraceTarget,
    find_far_end,
    has_cluster_ip,
    parse_ip,
    service_name,
    service_target,
    split_port,
)
from azure_cni.errors import ConfigInvalid, KubeDenied, KubeError, KubeNotFound

if TYPE_CHECKING:
    from rich.console import Console

SERVICES: Final = "/api/v1/services"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
PAGE: Final = "docs/command-line.md#where-packets-go"
INDENT: Final = 12
"""Columns before a hop's command."""
SIGNS: Final = {
    HopResult.PASSES: (GOOD, "green"),
    HopResult.REFUSED: (BAD, "red"),
    HopResult.DROPPED: (BAD, "red"),
    HopResult.UNKNOWN: (DOUBTFUL, "yellow"),
}


class TraceAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to `trace`. `how`: what happens to the name or address first; `notes`: what else may matter."""

    pod: str
    node: str
    address: str
    asked: str
    how: list[str]
    traces: list[PacketTrace]
    notes: list[str]
    page: str = PAGE


@click.command(short_help="Say hop by hop what becomes of a pod's packets.")
@click.argument("pod")
@click.argument("destination")
@namespace_flags
@cluster_command
def trace(access: ClusterAccess, form: Form, *, pod: str, destination: str, namespace: str | None) -> ExitCode:
    """Say hop by hop what becomes of packets of POD to DESTINATION: guards, routes, whose address they have, and why.

    POD is a name or NAMESPACE/NAME. DESTINATION is an address, a pod, a Service (also as NAME.NAMESPACE.svc) or a
    host's name, each with :PORT or without. No packet is sent: the agent of the pod's node is asked for its table and
    for the kernel's own route lookup, which needs the right to create pods/exec in its namespace. Exits with 1 if the
    packets are refused or dropped.
    """
    namespace = namespace or access.namespace
    evidence = reads.read_cluster(access)
    source = reads.read_pod(access, *_full_name(pod, namespace)).pod
    target = _target(access, evidence, destination, namespace)
    if source.host_network:
        words = f"it is in the network of its node {source.node}, whose own packets azure-cni does not touch"
        answer = TraceAnswer(source.full_name, source.node, "", destination, list(target.how), [], [words])
    else:
        answer = _traced(access, evidence, source, target, asked=destination)
    emit(answer, form, _show_trace)
    passed = all(one.result is HopResult.PASSES for one in answer.traces)
    return ExitCode.WELL if passed else ExitCode.WRONG


def _full_name(words: str, namespace: str) -> tuple[str, str]:
    first, slash, rest = words.partition("/")
    return (first, rest) if slash else (namespace, first)


def _traced(
    access: ClusterAccess, evidence: ClusterEvidence, source: PodFacts, target: TraceTarget, *, asked: str
) -> TraceAnswer:
    """By what the agent of the pod's node says."""
    if not source.holds_address:
        raise KubeNotFound(
            f"cannot trace from pod {source.full_name}: it has no address; see azure-cni why {source.full_name}"
        )
    agent, address = reads.require_agent(evidence, source.node), source.addresses[0]
    with progress(f"asking the agent of node {source.node}"):
        query = "&".join(f"to={end.address}" for end in target.ends)
        path = f"{TRACE_PATH}?source={address}&{query}"
        report = reads.answer_of(access, agent, path, decode_trace_report)
    pool = evidence.pool(source.node)
    sender = PacketSource(address, source.node, pool.nic_id if pool else "", tuple(report.interfaces))
    notes = [f"something on the node may be in the way (HostConflict): {words}" for words in report.conflicts]
    if report.holder and report.holder != f"pod {source.full_name}":
        notes.append(f"the node's ledger says that {address} belongs to {report.holder}: see azure-cni addresses")
    return TraceAnswer(
        source.full_name,
        source.node,
        address,
        asked,
        list(target.how),
        _decided(sender, report, target.ends, evidence),
        [*notes, *evidence.unread],
    )


def _decided(
    sender: PacketSource, report: TraceReport, ends: Sequence[TraceEnd], evidence: ClusterEvidence
) -> list[PacketTrace]:
    """KubeError where the agent could not say enough."""
    ways = {way.destination: way for way in report.ways}
    table = report.table
    lacking = report.error or ("it has not made the node's table since it started" if table is None else "")
    if table is None or lacking:
        raise KubeError(f"cannot trace from {sender.address}: the agent of node {sender.node} says: {lacking}")
    if not ways.keys() >= {end.address for end in ends}:
        raise KubeError(f"cannot trace from {sender.address}: the agent of node {sender.node} answers for other ones")
    try:
        return [
            trace_packet(sender, table, ways[end.address], find_far_end(end.address, evidence), port=end.port)
            for end in ends
        ]
    except ValueError as error:  # a prefix that is none: who took a node over may answer anything
        raise KubeError(
            f"cannot trace from {sender.address}: what the agent of node {sender.node} says makes no sense: {error}"
        ) from error


def _target(access: ClusterAccess, evidence: ClusterEvidence, words: str, namespace: str) -> TraceTarget:
    """The addresses of what the person named."""
    host, port = split_port(words)
    address = parse_ip(host)
    if address is not None:
        service = _service_at(access, address)
        return TraceTarget((TraceEnd(address, port),)) if service is None else _endpoints(access, service, port)
    if named := service_name(host):
        return _endpoints(access, _service(access, *named), port)
    if "." in host and "/" not in host:
        return _resolved(host, port)
    return _named(access, evidence, _full_name(host, namespace), port)


def _named(access: ClusterAccess, evidence: ClusterEvidence, full_name: tuple[str, str], port: int) -> TraceTarget:
    """A pod, else a Service of that name."""
    name = "/".join(full_name)
    pod = next((one for one in evidence.pods if one.full_name == name), None)
    if pod is not None:
        if not pod.addresses:
            raise KubeNotFound(f"cannot trace to pod {name}: it has no address; see azure-cni why {name}")
        return TraceTarget((TraceEnd(pod.addresses[0], port),))
    try:
        return _endpoints(access, _service(access, *full_name), port)
    except KubeNotFound as error:
        raise KubeNotFound(f"cannot trace to {name}: there is no pod and no Service of that name") from error


def _service(access: ClusterAccess, namespace: str, name: str) -> Mapping[str, Any]:
    reads.require_names(namespace=namespace, Service=name)
    return access.read_object(f"/api/v1/namespaces/{namespace}/services/{name}")


def _service_at(access: ClusterAccess, address: str) -> Mapping[str, Any] | None:
    """The Service that has this address in the cluster; None also where Services cannot be seen."""
    try:
        services = access.list_objects(SERVICES)
    except (KubeDenied, KubeNotFound):
        return None
    return next((one for one in services if has_cluster_ip(one, address)), None)


def _endpoints(access: ClusterAccess, service: Mapping[str, Any], port: int) -> TraceTarget:
    meta = service["metadata"]
    selector = f"kubernetes.io/service-name={meta['name']}"
    slices = access.list_objects(SLICES.format(meta["namespace"]), labelSelector=selector)
    return service_target(service, slices, port=port)


def _resolved(host: str, port: int) -> TraceTarget:
    """By the resolver of the computer that this runs on, which may know other names than the pod's."""
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter of what cannot be a name: "a..b"
        why = error.strerror if isinstance(error, OSError) else "it is no name"
        raise ConfigInvalid(
            f"cannot trace to {host!r}: this computer cannot resolve it ({why}); name an address"
        ) from error
    ends = sorted({str(one[4][0]) for one in found})
    note = f"{host} is {', '.join(ends[:MOST_ENDS])}, resolved on this computer: the pod's DNS may answer otherwise"
    return TraceTarget(tuple(TraceEnd(one, port) for one in ends[:MOST_ENDS]), (note,))


def _show_trace(console: Console, answer: TraceAnswer) -> None:
    for words in answer.how:
        console.print(words)
    shown: set[str] = set()  # the pods behind a Service are reached by the same NIC
    for one in answer.traces:
        sign, style = SIGNS[one.result]
        port = f":{one.port}" if one.port else ""
        seen = f", seen as {one.seen_as}" if one.seen_as else ""
        console.print(f"{sign} {answer.pod} to {one.destination}{port}: {one.result.value}{seen}", style=style)
        for hop in one.hops:
            mark, colour = SIGNS[hop.result]
            rule = f" [{hop.rule}]" if hop.rule else ""
            console.print(f"  {mark} {hop.hop:8}  {hop.message}{rule}", style=colour)
            if hop.command not in shown:
                console.print(facts([(" " * INDENT, hop.command)]))
            shown.add(hop.command)
    for words in answer.notes:
        console.print(f"{DOUBTFUL} {words}", style="yellow")
