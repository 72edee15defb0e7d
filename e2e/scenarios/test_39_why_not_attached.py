"""`azure-cni why` for every cause that keeps a pod from what it asks to have attached to its address.

Each case has a pod of its own, which runs. It is asked about, and has nothing to wait for when the cause is mended.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from azurebox.client import Box
from scenarios.harness.balancing import assigned, await_written, load_balancer, nat_gateway, public_ip
from scenarios.harness.cloud import Cloud
from scenarios.harness.commandline import ask_until
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, PORT, on_nodes, servers, workload
from scenarios.harness.product import Product
from scenarios.harness.vnet import SUBNET
from scenarios.harness.why import AZURE, CLUSTER, DESCRIBE, NOBODY, OWNER, TIME, Case, Patient, Scene, treat
from scenarios.test_09_quota import Quota
from scenarios.test_30_per_pod import (
    FOREIGN_ID,
    IP,
    IP_ID,
    LB,
    MISSING_ID,
    POOL_ID,
    POOLS,
    PUBLIC_IP,
    VALUES,
    asking,
    attached,
)

__all__ = ["VALUES"]

STEP_S = 180.0
SLOW_S = 20.0
JOIN = "Microsoft.Network/loadBalancers/backendAddressPools/join/action"
OF_POD = "kubectl describe pod -n scenarios POD"
CHANGED = "nothing before that is changed"


@pytest.fixture(scope="module")
def scene(box: Box, cloud: Cloud, product: Product, nodes: list[Node]) -> Iterator[Scene]:
    """Both pools at rest, and a way out for the nodes when one of their addresses is in a load balancer's pool."""
    with nat_gateway(box, subnet=SUBNET):
        yield Scene(box, cloud, product, Quota(box), nodes[0], nodes[1], time.time())


def _annotate(scene: Scene, pod: str, what: str) -> None:
    scene.box.kubectl("annotate", "pod", "-n", NAMESPACE, pod, "--overwrite", what)


@contextmanager
def _asks(scene: Scene, name: str, annotation: str, value: str) -> Iterator[str]:
    """The name of a pod with that annotation. In the end nothing is attached any more."""
    with asking(scene.box, name, scene.node, {annotation: value}, gated=False) as made:
        yield made.ready(1)[0].name
    scene.box.wait_for(lambda: not attached(scene.node), STEP_S, "nothing to be attached")
    await_written(scene.box)


def _well_without(scene: Scene, stack: ExitStack, pod: str) -> Patient:
    """Mended by the end of what is on the stack."""

    def mend() -> None:
        stack.close()
        scene.node.read_now()

    return Patient(pod, mend, lambda: scene.well(pod))


@contextmanager
def _missing_pool(scene: Scene) -> Iterator[Patient]:
    with ExitStack() as stack, _asks(scene, "missing", POOLS, MISSING_ID) as pod:

        def mend() -> None:
            stack.enter_context(load_balancer(scene.box, "missing", subnet=SUBNET, port=80, backend_port=PORT))
            scene.node.read_now()

        yield Patient(pod, mend, lambda: scene.well(pod))


@contextmanager
def _foreign_pool(scene: Scene) -> Iterator[Patient]:
    with _asks(scene, "foreign", POOLS, FOREIGN_ID) as pod:
        yield Patient(pod, lambda: _annotate(scene, pod, f"{POOLS}-"), lambda: scene.well(pod))


@contextmanager
def _wrong_annotation(scene: Scene) -> Iterator[Patient]:
    with _asks(scene, "wrong", PUBLIC_IP, "mail") as pod:
        yield Patient(pod, lambda: _annotate(scene, pod, f"{PUBLIC_IP}-"), lambda: scene.well(pod))


@contextmanager
def _no_right_to_join(scene: Scene) -> Iterator[Patient]:
    with load_balancer(scene.box, LB, subnet=SUBNET, port=80, backend_port=PORT), ExitStack() as stack:
        stack.enter_context(scene.cloud.without(JOIN))
        with _asks(scene, "denied", POOLS, POOL_ID) as pod:
            yield _well_without(scene, stack, pod)


@contextmanager
def _slowly_attached(scene: Scene) -> Iterator[Patient]:
    slow = scene.cloud.fault("slow", at=scene.node.nic_name, operation="nic.put", duration=SLOW_S)
    with (
        load_balancer(scene.box, LB, subnet=SUBNET, port=80, backend_port=PORT),
        slow,
        _asks(scene, "pending", POOLS, POOL_ID) as pod,
    ):
        yield Patient(pod, lambda: None, lambda: scene.well(pod))


