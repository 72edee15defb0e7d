"""Pods with both families, on a box with both (`e2e/box up --dual-stack`): who reaches whom, and as whom."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from azurebox import lifecycle
from azurebox.client import Box
from azurebox.fabric.topology import ONPREM, PEER
from scenarios.harness.forger import listen_for, send_forged
from scenarios.harness.meeting import ask_from, await_meetings, await_return
from scenarios.harness.node import AT_REST, Counts, Node
from scenarios.harness.pods import NAMESPACE, PORT, Pod, ask, on_nodes, servers
from scenarios.harness.product import QUICK, Product
from scenarios.harness.services import service
from scenarios.harness.stream import Flow, unbroken
from scenarios.harness.vnet import sees

pytestmark = pytest.mark.skipif(not lifecycle.has_ipv6(), reason="this box has IPv4 alone: e2e/box up --dual-stack")

VALUES = {**QUICK, "ipFamilies": "{IPv4,IPv6}"}
BLOCK_LENGTH, SLOT = 112, 0xFFFF
FEW = 3
BOTH_S, GROWN_S = 180.0, 240.0


@pytest.fixture(scope="module")
def dual(box: Box, nodes: list[Node]) -> list[Node]:
    """Both nodes, once each has its block."""
    for node in nodes:
        box.wait_for(partial(block_of, node), BOTH_S, f"{node.name} to have an IPv6 block")
    return nodes


@pytest.fixture
def peer(box: Box, dual: list[Node]) -> Iterator[Pod]:
    """A pod of the other node."""
    with servers(box, "peer", node=dual[1].name, replicas=1) as made:
        yield made.pods()[0]


def block_of(node: Node) -> IPv6Network | None:
    return next((one for one in node.ipv6_on_nic() if one.prefixlen == BLOCK_LENGTH), None)


def own_of(node: Node) -> IPv6Address:
    """The VM's own address."""
    return next(one.network_address for one in node.ipv6_on_nic() if one.prefixlen != BLOCK_LENGTH)


def on_port(address: IPv6Address) -> str:
    return f"[{address}]:{PORT}"


def paired(node: Node, pods: list[Pod]) -> bool:
    """Each has the address of the node's block that ends as its IPv4 address does."""
    block = block_of(node)
    assert block is not None
    return all(pod.ipv6 in block and int(pod.ipv6) & SLOT == int(pod.address) & SLOT for pod in pods)


def seen_by(box: Box, caller: Pod, address: IPv4Address | IPv6Address) -> str:
    """As whom the test server at an address sees a pod; "" when they do not reach each other."""
    return sees(box, caller, address, port=PORT, path="clientip")


def test_pods_reach_each_other_by_both_families_as_themselves(
    box: Box, dual: list[Node], peer: Pod, figure: Callable[[str], None]
) -> None:
    """On one node and across two, from and to the nodes, and to networks that the VNet knows."""
    with servers(box, "both", node=dual[0].name, replicas=FEW) as both:
        one, two, *_ = pods = both.pods()
        assert paired(dual[0], pods)
        assert paired(dual[1], [peer])
        hosts = {host.node: host for host in on_nodes(box)}
        for caller, callee in ((one, two), (one, peer), (peer, one)):
            assert seen_by(box, caller, callee.ipv6) == str(caller.ipv6)
            assert seen_by(box, caller, callee.address) == str(caller.address)
        for node in dual:
            assert seen_by(box, one, own_of(node)) == str(one.ipv6)
            assert seen_by(box, hosts[node.name], one.ipv6) == str(own_of(node))
        for place in (ONPREM, PEER):
            assert place.ipv6
            assert sees(box, one, place.ipv6) == str(one.ipv6)
            assert ask_from(box, place, f"[{one.ipv6}]:{PORT}/clientip").startswith(f"[{place.ipv6}]:")
        dual[0].agrees(assigned=FEW)
        figure(f"pods with both families: {one.address} with {one.ipv6} of {block_of(dual[0])}")


