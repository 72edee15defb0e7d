"""Pods behind Azure's load balancer and public IP addresses, put there by an administrator, as VMs would be.

An address with something attached is for no pod: a pod that has it already keeps it, and its successor gets another.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import INTERNET_HOST, ONPREM
from azurebox.facts import CONTROL_PLANE
from scenarios.harness.balancing import (
    assigned,
    await_up,
    await_written,
    join,
    load_balancer,
    nat_gateway,
    public_ip,
    up,
)
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import NAMESPACE, PORT, Pod, Workload, ask, servers, workload
from scenarios.harness.product import QUICK
from scenarios.harness.vnet import SUBNET, ask_from, caller_seen, let_in, security_group, sees

OUTSIDE, PREMISES = f"azbox-{INTERNET_HOST.name}", f"azbox-{ONPREM.name}"
REQUESTS = 40
TIMES = 5  # that one of four members gets none of so many times as many by luck never happens
FEW = 24  # that all of these go to one node by luck happens once in eight million times
NOTICED_S = 180.0
VALUES = {**QUICK, "agent.resyncSeconds": 30}
INNER, OUTER = "inner", "outer"
OPEN = let_in(PORT)
STOP = """
import os, pathlib, signal, sys
for status in pathlib.Path("/proc").glob("[0-9]*/comm"):
    if status.read_text().strip() == "agnhost":
        os.kill(int(status.parent.name), getattr(signal, sys.argv[1]))
"""


@pytest.fixture(scope="module", autouse=True)
def gateway(box: Box, nodes: list[Node], reset: Callable[[], None]) -> Iterator[IPv4Address]:
    """A way out for the nodes: Azure takes the default one from a VM that is in a pool or has a public IP address.

    The addresses that were in a pool are for pods again afterwards, beside those that took their place: not before
    the NIC is read again, so a reset that came earlier would find nothing to do.
    """
    with nat_gateway(box, subnet=SUBNET) as address:
        yield address

    def excluded() -> list[str]:
        return [node.name for node in nodes if node.pool()["status"].get("excluded")]

    for node in nodes:
        node.read_now()
    box.wait_for(lambda: not excluded(), NOTICED_S, "every address to be for pods again")
    reset()


@pytest.fixture(scope="module")
def shops(box: Box, nodes: list[Node]) -> Iterator[list[Workload]]:
    """Two servers on each node, whose process another of the same pod can stop."""
    with ExitStack() as stack:
        yield [stack.enter_context(_shop(box, f"shop-{number}", node)) for number, node in enumerate(nodes)]


@pytest.fixture(scope="module")
def pods(shops: list[Workload]) -> list[Pod]:
    return [pod for shop in shops for pod in shop.pods()]


@pytest.fixture(scope="module")
def frontend(box: Box, pods: list[Pod]) -> Iterator[IPv4Address]:
    """An internal load balancer in front of all of them, with an HTTP probe; its address."""
    with load_balancer(
        box, INNER, subnet=SUBNET, port=80, backend_port=PORT, probe=f"http:{PORT}/", interval_s=5
    ) as address:
        join(box, INNER, [pod.address for pod in pods])
        yield address
    await_written(box)


@contextmanager
def _shop(box: Box, name: str, node: Node) -> Iterator[Workload]:
    with servers(box, name, node=node.name) as made:
        document = workload(name, node=node.name, replicas=2)
        spec = document["spec"]["template"]["spec"]
        spec["shareProcessNamespace"] = True
        box.apply(document)
        made.ready(2)
        yield made


def test_requests_are_spread_over_the_pods_of_both_nodes_who_see_the_client(
    box: Box, frontend: IPv4Address, pods: list[Pod]
) -> None:
    """From on-premises, and from a VM of the VNet: each is seen with its own address."""
    vm = IPv4Address(next(vm["primary"] for vm in box.azure("GET", "/vms") if vm["name"] == CONTROL_PLANE))
    for caller, source in ((PREMISES, ONPREM.address), (CONTROL_PLANE, vm)):
        assert _servers(caller, f"{frontend}:80/hostname", pods) == {pod.name for pod in pods}
        seen = {caller_seen(answer) for answer in _answers(caller, f"{frontend}:80/clientip")}
        assert seen == {str(source)}


def test_a_pod_reaches_the_pods_of_other_nodes_through_the_frontend(
    box: Box, frontend: IPv4Address, pods: list[Pod], nodes: list[Node]
) -> None:
    """They see its own address. From those of its own node, which are sent requests as well, no answer comes back.

    Azure documentation, on internal load balancers: "failures can occur when the flow is mapped to the originating VM".
    """
    with servers(box, "customer", node=nodes[0].name, replicas=1) as customers:
        customer = customers.pods()[0]
        said = ask(box, customer, [f"{frontend}:80/hostname?{number}" for number in range(FEW)]).values()
        served = {answer for answer in said if not answer.startswith("!")}
        assert served <= {pod.name for pod in pods if pod.node != customer.node}
        assert served
        seen = ask(box, customer, [f"{frontend}:80/clientip?{number}" for number in range(FEW)]).values()
        assert {caller_seen(answer) for answer in seen} - {""} == {str(customer.address)}


def test_a_pod_whose_server_stops_is_passed_over_and_comes_back(
    box: Box, frontend: IPv4Address, pods: list[Pod], figure: Callable[[str], None]
) -> None:
    """A stopped process still accepts connections; it is the HTTP probe that finds it out."""
    stopped, *rest = pods
    everyone = [pod.address for pod in pods]
    _signal(box, stopped, "SIGSTOP")
    began = time.monotonic()
    try:
        await_up(box, INNER, [pod.address for pod in rest])
        figure(f"a server that stops gets no new connections after {time.monotonic() - began:.1f} s (probe each 5 s)")
        assert _servers(PREMISES, f"{frontend}:80/hostname", rest) == {pod.name for pod in rest}
    finally:
        _signal(box, stopped, "SIGCONT")
    await_up(box, INNER, everyone)
    assert stopped.name in _servers(PREMISES, f"{frontend}:80/hostname", [stopped])


def test_a_public_frontend_is_closed_until_a_security_group_opens_it(
    box: Box, frontend: IPv4Address, pods: list[Pod]
) -> None:
    """The same pods behind a second load balancer; the internet's host is seen as itself."""
    assert up(box, INNER)
    with (
        public_ip(box, "outer-ip"),
        load_balancer(box, OUTER, public_ip="outer-ip", port=80, backend_port=PORT, probe=f"tcp:{PORT}") as address,
    ):
        join(box, OUTER, [pod.address for pod in pods])
        assert ask_from(OUTSIDE, f"{address}:80/clientip").startswith("!")
        with security_group(box, "shop", [OPEN], subnet=SUBNET):
            assert _servers(OUTSIDE, f"{address}:80/hostname", pods) == {pod.name for pod in pods}
            assert caller_seen(ask_from(OUTSIDE, f"{address}:80/clientip")) == str(INTERNET_HOST.address)
            assert caller_seen(ask_from(PREMISES, f"{frontend}:80/clientip")) == str(ONPREM.address)
    await_written(box)


