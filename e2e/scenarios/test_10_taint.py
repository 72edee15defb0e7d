"""A node without addresses: the scheduler sends it no pod, those that run stay, and later it takes pods again."""

from collections.abc import Iterator

import pytest

from azurebox.client import Box
from scenarios.harness.node import Node
from scenarios.harness.pods import event_for, servers

TURNS_S = 120  # it must have been so for 15 s


@pytest.fixture
def full(nodes: list[Node]) -> Iterator[Node]:
    """The first node, which may have 16 addresses and no more."""
    nodes[0].want(max=16)
    yield nodes[0]
    nodes[0].want()


def test_a_full_node_is_left_alone_until_it_has_room(box: Box, full: Node, nodes: list[Node]) -> None:
    """Full, it gets the taint: a pod goes to the other node, one that cannot stays Pending; with room it goes again."""
    with (
        servers(box, "filling", node=full.name, replicas=16) as filling,
        servers(box, "bound", node=full.name) as bound,
        servers(box, "free", node="") as free,
    ):
        ran = {pod.uid for pod in filling.pods()}
        box.wait_for(full.tainted, TURNS_S, f"the taint on {full.name}")
        assert not nodes[1].tainted()
        event_for(box, full.name, "NoFreeAddresses", "16 of at most 16 addresses", kind="Node")
        assert {pod.node for pod in free.settle(4)} == {nodes[1].name}
        (waiting,) = bound.scale_beyond(1, ready=0)
        event_for(box, waiting.name, "FailedScheduling", "1 node(s) had untolerated taint")
        assert [pod.node for pod in bound.pods()] == [""], "it was sent to a node where it can only wait"
        assert {pod.uid for pod in filling.ready(16)} == ran
        filling.settle(12)
        box.wait_for(lambda: not full.tainted(), TURNS_S, f"the taint to be removed from {full.name}")
        event_for(box, full.name, "AddressesFree", "pods can start here again", kind="Node")
        assert [(pod.uid, pod.node) for pod in bound.ready(1)] == [(waiting.uid, full.name)]
