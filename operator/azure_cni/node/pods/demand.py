"""Who needs an address and has none: the pods of this node, and the ADDs that wait.

Pods are seen a moment before their ADD (the scheduler binds, the kubelet pulls images), so the pool can grow while
the runtime still prepares the sandbox. An ADD that waits counts even if its pod was never seen.

A watch shows every change, but not what happened while it was broken, so from time to time a whole list replaces it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azure_cni.api.egress import EGRESS, LONGEST
from azure_cni.api.pod_annotations import (
    NOTHING,
    PodAnnotations,
    PodCondition,
    attached_condition,
    is_gated,
    read_annotations,
)
from azure_cni.api.reading import mapping, metadata_of, spec_of, status_of, text
from azure_cni.ipam.address_state import Holder, Sandbox
from azure_cni.ipam.ledger import Ledger
from azure_cni.node.pods.liveness import PodKey, Presence, UnmetAdd, pod_key

_STATIC_UID = "kubernetes.io/config.mirror"
"""Annotation of a mirror pod: the UID of the static pod that it shows. The kubelet gives the runtime that one."""

FINISHED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Pod:
    """The little that is kept of a pod."""

    namespace: str
    name: str
    uid: str
    needs_address: bool
    """Pending, on the pod network, without an address, not on its way out."""
    static_uid: str = ""
    """The UID by which the node knows a static pod; "" for others."""
    annotations: PodAnnotations = NOTHING
    gated: bool = False
    """Ready only with the condition that what it asks for is attached."""
    attached: PodCondition | None = None
    """That condition as it is."""
    ending: bool = False
    """On its way out: its containers may still answer, and nobody new should be sent to it."""
    egress: str = ""
    """The beginning of its annotation about egress, whatever that is; "" where it has none."""
    on_node_network: bool = False
    """It has the node's address (`hostNetwork`), and none of the pool."""

    @property
    def asks(self) -> bool:
        """Whether it asks for something to be attached to its address, or waits for that."""
        return self.gated or self.annotations != NOTHING

    def holds_as(self, holder: Holder) -> bool:
        """Whether this is the holder's pod: runtimes may say nothing of its UID."""
        named = (self.namespace, self.name) == (holder.pod_namespace, holder.pod_name)
        return named and holder.pod_uid in {"", *_uids(self)}

    @property
    def reference(self) -> dict[str, str]:
        """An object reference for events."""
        return {"apiVersion": "v1", "kind": "Pod", "namespace": self.namespace, "name": self.name, "uid": self.uid}


def pod_of(body: Mapping[str, Any]) -> Pod | None:
    """What of a Pod object matters here; None for pods that have ended, and for those on the node's network whose
    annotations ask for nothing.
    """
    metadata, spec, status = metadata_of(body), spec_of(body), status_of(body)
    namespace, name, uid = (text(metadata.get(key)) for key in ("namespace", "name", "uid"))
    if text(status.get("phase")) in FINISHED or not (namespace and name and uid):
        return None
    annotations, ending = mapping(metadata.get("annotations")), bool(metadata.get("deletionTimestamp"))
    on_node_network = bool(spec.get("hostNetwork"))
    pod = Pod(
        namespace=namespace,
        name=name,
        uid=uid,
        static_uid=text(annotations.get(_STATIC_UID)),
        egress=text(annotations.get(EGRESS))[:LONGEST],
        needs_address=not (status.get("podIP") or ending or on_node_network),
        annotations=read_annotations(annotations),
        gated=is_gated(spec),
        attached=attached_condition(status),
        ending=ending,
        on_node_network=on_node_network,
    )
    return pod if pod.asks or pod.egress or not on_node_network else None


def _uids(pod: Pod) -> tuple[str, ...]:
    return (pod.uid, pod.static_uid) if pod.static_uid else (pod.uid,)


