"""What the command line has read of a cluster, as frozen values: pods, events, nodes, and azure-cni's own processes.

`object_parsing` makes them of the objects. Times are seconds since 1970.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.api.pod_annotations import PodCondition
from azure_cni.api.reading import mappings
from azure_cni.api.vnet_quota import VNetQuota
from azure_cni.diagnose.component_settings import SYSTEM, KubeProxyFacts
from azure_cni.diagnose.other_programs import OtherProgram, Program, ProgramObjects
from azure_cni.diagnose.pauses import NodePause

TAINT: Final = "azure-cni.io/no-free-addresses"
ENDED: Final = frozenset({"Succeeded", "Failed"})
WORKLOADS: Final = {"agent": "DaemonSet", "controller": "ReplicaSet"}
"""What the pods of each component belong to."""
LAST_PORT: Final = 65535
KUBELET_PORT: Final = 10250
"""The kubelet's own default."""


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
    """Its label `k8s-app`, or else `app`, or else `name`."""
    asks: bool = False
    """For something to be attached to its address, or it is ready only when that is so."""
    attached: PodCondition | None = None
    """What its condition says of that."""
    egress: str = ""
    """Its annotation about egress; "" where it has none, whatever its namespace says."""
    owner: tuple[str, str] = ("", "")
    """Kind and name of the workload to change, of a pod with `flags`."""
    flags: tuple[str, ...] = ()
    """Of FLAGS, those that a container of it is started with, as written; only of pods in SYSTEM."""
    limited: bool = False
    """Annotations limit its traffic."""
    other_program: OtherProgram | None = None
    """What it is, of a program that has to fit azure-cni."""

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
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of an agent, those of AGENT_SETTINGS that it has."""
    windows: bool = False
    """Of an agent, it is that of a Windows node."""

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


@dataclass(frozen=True)
class ClusterEvidence:
    """All that was read. `missing`: fields that the reader may not see, or could not, with the reason in words: that
    such a field is empty says nothing.

    Each list is gone through once to look things up, or a cluster of 5,000 nodes and 100,000 pods took a minute.
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

    beside: ProgramObjects = field(default_factory=ProgramObjects)
    """What was read for other programs."""

    @property
    def unread(self) -> tuple[str, ...]:
        """What could not be read, and why, in words."""
        return tuple(self.missing.values())

    def knows(self, *fields: str) -> bool:
        """Whether all of these were read."""
        return self.missing.keys().isdisjoint(fields)

    def programs(self, program: Program) -> Sequence[OtherProgram]:
        """The pods of that program that have not ended: evicted ones are kept for a while."""
        return self._programs_of.get(program, ())

    def agent_setting(self, name: str, default: str = "") -> str:
        """What agents have for it: that of the first one, of several that differ during a roll-out.

        On Linux: those of Windows nodes have no such settings.
        """
        first = next((agent for agent in self.agents if not agent.windows), None)
        return first.settings.get(name, default) if first else default

    def pool(self, node: str) -> NodeIPPool | None:
        """That node's."""
        return self._pool_of.get(node)

    def agent(self, node: str) -> ProcessFacts | None:
        """The one on that node; the ready one of two, while one replaces the other."""
        return self._agent_of.get(node)

    def quota(self, vnet_id: str) -> VNetQuota | None:
        """That VNet's."""
        return self._quota_of.get(vnet_id.lower()) if vnet_id else None

    def pods_on(self, node: str) -> Sequence[PodFacts]:
        """Those that are placed on that node."""
        return self._pods_of.get(node, ())

    def needed_in(self, vnet_id: str) -> int:
        """How many addresses the nodes of that VNet ask for, together."""
        return self._needed_in.get(vnet_id.lower(), 0)

    @cached_property
    def _pool_of(self) -> Mapping[str, NodeIPPool]:
        return {pool.name: pool for pool in reversed(self.pools)}  # of two the first

    @cached_property
    def _agent_of(self) -> Mapping[str, ProcessFacts]:
        ready_first = sorted(self.agents, key=lambda agent: not agent.ready)
        return {agent.node: agent for agent in reversed(ready_first)}

    @cached_property
    def _quota_of(self) -> Mapping[str, VNetQuota]:
        return {quota.vnet_id.lower(): quota for quota in reversed(self.quotas)}

    @cached_property
    def _pods_of(self) -> Mapping[str, Sequence[PodFacts]]:
        found = defaultdict[str, list[PodFacts]](list)
        for pod in self.pods:
            found[pod.node].append(pod)
        return found

    @cached_property
    def _programs_of(self) -> Mapping[Program, Sequence[OtherProgram]]:
        found = defaultdict[Program, list[OtherProgram]](list)
        for pod in self.pods:
            if (one := pod.other_program) is not None and pod.phase not in ENDED:
                found[one.program].append(one)
        return found

    @cached_property
    def _needed_in(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        for pool in self.pools:
            found[pool.vnet_id.lower()] += pool.view.needed
        return found


def condition_of(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of an object's status as it was read; empty where it is not there."""
    known = mappings(status.get("conditions"))
    return next((one for one in known if one.get("type") == kind), {})
