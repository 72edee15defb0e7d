"""Tools that write a NIC from what they know, and drop the addresses of running pods: these come back by themselves."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import Cloud
from scenarios.harness.meeting import await_meetings
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import PORT, Pod, Workload, event_for, servers

PODS = 4
BACK_S = 60
"""The metadata service is asked every 15 s, and a write takes Azure some seconds."""
TOLD_S = 120


@pytest.fixture
def workload(box: Box, nodes: list[Node], reset: Callable[[], None]) -> Iterator[Workload]:
    """Pods on the first node, whose NIC is meddled with."""
    reset()
    with servers(box, "meddled", node=nodes[0].name) as made:
        yield made


@pytest.fixture
def peer(box: Box, nodes: list[Node], workload: Workload) -> Iterator[Pod]:  # noqa: ARG001  # after the reset
    """A pod of another node, which speaks to them."""
    with servers(box, "peer", node=nodes[1].name, replicas=1) as made:
        yield made.pods()[0]


def _capz(box: Box, cloud: Cloud, node: Node) -> None:
    """The agent's writes fail and leave the NIC Failed between two tries: then Cluster API writes it."""

    def written() -> bool:
        if node.state() != "Failed":
            return False
        _write(box, node, "capz")
        return True

    with cloud.fault("fail", at=node.nic_name, times=0):
        node.want(size=AT_REST.allocated + 4)
        box.wait_for(written, TOLD_S, "Cluster API to find the NIC Failed")


def _terraform(box: Box, _: Cloud, node: Node) -> None:
    _write(box, node, "terraform")


def _write(box: Box, node: Node, tool: str) -> None:
    try:
        box.azure("POST", f"/nics/{node.nic_name}/meddle", {"by": tool})
    except Exception as error:
        raise StepError("not yet", output=str(error)) from error  # it is being written just now


@pytest.mark.parametrize("meddle", [_terraform, _capz], ids=lambda one: one.__name__.removeprefix("_"))
def test_what_a_tool_drops_comes_back_and_the_pods_never_know(
    box: Box,
    cloud: Cloud,
    nodes: list[Node],
    workload: Workload,
    peer: Pod,
    meddle: Callable[[Box, Cloud, Node], None],
) -> None:
    node = nodes[0]
    before = workload.settle(PODS)
    addresses = {pod.address for pod in before}
    try:
        meddle(box, cloud, node)
        box.wait_for(lambda: _is_back(node, addresses), BACK_S, "the pods' addresses to be on the NIC again")
        assert {(pod.uid, pod.address) for pod in workload.ready(PODS)} == {(pod.uid, pod.address) for pod in before}
        for pod in before:
            await_meetings(box, peer, f"{pod.address}:{PORT}", servers=[pod], seen={peer.address})
        box.wait_for(lambda: node.condition("Drifted")["status"] == "False", TOLD_S, "Drifted to be False")
        assert not node.tainted()
    finally:
        node.want()
    workload.settle(0)
    node.agrees(assigned=0, within_s=TOLD_S)


def test_what_another_has_by_then_is_told_on_its_pod(box: Box, nodes: list[Node], workload: Workload) -> None:
    node = nodes[0]
    robbed, *_ = workload.settle(PODS)
    box.azure("POST", f"/nics/{node.nic_name}/vanish", {"addresses": [str(robbed.address)], "taken": True})
    event_for(box, robbed.name, "AddressLost", f"another tool removed {robbed.address}", "delete the pod")
    words = (str(robbed.address), "already allocated to resource")
    box.wait_for(
        lambda: all(word in node.condition("Drifted")["message"] for word in words), TOLD_S, "Drifted to say who has it"
    )
    box.azure("POST", "/give-back", {})
    workload.settle(0)


def _is_back(node: Node, addresses: set[IPv4Address]) -> bool:
    missing = addresses - node.on_nic()
    if missing:
        raise StepError("not yet", output=f"not on the NIC: {missing}; it is {node.state()}")
    return True
