"""What the command line has read of a cluster, as frozen values: pods, events, nodes, and azure-cni's own processes.

Objects are parsed as tolerantly as everywhere (`api.reading`): one odd object must not keep a person from an answer.
Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from azure_cni.api import node_ip_pool, vnet_quota
from azure_cni.api.egress import EGRESS
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.pod_annotations import KNOWN, PodCondition, attached_condition, is_gated
from azure_cni.api.reading import decimal, mapping, mappings, metadata_of, spec_of, status_of, text, whole
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.diagnose.component_settings import SYSTEM, KubeProxyFacts, flags_of, owner_of
from azure_cni.diagnose.pauses import NodePause
from azure_cni.model.text import seconds_of

TAINT: Final = "azure-cni.io/no-free-addresses"
ENDED: Final = frozenset({"Succeeded", "Failed"})
WORKLOADS: Final = {"agent": "DaemonSet", "controller": "ReplicaSet"}
"""What the pods of each component belong to."""
KEEPING_AWAY: Final = frozenset({"NoSchedule", "NoExecute"})
"""Effects of taints that keep pods away which tolerate none."""
LAST_PORT: Final = 65535
KUBELET_PORT: Final = 10250
"""The kubelet's own default."""
_MANY: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod. `scheduling` is what the scheduler says while it has no node."""

    namespace: str
    name: str
    uid: str
    node: str = ""
    phase: str = ""
    host_network: bool = False
    addresses: tuple[str, ...] = ()
    created_s: float | None = None
    scheduled_s: float | None = None
    scheduling: str = ""
    ending: bool = False
    """Somebody has deleted it; its address may be free already."""
    app: str = ""
    """Its label `k8s-app`, or else `app`."""
    asks: bool = False
    """For something to be attached to its address, or it is ready only when that is so."""
    attached: PodCondition | None = None
    """What its condition says of that."""
    egress: str = ""
    """Its annotation about egress; "" where it has none, whatever its namespace says."""
    owner: tuple[str, str] = ("", "")
    """Kind and name of what controls it, of a pod with `flags`."""
    flags: tuple[str, ...] = ()
    """Of FLAGS, those that a container of it is started with, as written; only of pods in SYSTEM."""

    @property
    def full_name(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.namespace}/{self.name}"

    @property
    def holds_address(self) -> bool:
        """It has an address of its own, by what the API server shows."""
        return bool(self.addresses) and not self.host_network and self.phase not in ENDED


@dataclass(frozen=True, slots=True)
class EventFacts:
    """One event, whoever published it."""

    reason: str
    message: str
    first_s: float | None = None
    last_s: float | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """A pod of azure-cni itself: an agent or a controller."""

    namespace: str
    name: str
    node: str
    ready: bool
    restarts: int = 0
    version: str = ""
    state: str = ""
    """Why it does not run, by the kubelet: `CrashLoopBackOff`, `ImagePullBackOff`; else its phase."""
    workload: str = ""
    """The name of the DaemonSet or ReplicaSet that made it."""
    priority: str = ""
    """Its priority class."""

    @property
    def full_name(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One Node."""

    name: str
    ready: bool
    message: str = ""
    tainted: bool = False
    linux: bool = True
    provider_id: str = ""
    pod_cidr: str = ""
    most_pods: int = 0
    """`maxPods` of its kubelet."""
    kubelet: str = ""
    """Its version."""
    created_s: float | None = None
    address: str = ""
    """Its InternalIP."""
    kubelet_port: int = KUBELET_PORT
    cordoned: bool = False
    """New pods are kept away, by a person or by a taint."""
    taints: tuple[str, ...] = ()
    """Keys of those that keep pods away which tolerate none."""
    network_unavailable: bool = False
    """Somebody is to make routes for it, and has not."""


@dataclass(frozen=True, slots=True)
class ClusterEvidence:
    """All that was read. `missing`: fields that the reader may not see, or could not, with the reason in words: that
    such a field is empty says nothing.
    """

    pools: tuple[NodeIPPool, ...] = ()
    quotas: tuple[VNetQuota, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    nodes: tuple[NodeFacts, ...] = ()
    agents: tuple[ProcessFacts, ...] = ()
    controllers: tuple[ProcessFacts, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    pauses: Mapping[str, NodePause] = field(default_factory=dict)
    """By node, of pools that are paused."""
    system: str = SYSTEM
    """The namespace of azure-cni's own release."""
    kube_proxy: KubeProxyFacts | None = None
    """None where there is no such ConfigMap, or nobody asked for it."""
    definitions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The fields of spec and status that definitions have, by plural; without those that are not there."""

    @property
    def unread(self) -> tuple[str, ...]:
        """What could not be read, and why, in words."""
        return tuple(self.missing.values())

    def knows(self, *fields: str) -> bool:
        """Whether all of these were read."""
        return self.missing.keys().isdisjoint(fields)

    def pool(self, node: str) -> NodeIPPool | None:
        """That node's."""
        return next((pool for pool in self.pools if pool.name == node), None)

    def agent(self, node: str) -> ProcessFacts | None:
        """The one on that node; the ready one of two, while one replaces the other."""
        on_node = [agent for agent in self.agents if agent.node == node]
        return next((agent for agent in on_node if agent.ready), on_node[0] if on_node else None)

    def quota(self, vnet_id: str) -> VNetQuota | None:
        """That VNet's."""
        return next((one for one in self.quotas if one.vnet_id.lower() == vnet_id.lower()), None) if vnet_id else None


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
        app=text(labels.get("k8s-app")) or text(labels.get("app")),
        asks=is_gated(spec) or any(annotations.get(name) for name in KNOWN),
        attached=attached_condition(status),
        egress=text(annotations.get(EGRESS)),
        owner=owner_of(meta) if flags else ("", ""),
        flags=flags,
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
    )


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


def condition_of(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of an object's status as it was read; empty where it is not there."""
    known = mappings(status.get("conditions"))
    return next((one for one in known if one.get("type") == kind), {})
