"""What people do with a node's VM: stop, resize and move it, delete its Node, replace it, make it from an image.

All of it is done to a third node, which is gone in the end.
"""

import json
from collections.abc import Iterator

import pytest

from azurebox.client import Box
from scenarios.harness.node import CONFLIST, Node
from scenarios.harness.pods import Workload, servers
from scenarios.harness.product import Product

PODS = 4
STEP_S = 240.0


@pytest.fixture(scope="module")
def third(box: Box, product: Product) -> Iterator[Node]:
    before, made = set(box.nodes), set[str]()
    try:
        node = Node(box, box.add_node())
        made.add(node.name)  # box.nodes has no VM that is off
        product.await_ready()
        box.wait_for(lambda: len(node.on_nic()) >= PODS, STEP_S, f"addresses on the NIC of {node.name}")
        yield node
    finally:
        for name in made | set(box.nodes) - before:
            box.remove(name, keep_nic=False)


@pytest.mark.parametrize("cloned", [False, True], ids=["with an empty disk", "with a disk made from another node's"])
def test_a_vm_that_is_replaced_under_its_name(
    box: Box, product: Product, third: Node, nodes: list[Node], *, cloned: bool
) -> None:
    """The cluster hears nothing of it: Node, pool and pods stay. The pods get addresses of the new VM's own NIC."""
    with servers(box, "replaced", node=third.name, replicas=PODS) as workload:
        third.agrees(assigned=PODS)
        before = third.pool()
        box.replace(third.name, like=nodes[0].name if cloned else "")
        box.wait_for(
            lambda: third.pool()["status"].get("vmID") != before["status"]["vmID"],
            STEP_S,
            "the new VM to have the pool",
        )
        assert third.pool()["metadata"]["uid"] == before["metadata"]["uid"]
        _comes_back(box, product, third)
        _have_addresses_of(box, third, workload)
        assert json.loads(third.run("cat", CONFLIST))["name"] == json.loads(nodes[0].run("cat", CONFLIST))["name"]
    for node in nodes:
        node.agrees(assigned=0)


def test_stopped_resized_and_started_on_another_host(box: Box, product: Product, third: Node) -> None:
    """Pods come back on addresses of the same NIC, which nobody has written; meanwhile they stay granted."""
    with servers(box, "resized", node=third.name, replicas=PODS) as workload:
        third.agrees(assigned=PODS)
        nic, vm_id = third.nic()["etag"], third.pool()["status"]["vmID"]
        box.power_off(third.name)
        box.wait_for(lambda: _ready(box, third) == "Unknown", STEP_S, "Kubernetes to miss the node")
        box.azure("PATCH", f"/vms/{third.name}", {"size": "Standard_D8s_v3", "fault_domain": 2})
        assert third.shown()["GRANTED"] == str(len(third.on_nic()))
        box.power_on(third.name)
        _comes_back(box, product, third)
        _have_addresses_of(box, third, workload)
        assert (third.nic()["etag"], third.pool()["status"]["vmID"]) == (nic, vm_id)


def test_a_node_that_is_drained_and_deleted_while_its_vm_lives(box: Box, product: Product, third: Node) -> None:
    """It registers again, with a new pool that takes over the NIC as it is."""
    with servers(box, "drained", node=third.name, replicas=PODS) as workload:
        pool, on_nic = third.pool()["metadata"]["uid"], third.on_nic()
        box.kubectl("drain", third.name, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={STEP_S:.0f}s")
        third.agrees(assigned=0)
        box.kubectl("delete", "node", third.name)
        box.stop(f"{third.name}-kubelet")
        box.start(f"{third.name}-kubelet")
        box.wait_for(lambda: third.pool()["metadata"]["uid"] != pool, STEP_S, "a pool of the new Node")
        _comes_back(box, product, third)
        _have_addresses_of(box, third, workload)
        assert third.on_nic() <= on_nic


def _comes_back(box: Box, product: Product, node: Node) -> None:
    """The Node and its pool are Ready, and whoever was drained may have pods again."""
    box.wait_for(lambda: _ready(box, node) == "True", STEP_S, f"{node.name} to be Ready")
    product.await_ready()
    box.wait_for(lambda: node.condition("Ready")["status"] == "True", STEP_S, f"the pool of {node.name} to be Ready")
    box.kubectl("uncordon", node.name)


def _have_addresses_of(box: Box, node: Node, workload: Workload) -> None:
    """Each pod has one of the NIC that the VM has now, and all sources agree.

    Until the new kubelet has reported, Kubernetes shows pods as they were on the machine before.
    """
    node.agrees(assigned=PODS, within_s=STEP_S)

    def shown() -> bool:
        assigned = {slot.address for slot in node.slots() if slot.state == "assigned"}
        addresses = [pod.address for pod in workload.ready(PODS, timeout_s=STEP_S)]
        return (set(addresses), len(addresses)) == (assigned, PODS)

    box.wait_for(shown, STEP_S, f"the pods of {workload.name} to have what the ledger of {node.name} says")


def _ready(box: Box, node: Node) -> str:
    """The status of the Node's condition Ready. StepError while there is no Node."""
    conditions = box.kubectl_json("get", "node", node.name)["status"]["conditions"]
    return next(str(one["status"]) for one in conditions if one["type"] == "Ready")