def test_a_service_of_both_families_is_reached_by_each(box: Box, dual: list[Node], peer: Pod) -> None:
    """Its cluster addresses from a pod, which is seen as itself; its node port from on-premises."""
    with (
        servers(box, "shop", node=dual[0].name, replicas=FEW) as shop,
        service(box, "shop", selector={"app": "shop"}, ipFamilyPolicy="RequireDualStack", type="NodePort") as made,
    ):
        pods = shop.pods()
        first, second = box.kubectl_json("get", "service", "-n", NAMESPACE, "shop")["spec"]["clusterIPs"]
        await_meetings(box, peer, f"{first}:{PORT}", servers=pods, seen={peer.address})
        await_meetings(box, peer, f"[{second}]:{PORT}", servers=pods, seen={peer.ipv6})
        outside = f"[{own_of(dual[0])}]:{made.node_port}/hostname"
        box.wait_for(
            lambda: ask_from(box, ONPREM, outside) in {pod.name for pod in pods}, BOTH_S, f"on-premises at {outside}"
        )


def test_pods_of_both_families_do_not_notice_that_the_agent_restarts(
    box: Box, product: Product, dual: list[Node], peer: Pod, figure: Callable[[str], None]
) -> None:
    with servers(box, "few", node=dual[0].name, replicas=FEW) as few:
        pods, held = few.pods(), dual[0].ipv6_on_nic()
        flows = (
            Flow(peer, pods[0].ipv6, seen=peer.ipv6),
            Flow(pods[0], peer.ipv6, seen=pods[0].ipv6),
            Flow(pods[0], pods[1].ipv6, seen=pods[0].ipv6),
            Flow(pods[0], peer.address, seen=pods[0].address),
        )
        with unbroken(box, *flows) as report:
            product.restart(dual[0])
            product.await_ready()
        figure(f"agent restarted with both families, nothing lost: {'; '.join(report)}")
        assert few.pods() == pods
        assert dual[0].ipv6_on_nic() == held


def test_pods_come_back_with_the_same_pairs_when_the_node_reboots(box: Box, dual: list[Node], peer: Pod) -> None:
    with servers(box, "few", node=dual[0].name, replicas=FEW) as few:
        block = block_of(dual[0])
        await_return(box, dual[0], few, peer, count=FEW, within_s=GROWN_S)
        assert block_of(dual[0]) == block
        pods = few.pods()
        assert paired(dual[0], pods)
        for pod in pods:
            await_meetings(box, peer, on_port(pod.ipv6), servers=[pod], seen={peer.ipv6})


def test_an_address_that_a_pod_gave_back_is_silent_and_comes_with_the_same_partner(
    box: Box, product: Product, dual: list[Node], peer: Pod
) -> None:
    """It is held back as long as its partner is: nobody answers there, by either family, and none is given out."""
    product.use({**VALUES, "agent.coolingSeconds": 3600})
    with servers(box, "once", node=dual[0].name, replicas=1) as once:
        gone = once.pods()[0]
        once.settle(0)
        dual[0].shows(Counts(AT_REST.allocated, assigned=0, free=AT_REST.free - 1, cooling=1), within_s=GROWN_S)
        targets = [f"{gone.address}:{PORT}/hostname", f"{on_port(gone.ipv6)}/hostname"]
        assert all(answer.startswith("!") for answer in ask(box, peer, targets).values())
        pods = once.settle(FEW)
        assert gone.ipv6 not in {pod.ipv6 for pod in pods}
        assert paired(dual[0], pods)
        once.settle(0)
    product.use(VALUES)
    dual[0].shows(AT_REST, within_s=GROWN_S)


def test_a_pod_sends_by_ipv6_as_nobody_else(box: Box, dual: list[Node], peer: Pod) -> None:
    with servers(box, "forger", node=dual[0].name, replicas=2) as made, ThreadPoolExecutor() as executor:
        forger, other = made.pods()
        foreign = [other.ipv6, own_of(dual[0]), IPv6Address("2001:db8::bad")]
        seen = executor.submit(listen_for, box, peer, forger.ipv6)
        send_forged(box, forger, peer.ipv6, sources=foreign)
        assert seen.result() == {str(forger.ipv6)}
