"""`azure-cni why` for every other cause: pods without a node or without more than a network, pods with an address and
no traffic, and pods with which nothing is wrong.

Each case has a pod of its own. It is asked about, and is well again when the cause is mended.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from azurebox.client import Box
from scenarios.harness.cloud import Cloud
from scenarios.harness.commandline import ask, ask_until, follow
from scenarios.harness.line_of_pods import EVERYWHERE
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, Pod, Workload, on_nodes, servers, workload
from scenarios.harness.product import Product
from scenarios.harness.why import (
    CLUSTER,
    DESCRIBE,
    KUBELET,
    LOGS,
    NOBODY,
    OWNER,
    TIME,
    Case,
    Patient,
    Scene,
    judge,
    treat,
)
from scenarios.test_09_quota import Quota

STEP_S = 180.0
LAG_S = 61.0
"""An address that a pod got within the last minute may be missing in what its pool shows."""
OF_POD = "kubectl describe pod -n scenarios POD"
DELETE = "kubectl delete pod -n scenarios POD"
LABEL = "scenario-place"


@pytest.fixture(scope="module")
def scene(box: Box, cloud: Cloud, product: Product, nodes: list[Node]) -> Scene:
    """Both pools at rest."""
    return Scene(box, cloud, product, Quota(box), nodes[0], nodes[1], time.time())


@pytest.fixture(scope="module", autouse=True)
def old(scene: Scene) -> Iterator[tuple[Workload, float]]:
    """A pod that has run for long when it is asked about, and since when."""
    with servers(scene.box, "old", node=scene.node.name, replicas=1) as made:
        yield made, time.monotonic()


# Pods without a node, or without more than a network.


@contextmanager
def _placed(scene: Scene, name: str, spec: Mapping[str, Any], **container: Any) -> Iterator[Pod]:
    """One pod of that name with these fields, on the scene's node unless they say otherwise."""
    place = {"nodeSelector": {"kubernetes.io/hostname": scene.node.name}}
    with servers(scene.box, name, node="", pod={**place, **spec}, container=container) as made:
        made.scale(1)
        yield scene.box.wait_for(lambda: next(iter(made.pods()), None), STEP_S, f"a pod of {name}")


@contextmanager
def _nowhere(scene: Scene) -> Iterator[Patient]:
    with _placed(scene, "nowhere", {"nodeSelector": {LABEL: "here"}}) as pod:
        try:
            label = ("label", "node", scene.node.name)
            yield Patient(pod.name, lambda: scene.box.kubectl(*label, f"{LABEL}=here"), lambda: scene.well(pod.name))
        finally:
            scene.box.kubectl(*label, f"{LABEL}-")


@contextmanager
def _without_secret(scene: Scene) -> Iterator[Patient]:
    """The sandbox is made when the volumes that a container mounts are there."""
    volume = {"name": "absent", "secret": {"secretName": "scenario-secret"}}
    secret = ("secret", "generic", "scenario-secret", "-n", NAMESPACE)
    mount = {"name": "absent", "mountPath": "/absent"}
    with _placed(scene, "absent", {"volumes": [volume]}, volumeMounts=[mount]) as pod:
        try:
            yield Patient(pod.name, lambda: scene.box.kubectl("create", *secret), lambda: scene.well(pod.name))
        finally:
            scene.box.kubectl("delete", "secret", "scenario-secret", "-n", NAMESPACE, "--ignore-not-found")


@contextmanager
def _without_runtime(scene: Scene) -> Iterator[Patient]:
    """The runtime knows no such class and makes no sandbox: the kubelet's event is that of a failed network."""
    box, name = scene.box, "scenario-runtime"

    def make(handler: str) -> None:
        kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass"}
        box.apply({**kind, "metadata": {"name": name}, "handler": handler})

    def mend() -> None:
        box.kubectl("delete", "runtimeclass", name)
        make("runc")

    make("missing")
    try:
        with _placed(scene, "classy", {"runtimeClassName": name}) as pod:
            yield Patient(pod.name, mend, lambda: scene.well(pod.name))
    finally:
        box.kubectl("delete", "runtimeclass", name)


