"""Pods, events, Nodes, pools and quotas as the API server shows them, made values of `evidence`.

As tolerantly as everywhere (`api.reading`): one odd object must not keep a person from an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from azure_cni.api import node_ip_pool, vnet_quota
from azure_cni.api.egress import EGRESS
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.pod_annotations import KNOWN, attached_condition, is_gated
from azure_cni.api.reading import decimal, mapping, mappings, metadata_of, spec_of, status_of, text, whole
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.diagnose.component_settings import SYSTEM, flags_of, owner_of, workload_of
from azure_cni.diagnose.evidence import (
    KUBELET_PORT,
    LAST_PORT,
    TAINT,
    WORKLOADS,
    EventFacts,
    NodeFacts,
    PodFacts,
    ProcessFacts,
    condition_of,
)
from azure_cni.diagnose.other_programs import AGENT_SETTINGS, BANDWIDTH, parse_program
from azure_cni.model.text import seconds_of

KEEPING_AWAY: Final = frozenset({"NoSchedule", "NoExecute"})
"""Effects of taints that keep pods away which tolerate none."""
_MANY: Final = 1_000_000


def parse_pools(bodies: Iterable[Mapping[str, Any]]) -> tuple[NodeIPPool, ...]:
    """By name."""
    return tuple(sorted(map(node_ip_pool.parse, bodies), key=lambda pool: pool.name))


def parse_quotas(bodies: Iterable[Mapping[str, Any]]) -> tuple[VNetQuota, ...]:
    """By name."""
    return tuple(sorted(map(vnet_quota.parse, bodies), key=lambda quota: quota.name))


def parse_pod(body: Mapping[str, Any]) -> PodFacts:
    """Of a Pod object."""
    meta, spec, status = metadata_of(body), spec_of(body), status_of(body)
    scheduled, labels = condition_of(status, "PodScheduled"), mapping(meta.get("labels"))
    annotations = mapping(meta.get("annotations"))
    shown = [text(one.get("ip")) for one in mappings(status.get("podIPs"))] or [text(status.get("podIP"))]
    flags = flags_of(spec) if text(meta.get("namespace")) == SYSTEM else ()
    app = next(filter(None, (text(labels.get(key)) for key in ("k8s-app", "app", "name"))), "")
    return PodFacts(
        namespace=text(meta.get("namespace")),
        name=text(meta.get("name")),
        uid=text(meta.get("uid")),
        node=text(spec.get("nodeName")),
        phase=text(status.get("phase")),
        host_network=spec.get("hostNetwork") is True,
        addresses=tuple(filter(None, shown)),
        created_s=seconds_of(meta.get("creationTimestamp")),
        scheduled_s=seconds_of(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        scheduling=text(scheduled.get("message")) if scheduled.get("status") == "False" else "",
        ending=bool(meta.get("deletionTimestamp")),
        app=app,
        asks=is_gated(spec) or any(annotations.get(name) for name in KNOWN),
        attached=attached_condition(status),
        egress=text(annotations.get(EGRESS)),
        owner=workload_of(meta) if flags else ("", ""),
        flags=flags,
        limited=any(annotations.get(name) for name in BANDWIDTH),
        other_program=parse_program(body, app),
    )


def parse_event(body: Mapping[str, Any]) -> EventFacts:
    """Of an Event object of either API."""
    series = mapping(body.get("series"))
    first = seconds_of(body.get("firstTimestamp")) or seconds_of(body.get("eventTime"))
    last = seconds_of(series.get("lastObservedTime")) or seconds_of(body.get("lastTimestamp"))
    return EventFacts(
        reason=text(body.get("reason")),
        message=text(body.get("message")) or text(body.get("note")),
        first_s=first,
        last_s=last or first,
        count=whole(series.get("count") or body.get("count"), most=_MANY, default=1),
    )


def is_process(body: Mapping[str, Any], component: str) -> bool:
    """Whether the chart's workload made this pod: copies for debugging have its labels, too."""
    owners = mappings(metadata_of(body).get("ownerReferences"))
    return any(one.get("controller") is True and one.get("kind") == WORKLOADS[component] for one in owners)


def parse_processes(bodies: Iterable[Mapping[str, Any]], component: str) -> tuple[ProcessFacts, ...]:
    """Of Pod objects of the release's namespace; those that no workload of the chart made are left out."""
    return tuple(parse_process(one) for one in bodies if is_process(one, component))


def parse_process(body: Mapping[str, Any]) -> ProcessFacts:
    """Of a Pod object of azure-cni's own."""
    meta, status = metadata_of(body), status_of(body)
    containers = mappings(status.get("containerStatuses"))
    waiting = [text(mapping(mapping(one.get("state")).get("waiting")).get("reason")) for one in containers]
    return ProcessFacts(
        namespace=text(meta.get("namespace")),
        name=text(meta.get("name")),
        node=text(spec_of(body).get("nodeName")),
        ready=condition_of(status, "Ready").get("status") == "True" and not meta.get("deletionTimestamp"),
        restarts=sum(whole(one.get("restartCount"), most=_MANY) for one in containers),
        version=text(mapping(meta.get("labels")).get("app.kubernetes.io/version")),
        state=next(filter(None, waiting), "") or text(status.get("phase")),
        workload=owner_of(meta)[1],
        priority=text(spec_of(body).get("priorityClassName")),
        settings=_settings(spec_of(body)),
        windows=text(mapping(meta.get("labels")).get("azure-cni.io/system")) == "windows",
    )


def _settings(spec: Mapping[str, Any]) -> dict[str, str]:
    env = [one for container in mappings(spec.get("containers")) for one in mappings(container.get("env"))]
    return {text(one.get("name")): text(one.get("value")) for one in env if one.get("name") in AGENT_SETTINGS}


def parse_node(body: Mapping[str, Any]) -> NodeFacts:
    """Of a Node object."""
    meta, spec, status = metadata_of(body), spec_of(body), status_of(body)
    ready = condition_of(status, "Ready")
    tainted = [one for one in mappings(spec.get("taints")) if text(one.get("effect")) in KEEPING_AWAY]
    taints = tuple(text(one.get("key")) for one in tainted)
    return NodeFacts(
        name=text(meta.get("name")),
        ready=ready.get("status") == "True",
        message=text(ready.get("message")),
        tainted=any(one.get("key") == TAINT for one in mappings(spec.get("taints"))),
        linux=text(mapping(meta.get("labels")).get("kubernetes.io/os")) in {"", "linux"},
        provider_id=text(spec.get("providerID")),
        pod_cidr=text(spec.get("podCIDR")),
        most_pods=decimal(mapping(status.get("capacity")).get("pods"), most=_MANY),
        kubelet=text(mapping(status.get("nodeInfo")).get("kubeletVersion")),
        created_s=seconds_of(meta.get("creationTimestamp")),
        address=_internal_ip(status),
        kubelet_port=_kubelet_port(status),
        cordoned=spec.get("unschedulable") is True or bool(taints),
        taints=taints,
        network_unavailable=condition_of(status, "NetworkUnavailable").get("status") == "True",
    )


def _internal_ip(status: Mapping[str, Any]) -> str:
    found = (text(one.get("address")) for one in mappings(status.get("addresses")) if one.get("type") == "InternalIP")
    return next((one for one in found if "." in one), "")


def _kubelet_port(status: Mapping[str, Any]) -> int:
    endpoint = mapping(mapping(status.get("daemonEndpoints")).get("kubeletEndpoint"))
    return whole(endpoint.get("Port"), most=LAST_PORT) or KUBELET_PORT
