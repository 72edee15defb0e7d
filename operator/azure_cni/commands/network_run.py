"""The checks of `azure-cni test`: waits for its pods, has them make their requests, and gathers what came of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from azure_cni.api.reading import mappings, spec_of, text
from azure_cni.commands import reads
from azure_cni.commands.access import ClusterAccess
from azure_cni.commands.lab_keeper import LabKeeper
from azure_cni.commands.output import progress
from azure_cni.diagnose.evidence import ClusterEvidence, NodeFacts
from azure_cni.diagnose.network_checks import (
    CODES,
    PROBE,
    PROBE_S,
    STARTS,
    LabPod,
    LabSurroundings,
    NetworkCheck,
    NetworkResult,
    Probe,
    ProbeOutcome,
    judge,
    may_come_right,
    parse_outcomes,
    plan_probes,
    skipped_checks,
)
from azure_cni.diagnose.network_lab import SERVICE
from azure_cni.diagnose.pod_diagnosis import explain_pod, listed_addresses
from azure_cni.errors import KubeDenied, KubeNotFound
from azure_cni.model.text import counted, few

DNS: Final = "/api/v1/namespaces/kube-system/services/kube-dns"
"""The Service of the cluster's DNS, whoever serves it, is called so everywhere."""
SETTLING_S: Final = 15.0
"""For kube-proxy and the cluster's DNS to learn of the Service."""
LOOK_AGAIN_S: Final = 1.0
IMDS_SETTING: Final = "AZURE_CNI_ALLOW_IMDS"


def run_checks(
    access: ClusterAccess,
    keeper: LabKeeper,
    evidence: ClusterEvidence,
    nodes: Sequence[NodeFacts],
    checks: list[NetworkCheck],
    *,
    outbound: str,
    until_s: float,
) -> None:
    """Adds to `checks` what is known, as it comes: an interrupted test shows what it has."""
    with progress(f"waiting for pods on {few([node.name for node in nodes])}"):
        pods, late = keeper.await_pods(until_s=until_s)
    checks += [_late(access, keeper, evidence, name) for name in late]
    checks += [_started(pod, reads.read_cluster(access, pods=False)) for pod in pods.values()]
    if late:
        checks.append(_skipped_all("not all pods of the test run"))
        return
    around = _surroundings(access, keeper, outbound)
    probes = plan_probes(pods, nodes, around)
    for pod in pods.values():
        own = [one for one in probes if one.source is pod]
        if own:
            with progress(f"{pod.name} on node {pod.node} makes {counted(len(own), 'request')}"):
                checks += _settled(access, keeper.namespace, pod, own)
    checks += skipped_checks(pods, around)


def _settled(access: ClusterAccess, namespace: str, pod: LabPod, probes: Sequence[Probe]) -> list[NetworkCheck]:
    """What is wrong is tried again for a while."""
    until_s = time.monotonic() + SETTLING_S
    found = dict(zip(probes, map(judge, probes, _ask(access, namespace, pod, probes)), strict=True))
    while again := [probe for probe, check in found.items() if may_come_right(probe, check)]:
        if time.monotonic() >= until_s:
            break
        time.sleep(LOOK_AGAIN_S)
        found |= zip(again, map(judge, again, _ask(access, namespace, pod, again)), strict=True)
    return list(found.values())


def _ask(access: ClusterAccess, namespace: str, pod: LabPod, probes: Sequence[Probe]) -> list[ProbeOutcome]:
    command = ["sh", "-c", PROBE, "probe", str(PROBE_S), *(one.url for one in probes)]
    printed = access.run_in_pod(namespace, pod.name, command, container=pod.role)
    return parse_outcomes(printed.decode(errors="replace"), len(probes))


def _started(pod: LabPod, evidence: ClusterEvidence) -> NetworkCheck:
    """It is ready, so its node's kubelet has reached it; is its address one of the node's NIC?"""
    pool = evidence.pool(pod.node)
    where, source = f"{pod.name} on node {pod.node}", "NodeToPod"
    if pool is None:
        message = (
            f"the kubelet of node {pod.node} reaches {pod.address}; no NodeIPPool could be read to compare it with"
        )
        return NetworkCheck(source, where, NetworkResult.WARNING, message, "see azure-cni status", CODES)
    if pod.address in listed_addresses(pool):
        message = f"has {pod.address} of the node's NIC, and its kubelet reaches it there"
        return NetworkCheck(source, where, NetworkResult.GOOD, message)
    message = f"has {pod.address}, which the NodeIPPool of node {pod.node} does not list: another plugin gave it"
    return NetworkCheck(
        source, where, NetworkResult.BAD, message, "azure-cni check: which other plugin is there", CODES
    )


def _late(access: ClusterAccess, keeper: LabKeeper, evidence: ClusterEvidence, name: str) -> NetworkCheck:
    """Why a pod did not become ready, as `why` has it."""
    reading = reads.read_pod(access, keeper.namespace, name)
    pod = reading.pod
    found = explain_pod(pod, evidence, reading.events, now_s=time.time(), unread=reading.unread)
    where = f"{name} on node {pod.node}" if pod.node else name
    message = f"is not ready in time: {found.cause}: {found.message or found.meaning}"
    if pod.addresses:
        message = (
            f"has {pod.addresses[0]} and is not ready in time: its node's kubelet does not reach it, or it is slow"
        )
    return NetworkCheck("PodsStart", where, NetworkResult.BAD, message, f"{found.actor}: {found.do}", STARTS)


def _skipped_all(why: str) -> NetworkCheck:
    return NetworkCheck("Traffic", "", NetworkResult.SKIPPED, f"nothing else was tried: {why}", page=STARTS)


def _surroundings(access: ClusterAccess, keeper: LabKeeper, outbound: str) -> LabSurroundings:
    name, no_dns = f"{SERVICE}.{keeper.namespace}.svc", ""
    try:
        access.read_object(DNS)
    except KubeNotFound:
        name, no_dns = "", "this cluster has no DNS: there is no Service kube-system/kube-dns"
    except KubeDenied:
        pass  # who may not see Services can try the name
    return LabSurroundings(keeper.service_address(), name, no_dns, outbound, _imds_allowed(access))


def _imds_allowed(access: ClusterAccess) -> bool:
    """By the settings of the agents: imds.allowPods of the chart."""
    try:
        agents = reads.list_processes(access, "agent")
    except (KubeDenied, KubeNotFound):
        return False
    settings = [
        text(one.get("value"))
        for agent in agents
        for container in mappings(spec_of(agent).get("containers"))
        for one in mappings(container.get("env"))
        if one.get("name") == IMDS_SETTING
    ]
    return "true" in settings
