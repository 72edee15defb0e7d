"""What `azure-cni test` asks of a network, and how it judges the answers. Pure.

Three pods ask and answer: `caller` and `near` on one node, `far` on another one where there is one. Each request is one
of curl's, made in a pod (`PROBE`); what curl says of it is the outcome. A far end that says whom it saw calling
(`/clientip`) shows whether the pod's own address came through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from xml.etree import ElementTree as ET

import msgspec

from azure_cni.diagnose.evidence import NodeFacts

CALLER, NEAR, FAR = "caller", "near", "far"
PORT: Final = 8080
PROBE_S: Final = 5
"""For one request; those of a pod are made at the same time."""
PROBE: Final = """
limit=$1; shift; number=0
for url; do
  (said=$(curl -gsSk --noproxy '*' -m "$limit" -w ' %{http_code}' "$url" 2>&1); code=$?
   printf '%s %s %s\\n' "$number" "$code" "$(printf %s "$said" | tr '\\n\\r' '  ' | cut -c1-200)") &
  number=$((number + 1))
done
wait
"""
"""A shell's: for each URL a line with its number, curl's exit status, and what curl printed."""
UNCONNECTED: Final = frozenset({7, 28})
CONNECTED: Final = frozenset({0, 22, 35, 52, 55, 56, 60})
"""Exit statuses of curl (its manual, EXIT CODES): nobody was reached; somebody was, whatever became of it."""
METADATA: Final = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
WIRESERVER: Final = {80: "http://168.63.129.16/?comp=versions", 32526: "http://168.63.129.16:32526/vmSettings"}
ADDRESS: Final = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
SHORT_NUMBER: Final = re.compile(r"[0-9]{1,3}")
TRAFFIC: Final = "docs/operations.md#a-pod-has-an-address-but-no-traffic"
STARTS: Final = "docs/operations.md#a-pod-stays-in-containercreating"
CODES: Final = "docs/command-line.md#prove-the-network"


class NetworkResult(StrEnum):
    """Of one check."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    SKIPPED = "skipped"
    """It could not be made here; the message says why."""


class NetworkCheck(msgspec.Struct, frozen=True, rename="camel"):
    """One check: what was tried, from where, what came of it, and what to do where it is not good."""

    code: str
    source: str
    result: NetworkResult
    message: str
    do: str = ""
    page: str = ""


class Expectation(StrEnum):
    """What is right."""

    OWN_ADDRESS = "ownAddress"
    """The far end answers, and saw the pod's own address."""
    NAME = "name"
    """It can be resolved, whoever answers there."""
    CONNECTION = "connection"
    """Whatever it answers."""
    OTHER_ADDRESS = "otherAddress"
    """The far end answers; if it says whom it saw, that is not the pod's own address."""
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class LabPod:
    """One pod of the test, once it has an address."""

    role: str
    name: str
    node: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One request of a pod. `what` completes "cannot reach ...", such as "a pod of node vm2"."""

    code: str
    source: LabPod
    url: str
    expects: Expectation
    what: str


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """Of one probe: curl's exit status, and what it printed; None where nothing came back."""

    status: int | None
    said: str = ""


@dataclass(frozen=True, slots=True)
class LabSurroundings:
    """What the pods ask for: `service` is the Service's address, `name` its name ("" where there is no DNS, because of
    `no_dns`), `outbound` what a person named; `imds_allowed`: pods may ask the metadata service here.
    """

    service: str
    name: str = ""
    no_dns: str = ""
    outbound: str = ""
    imds_allowed: bool = False


def plan_probes(pods: Mapping[str, LabPod], nodes: Sequence[NodeFacts], around: LabSurroundings) -> list[Probe]:
    """All requests of all pods that ask, in the order of the answer."""
    callers = [pods[role] for role in (CALLER, FAR) if role in pods]
    return [probe for one in callers for probe in (*_to_pods(one, pods), *_to_nodes(one, nodes), *_others(one, around))]


