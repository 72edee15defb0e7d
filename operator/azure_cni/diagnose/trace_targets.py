"""What a person may name as the destination of a trace, and to which addresses that leads. Pure.

An address, a pod, a Service, or the name of a host: each is one or several addresses in the end, and what is on the way
there (kube-proxy's translation, a name's resolution) is said in `how`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from azure_cni.api.reading import decimal, mapping, mappings, metadata_of, spec_of, text, whole
from azure_cni.diagnose.evidence import LAST_PORT, ClusterEvidence
from azure_cni.diagnose.holders import PresentHolder, find_holders
from azure_cni.diagnose.packet_trace import FarEnd
from azure_cni.errors import ConfigInvalid

MOST_ENDS: Final = 4
"""Addresses of one destination that are traced: the others go the same way, or one of these."""


@dataclass(frozen=True, slots=True)
class TraceEnd:
    """One address, and the port there; 0 where none was named."""

    address: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class TraceTarget:
    """Where the packets go. `how`: what happens to the name or address before, in words."""

    ends: tuple[TraceEnd, ...]
    how: tuple[str, ...] = ()


def split_port(words: str) -> tuple[str, int]:
    """Of `web:8080`, "web" and 8080; of `web`, "web" and 0. ConfigInvalid where the port is none."""
    host, colon, port = words.rpartition(":")
    if not colon:
        return words, 0
    if ":" in host:
        raise ConfigInvalid(f"cannot trace to {words!r}: traces are of IPv4")
    number = decimal(port, most=LAST_PORT + 1)
    if not 0 < number <= LAST_PORT:
        raise ConfigInvalid(f"cannot trace to {words!r}: the port is to be a number from 1 to {LAST_PORT}")
    return host, number


def parse_ip(words: str) -> str | None:
    """The same where it is an IPv4 address."""
    try:
        return str(IPv4Address(words))
    except ValueError:
        return None


def service_name(words: str) -> tuple[str, str] | None:
    """Namespace and name of a Service's name in the cluster's DNS: "web.shop.svc" and longer."""
    name, namespace, kind, *_ = [*words.rstrip(".").split("."), "", ""]
    return (namespace, name) if kind == "svc" else None


def service_target(service: Mapping[str, Any], slices: Iterable[Mapping[str, Any]], *, port: int) -> TraceTarget:
    """The ready endpoints of a Service. ConfigInvalid where it has no such port, or no ready endpoint."""
    name = _full_name(service)
    wanted = _service_port(service, name, port)
    ends = sorted({end for body in slices for end in _ends(body, wanted)}, key=lambda end: IPv4Address(end.address))
    if not ends:
        raise ConfigInvalid(f"cannot trace to Service {name}: it has no ready endpoint with an IPv4 address")
    cluster_ip = text(spec_of(service).get("clusterIP"))
    if cluster_ip in {"", "None"}:
        how = f"Service {name} is headless: its name resolves to the addresses of its pods"
    else:
        how = (
            f"Service {name}: on the pod's node kube-proxy translates {cluster_ip} to one of its ready endpoints "
            f"({len(ends)}); its rules are not read here"
        )
    left = len(ends) - MOST_ENDS
    more = (f"{left} more endpoints are not traced",) if left > 0 else ()
    return TraceTarget(tuple(ends[:MOST_ENDS]), (how, *more))


def has_cluster_ip(service: Mapping[str, Any], address: str) -> bool:
    """Whether that is the address of the Service in the cluster."""
    return text(spec_of(service).get("clusterIP")) == address


def find_far_end(address: str, evidence: ClusterEvidence) -> FarEnd:
    """Who has an address, as the API server shows it."""
    present = find_holders(address, evidence).present
    if not present:
        return FarEnd()
    one = present[0]
    return FarEnd(_far_words(one, address), one.node)


def _far_words(one: PresentHolder, address: str) -> str:
    match one.kind:
        case "pod":
            lost = "" if one.nic else f", whose NIC does not list {address} as its agent last said: see azure-cni why"
            return f"pod {one.name} on node {one.node}{lost}"
        case "node":
            return f"node {one.node}"
        case "pool":
            return f"nobody: {address} is on the NIC of node {one.node} for pods, and no pod has it"
        case _:
            return f"nobody: {address} is on the NIC of node {one.node}, for no pod"


def _full_name(body: Mapping[str, Any]) -> str:
    meta = metadata_of(body)
    return f"{text(meta.get('namespace'))}/{text(meta.get('name'))}"


def _service_port(service: Mapping[str, Any], name: str, port: int) -> str:
    """The name of the Service's port; "" also for the only one."""
    spec = spec_of(service)
    if spec.get("type") == "ExternalName":
        raise ConfigInvalid(
            f"cannot trace to Service {name}: it is another name for {text(spec.get('externalName'))}; trace to that"
        )
    ports = mappings(spec.get("ports"))
    chosen = next((one for one in ports if port in {0, one.get("port")}), None)
    if chosen is None:
        known = ", ".join(str(one.get("port")) for one in ports) or "none"
        raise ConfigInvalid(f"cannot trace to Service {name}: it has no port {port}; its ports: {known}")
    return text(chosen.get("name"))


def _ends(body: Mapping[str, Any], port_name: str) -> list[TraceEnd]:
    """Of one EndpointSlice. A condition that is not set counts as ready (Kubernetes API, EndpointConditions)."""
    if body.get("addressType") != "IPv4":
        return []
    ports = [one for one in mappings(body.get("ports")) if text(one.get("name")) == port_name]
    number = whole(ports[0].get("port"), most=LAST_PORT) if ports else 0
    ready = [one for one in mappings(body.get("endpoints")) if mapping(one.get("conditions")).get("ready") is not False]
    found = [text(address) for one in ready for address in (one.get("addresses") or [])[:1]]
    return [TraceEnd(address, number) for address in found if parse_ip(address)]