class Demand:
    """The pods of this node, and the ADDs that wait now. Without `has_pods`, what runtimes call pods is containers."""

    def __init__(self, *, has_pods: bool = True) -> None:
        self._has_pods = has_pods
        self._pods: dict[str, Pod] = {}
        self._on_node_network: dict[str, Pod] = {}
        """Those that ask for what they cannot have. Apart, for they hold and need no address."""
        self._waiting_adds: dict[Sandbox, Holder] = {}
        self._asked: dict[PodKey, UnmetAdd] = {}
        self.listed = False
        """Pods of this node have been seen: only then a pod's absence means anything."""
        self.lists_requested = 0
        self.lists_applied = 0
        """The number of the newest list that was applied, as counted by `lists_requested`."""
        self._reported: set[str] = set()
        """The pods that the watch reported since the last list began."""

    def observe_pod(self, body: Mapping[str, Any]) -> None:
        """A pod was listed, added or changed."""
        self.listed = True
        pod = pod_of(body)
        if pod is None:
            self.forget_pod(text(metadata_of(body).get("uid")))
        else:
            self._reported.add(pod.uid)
            (self._on_node_network if pod.on_node_network else self._pods)[pod.uid] = pod

    def forget_pod(self, uid: str) -> None:
        """A pod is gone."""
        self._reported.add(uid)
        self._pods.pop(uid, None)
        self._on_node_network.pop(uid, None)

    def begin_list(self) -> None:
        """A list of this node's pods is requested now: what the watch shows from here on is newer than the list."""
        self.lists_requested += 1
        self._reported.clear()

    def replace(self, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Apply the list that was requested last; for pods that the watch has shown meanwhile, what it showed."""
        listed = {pod.uid: pod for pod in map(pod_of, bodies) if pod is not None and pod.uid not in self._reported}
        known = self._pods | self._on_node_network
        current = listed | {uid: pod for uid, pod in known.items() if uid in self._reported}
        self._pods = {uid: pod for uid, pod in current.items() if not pod.on_node_network}
        self._on_node_network = {uid: pod for uid, pod in current.items() if pod.on_node_network}
        self.lists_applied = self.lists_requested
        self.listed = True

    @contextmanager
    def count_waiting(self, holder: Holder, *, asked_s: float) -> Iterator[None]:
        """Count this sandbox, which asked at that boot time, as waiting while the block runs."""
        self._waiting_adds[holder.sandbox] = holder
        if holder.pod_name:
            self._asked[pod_key(holder)] = UnmetAdd(holder.sandbox.container_id, asked_s)
        try:
            yield
        finally:
            del self._waiting_adds[holder.sandbox]

    def pod(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name, if this node has it."""
        return next((pod for pod in self._pods.values() if (pod.namespace, pod.name) == (namespace, name)), None)

    @property
    def knows_pods(self) -> bool:
        """Whether all pods of this node have been listed, so that the absence of one means something."""
        return bool(self.lists_applied) or not self._has_pods

    @property
    def pods(self) -> Collection[Pod]:
        """All that are known of this node and have or need an address of the pool."""
        return tuple(self._pods.values())

    @property
    def asking_in_vain(self) -> Collection[Pod]:
        """Pods on the node's network whose annotations ask for what only an address of their own can have."""
        return tuple(self._on_node_network.values())

    def pod_of(self, holder: Holder) -> Pod | None:
        """The very pod that holds an address, and not another one of its name; None while it is not known."""
        return next((pod for pod in self._pods.values() if pod.holds_as(holder)), None)

    def presence(self, holder: Holder) -> Presence:
        """What is known of the holder's pod. A pod that has finished, or came again with another UID, is absent."""
        if not holder.pod_name or not self._has_pods:
            return Presence.NO_POD
        name = (holder.pod_namespace, holder.pod_name)
        uids = {uid for pod in self._pods.values() if (pod.namespace, pod.name) == name for uid in _uids(pod)}
        if uids and (not holder.pod_uid or holder.pod_uid in uids):
            return Presence.HERE
        return Presence.ABSENT if self.listed else Presence.UNKNOWN

    def asked(self, ledger: Ledger) -> Mapping[PodKey, UnmetAdd]:
        """The newest ADD that found no address free, of each pod that holds one. Others are forgotten."""
        holding = {pod_key(slot.holder) for slot in ledger.slots if slot.holder is not None}
        self._asked = {pod: add for pod, add in self._asked.items() if pod in holding}
        return self._asked

    def waiting(self, ledger: Ledger) -> int:
        """How many need an address and have none; a pod and its own ADD count once."""
        held = {(slot.holder.pod_namespace, slot.holder.pod_name) for slot in ledger.slots if slot.holder is not None}
        pods = {(pod.namespace, pod.name) for pod in self._pods.values() if pod.needs_address} - held
        named = {(h.pod_namespace, h.pod_name) for h in self._waiting_adds.values() if h.pod_name}
        return len(pods | named) + sum(1 for holder in self._waiting_adds.values() if not holder.pod_name)