def _to_pods(source: LabPod, pods: Mapping[str, LabPod]) -> list[Probe]:
    found = []
    for target in pods.values():
        if target is source or (source.role, target.role) == (FAR, NEAR):
            continue
        code = "PodToPod" if target.node == source.node else "PodToPodAcrossNodes"
        url = f"http://{target.address}:{PORT}/clientip"
        found.append(Probe(code, source, url, Expectation.OWN_ADDRESS, f"a pod of node {target.node}"))
    return found


def _to_nodes(source: LabPod, nodes: Sequence[NodeFacts]) -> list[Probe]:
    return [
        Probe(
            "PodToNode",
            source,
            f"https://{node.address}:{node.kubelet_port}/healthz",
            Expectation.CONNECTION,
            f"the kubelet of node {node.name} ({node.address})",
        )
        for node in nodes
        if node.address
    ]


def _others(source: LabPod, around: LabSurroundings) -> list[Probe]:
    service = f"the Service at {around.service}"
    found = [Probe("Service", source, f"http://{around.service}/clientip", Expectation.OWN_ADDRESS, service)]
    if around.name:
        found.append(Probe("Dns", source, f"http://{around.name}/hostname", Expectation.NAME, around.name))
    if around.outbound:
        found.append(Probe("Outbound", source, around.outbound, Expectation.OTHER_ADDRESS, around.outbound))
    if not around.imds_allowed:
        found.append(Probe("MetadataRefused", source, METADATA, Expectation.NOBODY, "the metadata service"))
    return [
        *found,
        *(
            Probe("WireserverRefused", source, url, Expectation.NOBODY, f"port {port} of the wireserver")
            for port, url in WIRESERVER.items()
        ),
    ]


def skipped_checks(pods: Mapping[str, LabPod], around: LabSurroundings) -> list[NetworkCheck]:
    """What was not tried, each with the reason."""
    reasons = {
        "PodToPodAcrossNodes": "" if FAR in pods else "only one node can take pods now; it takes two",
        "Dns": around.no_dns,
        "Outbound": "" if around.outbound else "no destination was named: --outbound URL",
        "MetadataRefused": "pods may ask it here (imds.allowPods: true)" if around.imds_allowed else "",
    }
    return [NetworkCheck(code, "", NetworkResult.SKIPPED, why, page=CODES) for code, why in reasons.items() if why]


def parse_outcomes(printed: str, count: int) -> list[ProbeOutcome]:
    """What `PROBE` printed for `count` URLs."""
    found = {}
    for line in printed.splitlines():
        number, _, rest = line.partition(" ")
        status, _, said = rest.partition(" ")
        if SHORT_NUMBER.fullmatch(number) and SHORT_NUMBER.fullmatch(status):
            found[int(number)] = ProbeOutcome(int(status), said.strip())
    return [found.get(number, ProbeOutcome(None)) for number in range(count)]


def may_come_right(probe: Probe, check: NetworkCheck) -> bool:
    """Whether it is worth asking again: kube-proxy and DNS learn of a Service a moment after its pods are ready."""
    return check.result is NetworkResult.BAD and probe.expects is not Expectation.NOBODY


def judge(probe: Probe, outcome: ProbeOutcome) -> NetworkCheck:
    """One check of one outcome."""
    if outcome.status is None:
        return _check(probe, NetworkResult.BAD, f"the pod did not say whether it reached {probe.what}")
    connected = outcome.status in CONNECTED
    said = outcome.said.removesuffix(" 000").strip() or f"curl ended with status {outcome.status}"
    if probe.expects is Expectation.NOBODY:
        return _judge_refusal(probe, outcome, said)
    if probe.expects is Expectation.NAME:
        resolved = connected or (outcome.status in UNCONNECTED and "esolv" not in outcome.said)
        message = f"resolves {probe.what}" if resolved else f"cannot resolve {probe.what}: {said}"
        return _check(probe, NetworkResult.GOOD if resolved else NetworkResult.BAD, message)
    if not connected or (outcome.status and probe.expects is not Expectation.CONNECTION):
        return _check(probe, NetworkResult.BAD, f"cannot reach {probe.what}: {said}")
    return _judge_address(probe, outcome)