@contextmanager
def _tainted(scene: Scene) -> Iterator[Patient]:
    """The node holds one address, which a pod has, and the taint follows after 15 seconds."""
    scene.node.want(size=1)
    try:
        scene.box.wait_for(scene.node.tainted, STEP_S, "the taint")
        with _placed(scene, "late", {}) as pod:
            yield Patient(pod.name, scene.node.want, lambda: scene.well(pod.name))
    finally:
        scene.node.want()


# Pods with an address.


@contextmanager
def _address_on_lo(scene: Scene) -> Iterator[Patient]:
    node = scene.node
    free = next(slot.address for slot in node.slots() if slot.state == "free")
    taken = ("ip", "address", "delete", f"{free}/32", "dev", "lo")
    with servers(scene.box, "beside", node=node.name, replicas=1) as made:
        (pod,) = made.pods()
        node.run("ip", "address", "add", f"{free}/32", "dev", "lo")
        try:

            def mend() -> None:
                (said,) = ask("why", f"{NAMESPACE}/{pod.name}", "-o", "json").document
                command = re.search(r"Run: (ip address delete \S+ dev \S+)", said["message"])
                assert command, said["message"]
                node.run(*command[1].split())

            yield Patient(pod.name, mend, lambda: scene.well(pod.name))
        finally:
            node.run("sh", "-c", f"{' '.join(taken)} 2>/dev/null || true")


@contextmanager
def _kernel_in_the_way(scene: Scene) -> Iterator[Patient]:
    """Another program has an interface of the bridge's name, and the node is to have pods in mode bridge."""
    node = scene.other
    with servers(scene.box, "unwired", node=node.name, pod=EVERYWHERE) as made:
        node.run("sh", "-c", "ip link delete azure0 2>/dev/null; ip link add azure0 type veth peer name not-ours")
        node.want(mode="bridge")
        try:
            made.scale(1)
            pod = scene.box.wait_for(lambda: next(iter(made.pods()), None), STEP_S, "the pod")
            yield Patient(pod.name, lambda: node.run("ip", "link", "delete", "azure0"), lambda: scene.well(pod.name))
        finally:
            node.run("sh", "-c", "ip -d link show azure0 | grep -q veth && ip link delete azure0; true")
            made.settle(0)
            node.want()


