"""The mode of a node: refused in words while pods run there, taken when none is left, and not seen by pods."""

from collections.abc import Iterator

import pytest

from azurebox import release
from azurebox.client import Box
from scenarios.harness.node import Node
from scenarios.harness.pods import PORT, Pod, ask, event_for, on_nodes, servers
from scenarios.harness.product import Product

CHANGE_S = 180.0
PENDING = "ModeChangePending"


@pytest.fixture
def other(product: Product, nodes: list[Node], box: Box) -> Iterator[str]:
    """The mode that the nodes are not in. Afterwards they are in the chart's again."""
    (mode,) = set(release.MODES) - {product.mode}
    yield mode
    nodes[0].want()
    box.wait_for(lambda: mode_of(nodes[0]) == product.mode, CHANGE_S, "the node to be in the chart's mode")


def mode_of(node: Node) -> str:
    return str(node.pool()["status"]["mode"])


def test_a_node_changes_its_mode_when_no_pod_is_left(box: Box, product: Product, nodes: list[Node], other: str) -> None:
    changing, constant = nodes
    with servers(box, "far", node=constant.name, replicas=1) as far:
        with servers(box, "before", node=changing.name, replicas=1) as before:
            (pod,), (peer,) = before.pods(), far.pods()
            changing.want(mode=other)
            box.wait_for(lambda: changing.condition(PENDING)["status"] == "True", CHANGE_S, "the change to be pending")
            message = changing.condition(PENDING)["message"]
            assert f"mode {other} is wanted, but 1 pod of this node was wired in mode {product.mode}: " in message
            assert f"{pod.name}" in message
            assert f"kubectl drain {changing.name}" in message
            assert event_for(box, changing.name, PENDING, pod.name, kind="NodeIPPool")
            assert mode_of(changing) == product.mode
            ready = changing.condition("Ready")
            assert ready["status"] == "True", ready["message"]
            they_see_each_other(box, pod, peer)
            another = [one for one in before.settle(2) if one.uid != pod.uid]
            they_see_each_other(box, another[0], pod)  # new ones are wired alike
        box.wait_for(lambda: mode_of(changing) == other, CHANGE_S, "the node to change its mode")
        box.wait_for(lambda: changing.condition(PENDING)["status"] == "False", CHANGE_S, "nothing to be pending")
        with servers(box, "after", node=changing.name, replicas=2) as after:
            one, two = after.pods()
            they_see_each_other(box, one, two)
            they_see_each_other(box, one, *far.pods())
            assert wired_in(changing) == other
            assert wired_in(constant) == product.mode
            changing.agrees()


def wired_in(node: Node) -> str:
    """As the kernel has it: whose ports pods' links are."""
    ports = node.run("sh", "-c", "ip -o link show master azure0 2> /dev/null || true")
    return "bridge" if node.links() and all(link in ports for link in node.links()) else "transparent"


def they_see_each_other(box: Box, one: Pod, other: Pod) -> None:
    """Each as itself, and their nodes as themselves."""
    hosts = [host for host in on_nodes(box) if host.node in {one.node, other.node}]
    for caller, callee in ((one, other), (other, one), *((host, one) for host in hosts)):
        target = f"{callee.address}:{PORT}/clientip"
        answer = ask(box, caller, [target])[target]
        assert answer.rpartition(":")[0] == str(caller.address), answer
