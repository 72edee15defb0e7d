"""Agents come and go; pods that run do not notice, pods that end are remembered, pods that start wait with words."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from azurebox.client import Box
from scenarios.harness.node import RUN_DIR, Node
from scenarios.harness.pods import NAMESPACE, Pod, event_for, servers
from scenarios.harness.product import Product
from scenarios.harness.running import Running, running_pods, waiting_records
from scenarios.harness.stream import unbroken

RIGHT_AGAIN_S = 120.0


@pytest.fixture(scope="module")
def running(box: Box, nodes: list[Node]) -> Iterator[Running]:
    with running_pods(box, nodes) as pods:
        yield pods


def held(pods: tuple[Pod, ...]) -> set[tuple[IPv4Address, str]]:
    """Address and name of each, as their node's ledger has them."""
    return {(pod.address, f"{NAMESPACE}/{pod.name}") for pod in pods}


def test_pods_do_not_notice_that_the_agents_are_deleted(
    box: Box, running: Running, product: Product, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """Both agents are deleted and come back: no request of a 10/s stream is lost, and the addresses are still held."""
    with unbroken(box, *running.flows) as report:
        for node in nodes:
            product.restart(node)
        product.await_ready()
    figure(f"agents deleted, nothing lost: {'; '.join(report)}")
    for node in nodes:
        assert {(slot.address, slot.pod) for slot in node.slots() if slot.state == "assigned"} == held(running.on(node))


def test_pods_end_and_wait_while_no_agent_runs(
    box: Box, running: Running, product: Product, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """With the agents away a pod can end, and a new one waits, saying what is missing; both are settled afterwards."""
    node = nodes[0]
    with (
        servers(box, "ending", node=node.name, replicas=1) as ending,
        servers(box, "starting", node=node.name) as starting,
    ):
        ended = ending.pods()[0]
        with unbroken(box, *running.flows) as report:
            with product.away():
                ending.settle(0)
                assert ended.name in {record["args"]["K8S_POD_NAME"] for record in waiting_records(node)}
                assert ended.address in {slot.address for slot in node.slots() if slot.state == "assigned"}
                (waiting,) = starting.scale_beyond(1, ready=0)
                event_for(
                    box,
                    waiting.name,
                    "FailedCreatePodSandBox",
                    "cannot reach the azure-cni agent",
                    f"{RUN_DIR}/cni.sock",
                )
            started = starting.ready(1)[0]
        figure(f"agents away for a while, nothing lost: {'; '.join(report)}")
        assert started.uid == waiting.uid
        assert started.address != ended.address
        box.wait_for(lambda: not waiting_records(node), RIGHT_AGAIN_S, "the records to be carried out")
        assigned = {(slot.address, slot.pod) for slot in node.slots() if slot.state == "assigned"}
        assert assigned == held((*running.on(node), started))


def test_an_agent_that_is_killed_among_starting_pods(
    box: Box, running: Running, product: Product, nodes: list[Node]
) -> None:
    """SIGKILL in the middle of twenty starts: all of them start, each with an address of its own, and none leaks."""
    node = nodes[0]
    name, before = product.agent(node)["metadata"]["name"], product.restarts()
    with unbroken(box, *running.flows), servers(box, "burst", node=node.name) as burst:
        burst.scale(20)
        box.wait_for(lambda: len(node.links()) > 3, RIGHT_AGAIN_S, "the first of the pods to be wired", poll_s=0.05)
        # One of them may be a program that the agent runs for a moment, and gone by now.
        pids = " ".join(str(pid) for pid in product.processes(node))
        node.run("sh", "-c", f"kill -KILL {pids} || true")
        box.wait_for(lambda: product.restarts()[name] > before[name], RIGHT_AGAIN_S, "the agent to be started again")
        pods = burst.ready(20)
        assert len({pod.address for pod in pods}) == 20
        assert {pod.address for pod in pods} <= node.on_nic()
        node.agrees(assigned=20 + len(running.on(node)))
        burst.settle(0)
    product.await_ready()
