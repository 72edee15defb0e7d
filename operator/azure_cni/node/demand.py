"""Who needs an address and has none: the pods of this node, and the ADDs that wait.

Pods are seen a moment before their ADD (the scheduler binds, the kubelet pulls images), so the pool can grow while
the runtime still prepares the sandbox. An ADD that waits counts even if its pod was never seen.

A watch tells every change, but not what happened while it was broken: now and then the whole list is taken over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azure_cni.api.reading import mapping, metadata_of, spec_of, status_of, text
from azure_cni.ipam.ledger import Ledger
from azure_cni.ipam.life import Holder, Sandbox
from azure_cni.node.liveness import Presence

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

    @property
    def reference(self) -> dict[str, str]:
        """An object reference for events."""
        return {"apiVersion": "v1", "kind": "Pod", "namespace": self.namespace, "name": self.name, "uid": self.uid}


def pod_of(body: Mapping[str, Any]) -> Pod | None:
    """What of a Pod object matters here; None for pods that never hold an address of ours (any longer)."""
    metadata, spec, status = metadata_of(body), spec_of(body), status_of(body)
    namespace, name, uid = (text(metadata.get(key)) for key in ("namespace", "name", "uid"))
    if spec.get("hostNetwork") or text(status.get("phase")) in FINISHED or not (namespace and name and uid):
        return None
    return Pod(
        namespace=namespace,
        name=name,
        uid=uid,
        static_uid=text(mapping(metadata.get("annotations")).get(_STATIC_UID)),
        needs_address=not status.get("podIP") and not metadata.get("deletionTimestamp"),
    )


def _uids(pod: Pod) -> tuple[str, ...]:
    return (pod.uid, pod.static_uid) if pod.static_uid else (pod.uid,)


class Demand:
    """The pods of this node, and the ADDs that wait now."""

    def __init__(self) -> None:
        self._pods: dict[str, Pod] = {}
        self._asking: dict[Sandbox, Holder] = {}
        self.listed = False
        """Pods of this node have been seen: only then a pod's absence means anything."""
        self.lists_begun = 0
        self.lists_taken = 0
        """The number of the newest list that was taken over, as counted by `lists_begun`."""
        self._told: set[str] = set()
        """The pods of which the watch told something since the last list began."""

    def see(self, body: Mapping[str, Any]) -> None:
        """A pod was listed, added or changed."""
        self.listed = True
        pod = pod_of(body)
        if pod is None:
            self.forget(text(metadata_of(body).get("uid")))
        else:
            self._told.add(pod.uid)
            self._pods[pod.uid] = pod

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        self._told.add(uid)
        self._pods.pop(uid, None)

    def begin_list(self) -> None:
        """A list of this node's pods is asked for now: what the watch tells from here on is newer than it."""
        self.lists_begun += 1
        self._told.clear()

    def replace(self, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Take over the whole list that was begun last; of pods that the watch told of meanwhile, what it told."""
        listed = {pod.uid: pod for pod in map(pod_of, bodies) if pod is not None and pod.uid not in self._told}
        told = {uid: pod for uid, pod in self._pods.items() if uid in self._told}
        self._pods = listed | told
        self.lists_taken = self.lists_begun
        self.listed = True

    @contextmanager
    def asking(self, holder: Holder) -> Iterator[None]:
        """Count this sandbox as waiting while the block runs."""
        self._asking[holder.sandbox] = holder
        try:
            yield
        finally:
            del self._asking[holder.sandbox]

    def pod(self, namespace: str, name: str) -> Pod | None:
        """The pod of that name, if this node has it."""
        return next((pod for pod in self._pods.values() if (pod.namespace, pod.name) == (namespace, name)), None)

    def presence(self, holder: Holder) -> Presence:
        """What is known of the holder's pod. A pod that has finished, or came again with another UID, is absent."""
        if not holder.pod_name:
            return Presence.NO_POD
        name = (holder.pod_namespace, holder.pod_name)
        uids = {uid for pod in self._pods.values() if (pod.namespace, pod.name) == name for uid in _uids(pod)}
        if uids and (not holder.pod_uid or holder.pod_uid in uids):
            return Presence.HERE
        return Presence.ABSENT if self.listed else Presence.UNKNOWN

    def waiting(self, ledger: Ledger) -> int:
        """How many need an address and have none; a pod and its own ADD count once."""
        held = {(slot.holder.pod_namespace, slot.holder.pod_name) for slot in ledger.slots if slot.holder is not None}
        pods = {(pod.namespace, pod.name) for pod in self._pods.values() if pod.needs_address} - held
        named = {(h.pod_namespace, h.pod_name) for h in self._asking.values() if h.pod_name}
        return len(pods | named) + sum(1 for holder in self._asking.values() if not holder.pod_name)
