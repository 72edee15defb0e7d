"""How a pool grows and shrinks, what people may ask of it, and how many writes of the NIC that costs."""

from collections.abc import Callable, Iterator

import pytest

from azurebox.client import Box
from scenarios.harness.cloud import Cloud, Write
from scenarios.harness.node import Counts, Node
from scenarios.harness.pods import Workload, event_for, servers

STEP_S = 120

# target = roundup(pods + 8, 16); shrink when more than 24 are free. "NIC" counts the primary address too.
STEPS: tuple[tuple[int, int, list[tuple[int, int]]], ...] = (
    # pods, pool, writes of the NIC (before, after)
    (8, 16, []),
    (9, 32, [(17, 33)]),
    (24, 32, []),
    (25, 48, [(33, 49)]),
    (40, 48, []),
    (24, 48, []),  # 24 free are not too many
    (10, 32, [(49, 33)]),
    (0, 16, [(33, 17)]),
)


@pytest.fixture
def workload(box: Box, nodes: list[Node], rest: Callable[[], None]) -> Iterator[Workload]:
    rest()
    with servers(box, "load", node=nodes[0].name) as made:
        yield made


@pytest.fixture
def node(nodes: list[Node]) -> Iterator[Node]:
    """The first node; what a scenario wants of its pool is taken back in the end."""
    yield nodes[0]
    nodes[0].want()


def test_the_pool_follows_the_pods_with_one_write_per_step(workload: Workload, cloud: Cloud, node: Node) -> None:
    """Up and down the table of sizes: each change of the pool is one write of the NIC, and none is made in vain."""
    for pods, allocated, writes in STEPS:
        mark, asked = cloud.mark(), cloud.requests()
        workload.settle(pods)
        node.shows(Counts(allocated, assigned=pods, free=allocated - pods, cooling=0), within_s=STEP_S)
        expected = [Write(node.nic_name, before, after) for before, after in writes]
        assert cloud.writes(mark) == expected, f"at {pods} pods"
        assert cloud.requests() - asked == len(expected), f"at {pods} pods"
        node.agrees(assigned=pods)


def test_a_fixed_size(cloud: Cloud, node: Node, workload: Workload) -> None:
    """`spec.size` fixes the pool, whatever the pods need; without it the pool goes back to its default."""
    mark = cloud.mark()
    node.want(size=20)
    node.shows(Counts(20, assigned=0, free=20, cooling=0), within_s=STEP_S)
    workload.settle(14)
    node.want()
    node.shows(Counts(32, assigned=14, free=18, cooling=0), within_s=STEP_S)
    assert cloud.writes(mark) == [Write(node.nic_name, 17, 21), Write(node.nic_name, 21, 33)]


def test_a_pool_at_its_limit_says_so(box: Box, node: Node, workload: Workload) -> None:
    """With `max: 16` the seventeenth pod waits, its event says why, and it starts as soon as the limit is raised."""
    node.want(max=16)
    waiting = workload.scale_beyond(18, ready=16)
    event = event_for(box, waiting[0].name, "NoAddress", "NodeAtLimit")
    assert "16 of at most 16 addresses" in event
    box.wait_for(lambda: node.condition("AtLimit")["status"] == "True", STEP_S, "the condition AtLimit")
    box.wait_for(lambda: node.shown()["READY"] == "False", STEP_S, "the pool not to be ready")
    node.want(max=32)
    workload.ready(18)
    node.shows(Counts(32, assigned=18, free=14, cooling=0), within_s=STEP_S)
    box.wait_for(lambda: node.condition("AtLimit")["status"] == "True", STEP_S, "the condition AtLimit, now at 32")


def test_a_paused_pool_is_left_alone(box: Box, cloud: Cloud, node: Node, workload: Workload) -> None:
    """With `paused: true` nothing is written to the NIC: pods use what is there, the next one waits and says why."""
    asked = cloud.requests()
    node.want(paused=True)
    waiting = workload.scale_beyond(17, ready=16)
    event_for(box, waiting[0].name, "NoAddress", "PoolPaused", "spec.paused")
    assert cloud.requests() == asked
    node.want()
    workload.ready(17)
    assert cloud.requests() == asked + 1