def _judge_refusal(probe: Probe, outcome: ProbeOutcome, said: str) -> NetworkCheck:
    """Where nobody may answer."""
    if outcome.status in CONNECTED:
        return _check(probe, NetworkResult.BAD, f"reaches {probe.what} ({probe.url}), which no pod should")
    if outcome.status not in UNCONNECTED:
        return _check(probe, NetworkResult.BAD, f"cannot tell whether it reaches {probe.what}: {said}")
    return _check(probe, NetworkResult.GOOD, f"does not reach {probe.what}")


def _judge_address(probe: Probe, outcome: ProbeOutcome) -> NetworkCheck:
    """By whom the far end saw, where it says so and that matters."""
    seen = ADDRESS.search(outcome.said)
    own = probe.source.address
    if probe.expects is Expectation.CONNECTION or (seen is None and probe.expects is Expectation.OTHER_ADDRESS):
        return _check(probe, NetworkResult.GOOD, f"reaches {probe.what}")
    if seen is None:
        return _check(probe, NetworkResult.BAD, f"reaches {probe.what}, which answers something else: {outcome.said}")
    message = f"reaches {probe.what}, which sees {seen[0]}"
    if (seen[0] == own) == (probe.expects is Expectation.OWN_ADDRESS):
        return _check(probe, NetworkResult.GOOD, message)
    if probe.code == "Service":
        do = "kube-proxy translates callers: its clusterCIDR (--cluster-cidr) has to be unset, or to cover pods"
        return _check(probe, NetworkResult.WARNING, f"{message}, and not the pod's own {own}", do=do)
    if probe.expects is Expectation.OTHER_ADDRESS:
        return _check(probe, NetworkResult.WARNING, f"{message}, the pod's own, and not that of its node")
    return _check(probe, NetworkResult.BAD, f"{message}, and not the pod's own {own}")


def _check(probe: Probe, result: NetworkResult, message: str, *, do: str = "") -> NetworkCheck:
    source = f"{probe.source.name} on node {probe.source.node}"
    if result is NetworkResult.GOOD:
        return NetworkCheck(probe.code, source, result, message)
    host = probe.url.partition("://")[2].partition("/")[0]
    advice = f"run it again with --keep, and then: azure-cni trace {probe.source.name} {host} -n NAMESPACE"
    return NetworkCheck(probe.code, source, result, message, do or advice, TRAFFIC)


def junit_xml(checks: Iterable[NetworkCheck], *, seconds: float) -> bytes:
    """As build servers read it: a failure for what is bad, and what was skipped with its reason."""
    listed = list(checks)
    counts = {name: sum(one.result is result for one in listed) for name, result in _COUNTED.items()}
    attributes = {"name": "azure-cni test", "tests": str(len(listed)), "errors": "0", "time": f"{seconds:.3f}"}
    suite = ET.Element("testsuite", {**attributes, **{name: str(count) for name, count in counts.items()}})
    for one in listed:
        case = ET.SubElement(suite, "testcase", {"classname": f"azure-cni.{one.code}", "name": one.source or one.code})
        if one.result is NetworkResult.BAD:
            ET.SubElement(case, "failure", {"message": one.message}).text = f"{one.do}\n{one.page}"
        elif one.result is NetworkResult.SKIPPED:
            ET.SubElement(case, "skipped", {"message": one.message})
        else:
            ET.SubElement(case, "system-out").text = one.message
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


_COUNTED: Final = {"failures": NetworkResult.BAD, "skipped": NetworkResult.SKIPPED}
