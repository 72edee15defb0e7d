"""A node whose pool consists of blocks of sixteen addresses (/28): one ipConfiguration for each."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, ip_network

import pytest

from azurebox.client import Box
from scenarios.harness.meeting import await_return
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import PORT, Pod, ask, servers
from scenarios.harness.product import Product
from scenarios.harness.stream import Flow, unbroken
from scenarios.harness.vnet import caller_seen, sees

PODS, FEW, AT_ONCE, LENGTH = 30, 4, 4, 28
GROWN_S = 240.0


@pytest.fixture(scope="module")
def node(nodes: list[Node]) -> Iterator[Node]:
    """The first node, which takes blocks from now on; afterwards it has none."""
    first = nodes[0]
    try:
        first.want(blocks=LENGTH)
        yield first
    finally:
        first.want()
        first.shows(AT_REST, within_s=GROWN_S)


@pytest.fixture
def peer(box: Box, nodes: list[Node], node: Node) -> Iterator[Pod]:  # noqa: ARG001  # the first one takes blocks before
    """A pod of the other node, whose pool is of single addresses."""
    with servers(box, "peer", node=nodes[1].name, replicas=1) as made:
        yield made.pods()[0]


def blocks_of(node: Node) -> list[IPv4Network]:
    """The blocks on the NIC, which may have IPv6 too."""
    configurations = (entry["properties"] for entry in node.nic()["properties"]["ipConfigurations"])
    addresses = (ip_network(entry["privateIPAddress"], strict=False) for entry in configurations)
    return [one for one in addresses if isinstance(one, IPv4Network) and one.prefixlen == LENGTH]


def test_the_pool_grows_for_thirty_pods_by_blocks_and_whole_ones_leave(
    box: Box, node: Node, peer: Pod, figure: Callable[[str], None]
) -> None:
    """Each pod has an address of its own, and is seen by it on another node; and so is who speaks to it."""
    with servers(box, "crowd", node=node.name, replicas=PODS) as crowd:
        pods, blocks = crowd.pods(), blocks_of(node)
        assert len({pod.address for pod in pods}) == PODS
        assert {pod.address for pod in pods} <= node.on_nic()
        assert any(pod.address in block for pod in pods for block in blocks)
        node.agrees(assigned=PODS)
        with ThreadPoolExecutor(max_workers=AT_ONCE) as callers:
            seen = callers.map(lambda pod: _seen_as(box, pod, peer), pods)
        assert dict(zip((pod.name for pod in pods), seen, strict=True)) == {pod.name: str(pod.address) for pod in pods}
        said = ask(box, peer, [f"{pod.address}:{PORT}/clientip" for pod in pods])
        assert {caller_seen(answer) for answer in said.values()} == {str(peer.address)}
        figure(f"{PODS} pods on a node of blocks: {', '.join(map(str, blocks))}, {len(node.on_nic())} addresses")
    box.wait_for(lambda: len(blocks_of(node)) < len(blocks), GROWN_S, "a whole block to leave the NIC")
    node.agrees(assigned=0)


def test_pods_on_blocks_do_not_notice_that_the_agent_restarts(
    box: Box, product: Product, node: Node, peer: Pod, figure: Callable[[str], None]
) -> None:
    with servers(box, "few", node=node.name, replicas=PODS) as few:
        pods, held = few.pods(), blocks_of(node)
        inside = [pod for pod in pods if any(pod.address in block for block in held)]
        flows = (
            Flow(peer, inside[0].address, seen=peer.address),
            Flow(inside[0], peer.address, seen=inside[0].address),
            Flow(inside[0], inside[1].address, seen=inside[0].address),
        )
        with unbroken(box, *flows) as report:
            product.restart(node)
            product.await_ready()
        figure(f"agent restarted on a node of blocks, nothing lost: {'; '.join(report)}")
        assert few.pods() == pods
        assert blocks_of(node) == held
        node.agrees(assigned=PODS)


def test_pods_on_blocks_come_back_when_the_node_reboots(box: Box, node: Node, peer: Pod) -> None:
    with servers(box, "few", node=node.name, replicas=FEW) as few:
        await_return(box, node, few, peer, count=FEW, within_s=GROWN_S)


def _seen_as(box: Box, pod: Pod, peer: Pod) -> str:
    return sees(box, pod, peer.address, port=PORT, path="clientip")