CASES = (
    Case("Unschedulable", _nowhere, OWNER, OF_POD, "didn't match Pod's node affinity/selector",
         "the scheduler tries again when pods or nodes change"),
    Case("NotOurs", _without_secret, OWNER, OF_POD, 'secret "scenario-secret" not found',
         "the kubelet tries the pod again every 10 to 15 s"),
    Case("NotOurs", _without_runtime, OWNER, OF_POD, "FailedCreatePodSandBox",
         "the kubelet tries the pod again every 10 to 15 s"),
    Case("NoFreeAddresses", _tainted, CLUSTER, "azure-cni status", "NODE: NodeAtLimit, this node holds 1 of at most",
         "the scheduler tries again when a node loses the taint, 15 s after it has room",
         pasted=False),  # it ends with 1, because a node is full
    Case("DatapathFailed", _kernel_in_the_way, CLUSTER, LOGS, "cannot use azure0 as the pods' bridge",
         rf"{TIME}|{KUBELET}"),
    Case("HostConflict", _address_on_lo, CLUSTER, DESCRIBE, "AddressElsewhere: interfaces of the node have addresses",
         "the agent looks at the host again within a minute"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.trouble.__name__.removeprefix("_"))
def test_a_pod_that_is_not_well_learns_why_and_is_when_that_is_mended(scene: Scene, case: Case) -> None:
    treat(scene, case)


# An address that is lost.


def test_a_pod_that_lost_its_address_is_deleted_by_the_command(scene: Scene, old: tuple[Workload, float]) -> None:
    made, since_s = old
    (pod,) = made.ready(1)
    time.sleep(max(0.0, LAG_S - (time.monotonic() - since_s)))
    scene.node.want(paused=True)  # else the next write finds it, at some other time
    try:
        begun_s = time.time()
        scene.box.azure("POST", f"/nics/{scene.node.nic_name}/vanish", {"addresses": [str(pod.address)]})
        scene.node.read_now()
        why = scene.asked(pod.name, LOST)
        judge(why, LOST, {"POD": pod.name}, begun_s=begun_s)
        follow(why["command"])
        (after,) = made.ready(1)
        assert after.uid != pod.uid
        scene.well(after.name)
    finally:
        scene.node.want()


LOST = Case("AddressesLost", lambda _: ExitStack(), OWNER, DELETE, "pods hold addresses that are no longer on the NIC",
            "nothing: this pod cannot get an address that works")  # fmt: skip


def test_of_two_pods_with_one_address_the_command_deletes_the_one_that_lost_it(scene: Scene) -> None:
    """Another tool removes it from one NIC, and Azure gives it to the other."""
    box, node, other = scene.box, scene.node, scene.other
    other.want(size=1)
    with (
        servers(box, "robbed", node=node.name, replicas=1) as robbed,
        servers(box, "heir", node=other.name, pod=EVERYWHERE) as heirs,
    ):
        heirs.settle(1)
        (pod,) = robbed.pods()
        address = str(pod.address)
        node.want(paused=True)
        try:
            with scene.cloud.subnet_left_with(0):
                box.azure("POST", f"/nics/{node.nic_name}/vanish", {"addresses": [address]})
                assert box.azure("POST", f"/nics/{other.nic_name}/appear", {"count": 1})["addresses"] == [address]
                node.read_now()
                other.read_now()
                heirs.settle(2)
            assert address in {str(heir.address) for heir in heirs.pods()}
            why = scene.asked(pod.name, TWICE)
            judge(why, TWICE, {"POD": pod.name, "NODE": node.name}, begun_s=scene.begun_s)
            follow(why["command"])
            (after,) = robbed.ready(1)
            scene.well(after.name)
        finally:
            heirs.settle(0)
            box.azure("POST", f"/nics/{other.nic_name}/vanish", {"addresses": [address]})
            for one in (node, other):
                one.want()


TWICE = Case("AddressTwice", lambda _: ExitStack(), OWNER, DELETE,
             "the NIC of node NODE, where scenarios/POD is, has not got it",
             "nothing: two pods have it until one of them is deleted")  # fmt: skip


def test_nothing_is_wrong_with_pods_that_run_have_ended_or_are_on_the_nodes_network(
    scene: Scene, old: tuple[Workload, float]
) -> None:
    ended = {"restartPolicy": "Never", "containers": [{**_short(["pause", "--help"])}]}
    metadata = {"name": "ended", "namespace": NAMESPACE, "labels": {"app": "ended"}}
    place = {"nodeSelector": {"kubernetes.io/hostname": scene.node.name}}
    scene.box.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**ended, **place}})
    try:
        expected = {
            f"{NAMESPACE}/ended": "Ended",
            f"{NAMESPACE}/{old[0].pods()[0].name}": "Addressed",
            f"{NAMESPACE}/{on_nodes(scene.box)[0].name}": "HostNetwork",
        }
        for name, cause in expected.items():
            is_so = partial(_names, cause)
            (found,) = ask_until(scene.box, is_so, "why", name, within_s=STEP_S)
            assert (found["healthy"], found["actor"], found["nextStep"]) == (True, NOBODY, "")
            assert ask("why", name).code == 0
    finally:
        scene.box.kubectl("delete", "pod", "-n", NAMESPACE, "ended", "--wait=false")


def _names(cause: str, answers: Sequence[Mapping[str, Any]]) -> bool:
    return bool(answers[0]["cause"] == cause)


def _short(args: Sequence[str]) -> dict[str, Any]:
    spec = workload("x", node="", replicas=1)["spec"]["template"]["spec"]["containers"][0]
    return {"name": "short", "image": spec["image"], "imagePullPolicy": "Never", "args": list(args)}


WELL = ("Addressed", "Ended", "HostNetwork")
