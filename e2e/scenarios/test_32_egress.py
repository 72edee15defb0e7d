"""Egress with the pod's own address, by annotation: a firewall on the way sees the pod, a NAT gateway lets it out.

Without a way out of its own, an address of a pod has none: Azure's default is for a VM's primary address.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import INTERNET_HOST, ONPREM
from scenarios.harness.balancing import nat_gateway
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import NAMESPACE, Pod, Workload, event_for, servers
from scenarios.harness.product import QUICK, Product
from scenarios.harness.vnet import guest, route, sees

VALUES = {**QUICK, "podNetworking.egress.namespaces": f"{{{NAMESPACE}}}"}
EGRESS = "azure-cni.io/egress"
APPS, APPS_PREFIX = "apps", "10.240.4.0/24"
INTERNET = f"{INTERNET_HOST.address}/32"
SOON_S = 15.0
COOLED_S = 30.0


@pytest.fixture(scope="module")
def here(box: Box, nodes: list[Node]) -> Iterator[Workload]:
    """Two servers on the first node."""
    with servers(box, "egress", node=nodes[0].name, replicas=2) as workload:
        yield workload


@contextmanager
def annotated(box: Box, *what: str, value: str = "pod") -> Iterator[None]:
    """An object with the annotation, and afterwards without it."""
    box.kubectl("annotate", *what, f"{EGRESS}={value}", "--overwrite")
    try:
        yield
    finally:
        box.kubectl("annotate", *what, f"{EGRESS}-")


def pod_of(pod: Pod) -> tuple[str, ...]:
    return ("-n", NAMESPACE, "pod", pod.name)


def await_own(box: Box, node: Node, *pods: Pod) -> None:
    """Wait until just these leave with their own address, as the node's kernel has it."""
    expected = {str(pod.address) for pod in pods}

    def so() -> bool:
        listed = node.run("nft", "list", "set", "inet", "azure_cni", "egress_pod")
        elements = listed.partition("elements = {")[2].partition("}")[0]
        return {one.strip() for one in elements.split(",") if one.strip()} == expected

    box.wait_for(so, SOON_S, f"{node.name} to have {sorted(expected)} in the set")


def await_seen(box: Box, pod: Pod, address: str) -> None:
    """Wait until the host on the internet sees the pod so: a gateway takes a moment to be there."""
    box.wait_for(lambda: sees(box, pod, INTERNET_HOST.address) == address, SOON_S, f"{pod.name} to be {address}")


def test_a_firewall_on_the_way_sees_the_pod_that_may_and_the_node_for_others(
    box: Box, here: Workload, nodes: list[Node]
) -> None:
    own, plain = here.pods()
    box.azure("PATCH", f"/subnets/{APPS}", {"prefix": APPS_PREFIX})
    with (
        nat_gateway(box, subnet="nodes"),
        guest("azbox-fw", subnet=APPS, forwards=True) as (firewall, address),
        route(box, INTERNET, address),
        annotated(box, *pod_of(own)),
    ):
        await_own(box, nodes[0], own)
        for pod in (own, plain):
            sees(box, pod, INTERNET_HOST.address)
        through = {source for source, target in firewall.spoken_through() if target == INTERNET_HOST.address}
        assert through == {own.address, nodes[0].primary()}
        assert sees(box, own, ONPREM.address) == str(own.address)  # as before
    await_own(box, nodes[0])


def test_a_nat_gateway_is_the_way_out_and_without_one_there_is_none(
    box: Box, here: Workload, nodes: list[Node]
) -> None:
    own, plain = here.pods()
    lent = sees(box, plain, INTERNET_HOST.address)
    with annotated(box, *pod_of(own)):
        await_own(box, nodes[0], own)
        assert sees(box, own, INTERNET_HOST.address) == ""
        assert sees(box, plain, INTERNET_HOST.address) == lent
        with nat_gateway(box, subnet="nodes") as gateway:
            await_seen(box, own, str(gateway))
            assert str(gateway) != lent
    await_own(box, nodes[0])
    box.wait_for(lambda: sees(box, own, INTERNET_HOST.address), SOON_S, "the node's way out to be there again")


def test_a_namespaces_annotation_is_for_its_pods_and_new_ones_have_it_from_the_start(
    box: Box, here: Workload, nodes: list[Node]
) -> None:
    own, plain = here.pods()
    with annotated(box, "namespace", NAMESPACE), annotated(box, *pod_of(plain), value="node"):
        await_own(box, nodes[0], own)
        with servers(box, "late", node=nodes[1].name, replicas=1) as late:
            await_own(box, nodes[1], *late.pods())
        await_own(box, nodes[1])
    await_own(box, nodes[0])


def test_the_next_pod_on_the_address_does_not_have_it(box: Box, nodes: list[Node]) -> None:
    node = nodes[1]
    with servers(box, "first", node=node.name, replicas=1) as workload:
        (first,) = workload.pods()
        with annotated(box, "namespace", NAMESPACE):
            await_own(box, node, first)
        await_own(box, node)
        box.kubectl("annotate", *pod_of(first), f"{EGRESS}=pod")
        await_own(box, node, first)
        workload.settle(0)
        await_own(box, node)
        box.wait_for(lambda: node.counts().cooling == 0, COOLED_S, "the address to be free again")
        heirs = workload.settle(AT_REST.allocated)
        heir = next(pod for pod in heirs if pod.address == first.address)
        await_own(box, node)
        assert _address_seen(box, heir) not in {"", str(heir.address)}


def test_it_outlives_the_agent_and_is_put_back_after_a_flush(
    box: Box, here: Workload, nodes: list[Node], product: Product
) -> None:
    own = here.pods()[0]
    with annotated(box, *pod_of(own)):
        await_own(box, nodes[0], own)
        product.restart(nodes[0])
        await_own(box, nodes[0], own)
        product.await_ready()
        await_own(box, nodes[0], own)
        nodes[0].run("nft", "delete", "table", "inet", "azure_cni")
        await_own(box, nodes[0], own)


def test_a_wrong_value_is_an_event_and_the_pod_runs(box: Box, here: Workload, nodes: list[Node]) -> None:
    pod = here.pods()[1]
    with annotated(box, *pod_of(pod), value="mine"):
        said = event_for(box, pod.name, "EgressInvalid")
        assert 'the annotation azure-cni.io/egress of the pod is "mine", and must be "pod" or "node"' in said
        await_own(box, nodes[0])


def _address_seen(box: Box, pod: Pod) -> str:
    return sees(box, pod, IPv4Address(INTERNET_HOST.address))
