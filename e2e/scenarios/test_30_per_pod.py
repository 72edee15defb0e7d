"""Load balancer pools and public IP addresses that pods ask for themselves, by annotation.

What a pod asked for is on its ipConfiguration while it runs, and off it before the address goes to another pod, also if
no agent is there when the pod ends. What cannot be attached is an event on the pod, which runs all the same.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import INTERNET_HOST, ONPREM
from scenarios.harness.balancing import await_up, await_written, load_balancer, nat_gateway, public_ip, up
from scenarios.harness.commandline import Answered, ask
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import NAMESPACE, PORT, Pod, Workload, event_for, servers, workload
from scenarios.harness.product import QUICK, Product
from scenarios.harness.vnet import SUBNET, ask_from, caller_seen, security_group
from scenarios.test_20_load_balancer import OPEN

OUTSIDE, PREMISES = f"azbox-{INTERNET_HOST.name}", f"azbox-{ONPREM.name}"
REQUESTS = 40  # that one of two members gets none of these by luck happens once in 10**12 times
UNDONE_S = 90.0  # a NIC write, and the cooling of the address
LB, IP = "by-annotation", "by-annotation-ip"
NETWORK = "/subscriptions/00000000-0000-0000-0000-00000000b0c5/resourceGroups/azbox/providers/Microsoft.Network"
POOL_ID = f"{NETWORK}/loadBalancers/{LB}/backendAddressPools/pods"
MISSING_ID = f"{NETWORK}/loadBalancers/missing/backendAddressPools/pods"
FOREIGN_ID = f"{NETWORK}/loadBalancers/foreign/backendAddressPools/pods"
IP_ID = f"{NETWORK}/publicIPAddresses/{IP}"
POOLS, PUBLIC_IP = "azure-cni.io/load-balancer-pools", "azure-cni.io/public-ip"
GATE = "azure-cni.io/load-balancer-attached"
ALLOWED = "podNetworking.allowed[0]"
VALUES = {
    **QUICK,
    f"{ALLOWED}.namespaces[0]": NAMESPACE,
    f"{ALLOWED}.loadBalancerPools[0]": POOL_ID,
    f"{ALLOWED}.loadBalancerPools[1]": MISSING_ID,
    f"{ALLOWED}.publicIPs[0]": IP_ID,
}


@pytest.fixture(scope="module", autouse=True)
def gateway(box: Box, reset: Callable[[], None]) -> Iterator[IPv4Address]:
    """A way out for the nodes: Azure takes the default one from a VM that is in a pool or has a public IP address."""
    with nat_gateway(box, subnet=SUBNET) as address:
        yield address
    reset()


@pytest.fixture(scope="module")
def frontend(box: Box) -> Iterator[IPv4Address]:
    """An internal load balancer whose pool nobody is in."""
    with load_balancer(
        box, LB, subnet=SUBNET, port=80, backend_port=PORT, probe=f"http:{PORT}/", interval_s=5
    ) as address:
        yield address


@contextmanager
def asking(
    box: Box, name: str, node: Node, annotations: Mapping[str, str], *, replicas: int = 1, gated: bool = True
) -> Iterator[Workload]:
    """Servers with these annotations, ready when they have what they ask for."""
    gates: dict[str, Any] = {"readinessGates": [{"conditionType": GATE}]} if gated else {}
    with servers(box, name, node=node.name) as made:
        document = workload(name, node=node.name, replicas=replicas, pod=gates)
        document["spec"]["template"]["metadata"]["annotations"] = dict(annotations)
        box.apply(document)
        yield made


def attached(node: Node) -> dict[IPv4Address, list[str]]:
    """What Azure has attached to secondary ipConfigurations of a node's NIC, by address."""
    found: dict[IPv4Address, list[str]] = {}
    for config in node.nic()["properties"]["ipConfigurations"]:
        properties = config["properties"]
        references = [*properties.get("loadBalancerBackendAddressPools", ()), properties.get("publicIPAddress")]
        ids = [reference["id"] for reference in references if reference]
        if ids and not properties.get("primary"):
            found[IPv4Address(properties["privateIPAddress"])] = ids
    return found


def answers(namespace: str, target: str) -> list[str]:
    """The answers to that many requests, each on its own connection; a request that fails fails the test."""
    said = [ask_from(namespace, f"{target}?{number}") for number in range(REQUESTS)]
    assert not [answer for answer in said if answer.startswith("!")], said
    return said


def test_pods_of_both_nodes_are_in_the_pool_when_they_are_ready_and_out_when_they_end(
    box: Box, frontend: IPv4Address, nodes: list[Node]
) -> None:
    """They see the client. When the pod of one node has ended, its address is in no pool for the pod that gets it."""
    with ExitStack() as stack:
        shops = [stack.enter_context(asking(box, f"ask-{n}", node, {POOLS: POOL_ID})) for n, node in enumerate(nodes)]
        pods: list[Pod] = [shop.ready(1)[0] for shop in shops]
        for pod, node in zip(pods, nodes, strict=True):
            assert attached(node) == {pod.address: [POOL_ID]}
        await_up(box, LB, [pod.address for pod in pods])
        assert set(answers(PREMISES, f"{frontend}:80/hostname")) == {pod.name for pod in pods}
        assert {caller_seen(it) for it in answers(PREMISES, f"{frontend}:80/clientip")} == {str(ONPREM.address)}

        shops[0].settle(0)
        box.wait_for(lambda: not attached(nodes[0]), UNDONE_S, f"nothing to be attached to {nodes[0].name}")
        await_written(box)  # the document shows what a write that has not ended yet will bring
        await_up(box, LB, [pods[1].address])
        assert set(answers(PREMISES, f"{frontend}:80/hostname")) == {pods[1].name}
        nodes[0].shows(AT_REST, within_s=UNDONE_S)
        heirs = stack.enter_context(servers(box, "heirs", node=nodes[0].name, replicas=AT_REST.free))
        assert pods[0].address in {heir.address for heir in heirs.pods()}
        assert up(box, LB) == {str(pods[1].address)}
        assert set(answers(PREMISES, f"{frontend}:80/hostname")) == {pods[1].name}


