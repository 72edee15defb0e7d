"""Test pods: Kubernetes' own test server (agnhost netexec) with Python beside it, where the test wants them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from azurebox.client import Box
from azurebox.facts import AGNHOST
from azurebox.steps import StepError

NAMESPACE = "scenarios"
ON_NODE = "on-node"
PORT = 8080
START_S = 240.0
END_S = 240.0
NO_IPV6 = IPv6Address(0)
INSIDE = Path(__file__).with_name("inside.py").read_text()


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod; `address` is 0.0.0.0 until it has one, `ipv6` :: until then, and with one family for ever."""

    name: str
    uid: str
    node: str
    address: IPv4Address
    ready: bool
    ipv6: IPv6Address = NO_IPV6


NOTHING: Mapping[str, Any] = {}


def workload(
    name: str,
    *,
    node: str,
    replicas: int,
    labels: Mapping[str, str] = NOTHING,
    pod: Mapping[str, Any] = NOTHING,
    container: Mapping[str, Any] = NOTHING,
) -> dict[str, Any]:
    """A Deployment of test servers on one node, or ("") wherever the scheduler sends them.

    `labels`, `pod` and `container` add to those of a test server, or replace them.
    """
    place = {"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}
    spec = server_spec()
    spec["containers"] = [{**spec["containers"][0], **container}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "kind": "server", **labels}},
                "spec": {**spec, **pod, **place},
            },
        },
    }


def server_spec() -> dict[str, Any]:
    """The pod's spec: a server that says whom it sees calling."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "dnsPolicy": "Default",  # most scenarios run without the cluster's DNS
        "containers": [
            {
                "name": "server",
                "image": AGNHOST,
                "imagePullPolicy": "Never",
                "args": ["netexec", f"--http-port={PORT}"],
                "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
            }
        ],
    }


class Workload:
    """A Deployment of test servers, scaled at will."""

    def __init__(self, box: Box, name: str) -> None:
        self._box = box
        self.name = name

    def pods(self) -> list[Pod]:
        """Its pods, those that are ending too."""
        return labelled(self._box, f"app={self.name}")

    def scale(self, replicas: int) -> None:
        """Ask for that many, and do not wait."""
        self._box.kubectl("scale", "-n", NAMESPACE, f"deployment/{self.name}", f"--replicas={replicas}")

    def settle(self, replicas: int, *, timeout_s: float = START_S) -> list[Pod]:
        """Scale, and wait until exactly that many are there and ready."""
        self.scale(replicas)
        return self.ready(replicas, timeout_s=timeout_s)

    def ready(self, replicas: int, *, timeout_s: float = START_S) -> list[Pod]:
        """Wait until exactly that many are there and ready."""

        def all_ready() -> list[Pod] | None:
            pods = self.pods()
            return pods if len(pods) == replicas and all(pod.ready for pod in pods) else None

        if replicas == 0:
            self._box.wait_for(lambda: not self.pods(), END_S, f"the pods of {self.name} to be gone")
            return []
        return self._box.wait_for(all_ready, timeout_s, f"{replicas} pods of {self.name} to be ready")

    def scale_beyond(self, replicas: int, *, ready: int) -> list[Pod]:
        """Ask for that many, of which only some can start, and wait until these are ready; the others."""
        self.scale(replicas)

        def stuck() -> list[Pod] | None:
            pods = self.pods()
            waiting = [pod for pod in pods if not pod.ready]
            return waiting if (len(pods), len(waiting)) == (replicas, replicas - ready) else None

        return self._box.wait_for(stuck, START_S, f"{ready} of {replicas} pods of {self.name} to be ready")


@contextmanager
def servers(box: Box, name: str, *, node: str, replicas: int = 0, **special: Mapping[str, Any]) -> Iterator[Workload]:
    """A workload with that many ready pods; it is gone, and its pods too, when the block ends.

    `special` is what `workload` adds to its pods.
    """
    made = Workload(box, name)
    box.apply(workload(name, node=node, replicas=replicas, **special))
    try:
        if replicas:
            made.ready(replicas)
        yield made
    finally:
        box.kubectl("delete", "deployment", "-n", NAMESPACE, name, "--wait=false", "--ignore-not-found")
        made.ready(0)


@contextmanager
def single(box: Box, name: str, spec: Mapping[str, Any], *, node: str) -> Iterator[Pod]:
    """A pod of no workload, once it is ready; it is gone when the block ends."""
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}
    place = {"nodeSelector": {"kubernetes.io/hostname": node}}
    box.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, **place}})
    try:
        yield Workload(box, name).ready(1)[0]
    finally:
        box.kubectl("delete", "pod", "-n", NAMESPACE, name)


def ask(box: Box, pod: Pod, targets: Sequence[str]) -> dict[str, str]:
    """What each target (HOST:PORT/PATH) answers to the pod; "!" and why, where it does not."""
    answers: dict[str, str] = json.loads(
        box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "python3", "-c", INSIDE, "ask", *targets)
    )
    return answers


def on_nodes(box: Box) -> list[Pod]:
    """The test servers in the nodes' own networks, one a node."""
    return labelled(box, f"app={ON_NODE}")


def labelled(box: Box, selector: str, *, namespace: str = NAMESPACE) -> list[Pod]:
    """The pods that a selector of labels finds, those that are ending or have ended too."""
    return [_pod(item) for item in box.kubectl_json("get", "pods", "-n", namespace, "-l", selector)["items"]]


def event_for(box: Box, name: str, *words: str, kind: str = "Pod", timeout_s: float = START_S) -> str:
    """Wait for an event of that object with all these words in it; the event, as "Reason: message"."""

    def found() -> str:
        events = _events(box, kind, name)
        event = next((event for event in events if all(word in event for word in words)), None)
        if event is None:
            raise StepError("not yet", output="\n".join(events) or "it has no events")
        return event

    return box.wait_for(found, timeout_s, f"an event of {kind} {name} that says {' and '.join(words)}")


def _events(box: Box, kind: str, name: str) -> list[str]:
    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    items = box.kubectl_json("get", "events", "-A", "--field-selector", selector)["items"]
    return [f"{item['reason']}: {item.get('message', '')}" for item in items]


def _pod(item: dict[str, Any]) -> Pod:
    status = item.get("status", {})
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
    return Pod(
        name=item["metadata"]["name"],
        uid=item["metadata"]["uid"],
        node=item["spec"].get("nodeName", ""),
        address=IPv4Address(status.get("podIP", 0)),
        ready=ready and not item["metadata"].get("deletionTimestamp"),
        ipv6=IPv6Address(next((one["ip"] for one in status.get("podIPs", ()) if ":" in one["ip"]), 0)),
    )