@contextmanager
def _public_ip_elsewhere(scene: Scene) -> Iterator[Patient]:
    (host,) = (one for one in on_nodes(scene.box) if one.node == scene.other.name)
    with public_ip(scene.box, IP), ExitStack() as stack:
        stack.enter_context(assigned(scene.box, IP, host.address))
        with _asks(scene, "greedy", PUBLIC_IP, IP_ID) as pod:
            yield _well_without(scene, stack, pod)


@contextmanager
def _on_the_nodes_network(scene: Scene) -> Iterator[Patient]:
    with servers(scene.box, "hosted", node=scene.node.name) as made:
        spec = {"args": ["netexec", "--http-port=8099"], "readinessProbe": None}
        document = workload("hosted", node=scene.node.name, replicas=1, pod={"hostNetwork": True}, container=spec)
        document["spec"]["template"]["metadata"]["annotations"] = {POOLS: POOL_ID}
        scene.box.apply(document)
        (pod,) = made.ready(1)

        def well() -> None:
            (found,) = ask_until(
                scene.box, lambda all_: all_[0]["healthy"], "why", f"{NAMESPACE}/{pod.name}", within_s=STEP_S
            )
            assert found["cause"] == "HostNetwork"

        yield Patient(pod.name, lambda: _annotate(scene, pod.name, f"{POOLS}-"), well)


def _holds(node: Node, count: int, address: str) -> bool:
    """So many addresses in its ledger, that one among them."""
    known = {str(slot.address) for slot in node.slots()}
    return len(known) == count and address in known


@contextmanager
def _nothing_asked(scene: Scene) -> Iterator[Patient]:
    """The gate alone. With the annotation added it has what it waits for."""
    with load_balancer(scene.box, LB, subnet=SUBNET, port=80, backend_port=PORT):
        with asking(scene.box, "unasked", scene.node, {}) as made:
            placed = scene.box.wait_for(
                lambda: [pod for pod in made.pods() if int(pod.address)], STEP_S, "the pod to have its address"
            )
            pod = placed[0].name
            yield Patient(pod, lambda: _annotate(scene, pod, f"{POOLS}={POOL_ID}"), lambda: scene.well(pod))
        scene.box.wait_for(lambda: not attached(scene.node), STEP_S, "nothing to be attached")
        await_written(scene.box)


@contextmanager
def _on_a_foreign_address(scene: Scene) -> Iterator[Patient]:
    """Of two pods, the one on the address that another tool made."""
    node = scene.other
    node.want(size=1)
    scene.box.wait_for(lambda: node.counts().allocated == 1, STEP_S, f"one address on {node.name}")
    (added,) = scene.box.azure("POST", f"/nics/{node.nic_name}/appear", {"count": 1})["addresses"]
    try:
        node.want(size=2)
        node.read_now()
        scene.box.wait_for(lambda: _holds(node, 2, added), STEP_S, "the other node to know of both its addresses")
        with asking(scene.box, "adopted", node, {POOLS: POOL_ID}, replicas=2, gated=False) as made:
            pod = next(one.name for one in made.ready(2) if str(one.address) == added)
            yield Patient(pod, lambda: _annotate(scene, pod, f"{POOLS}-"), lambda: scene.well(pod))
    finally:
        scene.box.azure("POST", f"/nics/{node.nic_name}/vanish", {"addresses": [added]})
        node.want()


CASES = (
    Case("AttachmentNotFound", _missing_pool, OWNER, OF_POD, "Azure does not find the load balancer pool missing/pods",
         f"it is tried again at {TIME}"),
    Case("AttachmentNotAllowed", _foreign_pool, CLUSTER, OF_POD, "load balancer pool foreign/pods", CHANGED),
    Case("AttachmentInvalid", _wrong_annotation, OWNER, OF_POD, "azure-cni.io/public-ip has 'mail'", CHANGED),
    Case("AttachmentDenied", _no_right_to_join, AZURE, DESCRIBE, JOIN, f"it is tried again at {TIME}"),
    Case("AttachmentInUse", _public_ip_elsewhere, OWNER, OF_POD, "public IP address",
         rf"tries it again, after 15 minutes at the latest|tried again at {TIME}|the next is at {TIME}"),
    Case("AttachmentHostNetwork", _on_the_nodes_network, OWNER, OF_POD, "hostNetwork", CHANGED),
    Case("AttachmentNotAsked", _nothing_asked, OWNER, OF_POD, "never becomes ready", CHANGED),
    Case("AttachmentImpossible", _on_a_foreign_address, OWNER, OF_POD, "others made the ipConfiguration", CHANGED),
    Case("AttachmentPending", _slowly_attached, NOBODY, "azure-cni plan NODE", "not attached yet",
         "the agent attaches it with the next write of the NIC"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.cause)
def test_a_pod_without_what_it_asks_for_learns_why_and_has_it_when_that_is_mended(scene: Scene, case: Case) -> None:
    treat(scene, case)