@pytest.mark.usefixtures("frontend")
def test_a_pod_that_ends_while_no_agent_is_there_is_taken_out_before_its_address_is_free(
    box: Box, nodes: list[Node], product: Product
) -> None:
    with asking(box, "orphan", nodes[0], {POOLS: POOL_ID}) as made:
        (pod,) = made.ready(1)
        with product.away():
            made.scale(0)
            box.wait_for(lambda: all(not it.ready for it in made.pods()), UNDONE_S, "the pod to end")
            assert attached(nodes[0]) == {pod.address: [POOL_ID]}
        box.wait_for(lambda: not attached(nodes[0]), UNDONE_S, f"nothing to be attached to {nodes[0].name}")
    nodes[0].shows(AT_REST, within_s=UNDONE_S)


def test_a_pod_with_a_public_address_is_reached_from_the_internet_while_it_runs(box: Box, nodes: list[Node]) -> None:
    with (
        public_ip(box, IP) as address,
        security_group(box, "shop", [OPEN], subnet=SUBNET),
        asking(box, "mail", nodes[0], {PUBLIC_IP: IP_ID}) as made,
    ):
        (pod,) = made.ready(1)
        assert attached(nodes[0]) == {pod.address: [IP_ID]}
        assert ask_from(OUTSIDE, f"{address}:{PORT}/hostname") == pod.name
        assert caller_seen(ask_from(OUTSIDE, f"{address}:{PORT}/clientip")) == str(INTERNET_HOST.address)
        made.settle(0)
        box.wait_for(lambda: not attached(nodes[0]), UNDONE_S, f"nothing to be attached to {nodes[0].name}")
        assert ask_from(OUTSIDE, f"{address}:{PORT}/hostname").startswith("!")


@pytest.mark.usefixtures("frontend")
@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (POOLS, MISSING_ID, ("AttachmentNotFound", "load balancer pool missing/pods")),
        (POOLS, FOREIGN_ID, ("AttachmentNotAllowed", "load balancer pool foreign/pods", "podNetworking.allowed")),
        (PUBLIC_IP, "mail", ("AttachmentInvalid", "azure-cni.io/public-ip has 'mail'")),
    ],
    ids=["missing", "foreign", "wrong"],
)
def test_what_cannot_be_attached_is_said_on_the_pod_which_runs_all_the_same(
    box: Box, nodes: list[Node], annotation: str, value: str, words: tuple[str, ...]
) -> None:
    """And another pod of that node gets what it asks for."""
    with (
        asking(box, "bad", nodes[0], {annotation: value}, gated=False) as bad,
        asking(box, "good", nodes[0], {POOLS: POOL_ID}) as good,
    ):
        (pod,) = bad.ready(1)
        event_for(box, pod.name, *words)
        (served,) = good.ready(1)
        assert attached(nodes[0]) == {served.address: [POOL_ID]}
    nodes[0].shows(AT_REST, within_s=UNDONE_S)


@pytest.mark.usefixtures("frontend")
def test_kubectl_describe_and_why_show_what_is_in_the_way(box: Box, nodes: list[Node]) -> None:
    """Prints what docs/operations.md shows: `e2e/box scenarios -k kubectl_describe -rP`."""
    with asking(box, "described", nodes[0], {POOLS: MISSING_ID}) as made:
        pod = box.wait_for(lambda: next(iter(made.pods()), None), UNDONE_S, "the pod to be there")
        event_for(box, pod.name, "AttachmentNotFound", "load balancer pool missing/pods")

        def described() -> str:
            shown = box.kubectl("describe", "pod", "-n", NAMESPACE, pod.name)
            gates = shown.partition("Readiness Gates:")[2].partition("Conditions:")[0].split()
            return shown if gates[-2:] == [GATE, "False"] else ""

        shown = box.wait_for(described, UNDONE_S, f"{pod.name} to be described with its readiness gate False")
        print(shown)
        events = shown.partition("Events:")[2]
        assert "AttachmentNotFound" in events
        assert "Azure does not find the load balancer pool missing/pods" in events

        def explained() -> Answered | None:
            answer = ask("why", f"{NAMESPACE}/{pod.name}")
            return answer if "it is tried again at" in answer.printed else None

        why = box.wait_for(explained, UNDONE_S, "azure-cni why to say when it is tried again")
        print(why.printed)
        assert why.code == 1
        assert "AttachmentNotFound" in why.printed
    nodes[0].shows(AT_REST, within_s=UNDONE_S)