def test_a_public_ip_on_a_pods_address_leads_in_and_the_gateway_out(
    box: Box, pods: list[Pod], gateway: IPv4Address
) -> None:
    """Azure's order: what the pod opens leaves by the NAT gateway, though it has a public address of its own."""
    pod = pods[-1]
    with (
        public_ip(box, "own-ip") as address,
        security_group(box, "shop", [OPEN], subnet=SUBNET),
        assigned(box, "own-ip", pod.address),
    ):
        assert caller_seen(ask_from(OUTSIDE, f"{address}:{PORT}/clientip")) == str(INTERNET_HOST.address)
        assert ask_from(OUTSIDE, f"{address}:{PORT}/hostname") == pod.name
        assert sees(box, pod, INTERNET_HOST.address) == str(gateway)


def test_an_address_with_something_attached_is_for_no_pod(box: Box, nodes: list[Node]) -> None:
    """Its pod keeps it; once that has ended, the address is excluded, and free again when nothing is attached."""
    node = nodes[0]
    with servers(box, "owner", node=node.name, replicas=1) as owners, public_ip(box, "kept-ip"):
        owner = owners.pods()[0]
        with assigned(box, "kept-ip", owner.address):
            owners.settle(0)
            box.wait_for(lambda: _excluded(node, owner.address), NOTICED_S, f"{owner.address} to be excluded")
            heirs = owners.settle(AT_REST.free // 2)
            assert owner.address not in {heir.address for heir in heirs}
            owners.settle(0)
    box.wait_for(lambda: not _excluded(node, owner.address), NOTICED_S, f"{owner.address} to be for pods again")


def _excluded(node: Node, address: IPv4Address) -> bool:
    """Whether the node's NodeIPPool says that no other pod gets this address."""
    return str(address) in json.dumps(node.pool()["status"].get("excluded", {}))


def _servers(namespace: str, target: str, expected: Sequence[Pod]) -> set[str]:
    """The names of those that answer that many requests, and more while one of the expected did not."""
    met: set[str] = set()
    for _ in range(TIMES):
        met |= set(_answers(namespace, target))
        if met >= {pod.name for pod in expected}:
            break
    return met


def _answers(namespace: str, target: str) -> list[str]:
    """The answers to that many requests, each on its own connection; a request that fails fails the test."""
    said = [ask_from(namespace, f"{target}?{number}") for number in range(REQUESTS)]
    assert not [answer for answer in said if answer.startswith("!")], said
    return said


def _signal(box: Box, pod: Pod, name: str) -> None:
    """Send the server's process a signal, from beside it in its pod."""
    box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "python3", "-c", STOP, name)
