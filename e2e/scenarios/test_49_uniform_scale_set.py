"""A node that is an instance of a Uniform scale set, beside plain VMs: what pools are for, on such a node too.

Its NIC changes with the instance's model. Addresses leave it only with `scaleSets.shrink`, or by reimaging.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address

import pytest

from azurebox.client import Box
from azurebox.facts import REPOSITORY, instance_number
from scenarios.harness.cloud import documented_actions
from scenarios.harness.meeting import await_meetings, await_return
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import PORT, Pod, ask, servers
from scenarios.harness.product import QUICK, Product
from scenarios.harness.stream import Flow, unbroken

PODS, FEW, AT_ONCE = 30, 4, 4
GROWN_S, RECLAIMED_S = 180.0, 180.0
SHRINKS = {**QUICK, "scaleSets.shrink": "true"}


@pytest.fixture(scope="module")
def instance(box: Box) -> Iterator[Node]:
    """The instance, once its pool is at rest; whoever asks Azure has the roles of the documentation, and no more."""
    role = json.loads((REPOSITORY / "docs" / "azure-role-scale-sets.json").read_text())
    box.azure("PUT", "/permissions", {"actions": [*documented_actions(), *role["Actions"]]})
    before = set(box.nodes)
    try:
        node = Node(box, box.add_node(instance=True))
        node.shows(AT_REST, within_s=GROWN_S)
        yield node
    finally:
        for name in set(box.nodes) - before:
            box.remove(name, keep_nic=False)


@pytest.fixture
def peer(box: Box, nodes: list[Node], instance: Node) -> Iterator[Pod]:  # noqa: ARG001  # the instance is there first
    """A pod of a plain VM, which speaks to those of the instance."""
    with servers(box, "peer", node=nodes[0].name, replicas=1) as made:
        yield made.pods()[0]


def test_the_pool_of_an_instance_grows_for_thirty_pods(
    box: Box, instance: Node, peer: Pod, figure: Callable[[str], None]
) -> None:
    """Each has an address of the instance's NIC, and is seen by it on another node; and so is who speaks to it."""
    before = len(box.azure("GET", "/writes"))
    with servers(box, "crowd", node=instance.name, replicas=PODS) as crowd:
        pods = crowd.pods()
        assert len({pod.address for pod in pods}) == PODS
        assert {pod.address for pod in pods} <= instance.on_nic()
        instance.agrees(assigned=PODS)
        with ThreadPoolExecutor(max_workers=AT_ONCE) as callers:
            seen = callers.map(lambda pod: _seen_as(box, pod, peer.address), pods)
        assert dict(zip((pod.name for pod in pods), seen, strict=True)) == {pod.name: str(pod.address) for pod in pods}
        said = ask(box, peer, [f"{pod.address}:{PORT}/clientip" for pod in pods])
        assert {answer.rpartition(":")[0] for answer in said.values()} == {str(peer.address)}, said
    writes = [write["status"] for write in box.azure("GET", f"/writes?since={before}") if _is_of(write, instance)]
    figure(f"writes of the instance for {PODS} pods at once: {writes} (as answered)")
    assert writes in ([200], [200, 200])


def test_pods_of_an_instance_do_not_notice_that_its_agent_restarts(
    box: Box, product: Product, instance: Node, peer: Pod, figure: Callable[[str], None]
) -> None:
    with servers(box, "few", node=instance.name, replicas=FEW) as few:
        pods, held = few.pods(), instance.on_nic()
        flows = (
            Flow(peer, pods[0].address, seen=peer.address),
            Flow(pods[0], peer.address, seen=pods[0].address),
            Flow(pods[0], pods[1].address, seen=pods[0].address),
        )
        with unbroken(box, *flows) as report:
            product.restart(instance)
            product.await_ready()
        figure(f"agent of the instance restarted, nothing lost: {'; '.join(report)}")
        assert few.pods() == pods
        assert instance.on_nic() == held
        instance.agrees(assigned=FEW)


def test_pods_come_back_when_an_instance_reboots(box: Box, instance: Node, peer: Pod) -> None:
    with servers(box, "few", node=instance.name, replicas=FEW) as few:
        await_return(box, instance, few, peer, count=FEW, within_s=GROWN_S)


def test_an_instance_keeps_its_addresses_until_the_value_lets_them_go(
    box: Box, product: Product, nodes: list[Node], instance: Node
) -> None:
    """A plain VM with as many shrinks meanwhile; with `scaleSets.shrink` the instance does, too."""
    for node in (nodes[0], instance):
        node.want(size=2 * AT_REST.allocated)
    for node in (nodes[0], instance):
        box.wait_for(partial(_holds, node, 2 * AT_REST.allocated), GROWN_S, f"{node.name} to grow")
    kept = instance.on_nic()
    for node in (nodes[0], instance):
        node.want()
    nodes[0].shows(AT_REST, within_s=GROWN_S)
    assert instance.on_nic() == kept
    product.use(SHRINKS)
    instance.shows(AT_REST, within_s=GROWN_S)
    assert instance.on_nic() < kept
    instance.agrees(assigned=0)
    product.use(QUICK)


def test_the_pool_grows_again_after_a_reimage(box: Box, instance: Node, peer: Pod) -> None:
    """Azure puts the set's model back, in which the instance has its own address and no other."""
    instance.shows(AT_REST, within_s=GROWN_S)
    before = _names(instance)
    box.azure("POST", f"/vms/{instance.name}/reimage")
    assert instance.on_nic() == set()
    box.wait_for(lambda: len(instance.on_nic()) >= AT_REST.allocated, GROWN_S, "the pool to have addresses again")
    instance.agrees(assigned=0, within_s=GROWN_S)
    assert not before & _names(instance)
    with servers(box, "few", node=instance.name, replicas=FEW) as few:
        assert {pod.address for pod in few.pods()} <= instance.on_nic()
        for pod in few.pods():
            await_meetings(box, peer, f"{pod.address}:{PORT}", servers=[pod], seen={peer.address})


def test_what_was_granted_to_an_instance_that_was_scaled_in_is_free_again(box: Box, instance: Node) -> None:
    box.remove(instance.name, keep_nic=False)

    def free() -> bool:
        (quota,) = box.kubectl_json("get", "vnetquotas")["items"]
        return instance.name not in quota["status"]["grants"]

    box.wait_for(free, RECLAIMED_S, f"the grant of {instance.name} to be reclaimed")


def _seen_as(box: Box, pod: Pod, address: IPv4Address) -> str:
    (answer,) = ask(box, pod, [f"{address}:{PORT}/clientip"]).values()
    return answer.rpartition(":")[0]


def _holds(node: Node, count: int) -> bool:
    return node.counts().allocated >= count


def _is_of(write: dict[str, object], instance: Node) -> bool:
    """A write of the fake's list is of the instance, which it calls SET_NUMBER."""
    return str(write["nic"]).endswith(f"_{instance_number(instance.name)}")


def _names(node: Node) -> set[str]:
    """Of the ipConfigurations beside the primary."""
    configs = node.nic()["properties"]["ipConfigurations"]
    return {config["name"] for config in configs if not config["properties"]["primary"]}
