"""Services of type LoadBalancer as cloud-provider-azure sets them up: who answers, and as whom it sees the caller.

The load balancer leads to the nodes, and kube-proxy from there to pods. The scenarios play the cloud controller.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import INTERNET_HOST, ONPREM
from scenarios.harness.balancing import await_up, nat_gateway, public_ip
from scenarios.harness.cloud_controller import exposed, vm_of_the_vnet
from scenarios.harness.meeting import await_meetings, await_silence
from scenarios.harness.node import Node
from scenarios.harness.pods import PORT, Pod, Workload, servers
from scenarios.harness.product import Product
from scenarios.harness.services import Service, kube_proxy, service
from scenarios.harness.vnet import SUBNET, let_in, security_group

SERVERS = {"role": "serves"}
WEB = 80
PREFIXES = {"transparent": "acni", "bridge": "azure0"}  # of the interfaces by which kube-proxy recognises pods


@pytest.fixture(scope="module", autouse=True)
def gateway(box: Box) -> Iterator[None]:
    """A way out for the nodes: Azure takes the default one from a VM that is in a pool."""
    with nat_gateway(box, subnet=SUBNET):
        yield


@pytest.fixture(scope="module")
def serving(box: Box, nodes: list[Node]) -> Iterator[list[Pod]]:
    """A server on each node, in the nodes' order."""
    with ExitStack() as stack:
        made = [stack.enter_context(_server(box, node)) for node in nodes]
        yield [workload.pods()[0] for workload in made]


@pytest.fixture(scope="module")
def clients(box: Box, nodes: list[Node]) -> Iterator[list[Pod]]:
    """Another pod on each node, in the nodes' order."""
    with ExitStack() as stack:
        made = [stack.enter_context(servers(box, f"asks-{node.name}", node=node.name, replicas=1)) for node in nodes]
        yield [workload.pods()[0] for workload in made]


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def mode(request: pytest.FixtureRequest, box: Box, nodes: list[Node]) -> Iterator[str]:
    """kube-proxy of both nodes in this mode."""
    with kube_proxy(box, nodes, mode=request.param):
        yield request.param


@pytest.mark.usefixtures("mode")
def test_with_policy_local_pods_of_all_nodes_see_who_calls(box: Box, serving: list[Pod], nodes: list[Node]) -> None:
    """From on-premises, and from another VM of the VNet."""
    with _balanced(box, "local", externalTrafficPolicy="Local"), exposed(box, "local", nodes) as frontend:
        await_up(box, "local", [node.primary() for node in nodes])
        for caller in (ONPREM, vm_of_the_vnet(box)):
            await_meetings(box, caller, f"{frontend}:{WEB}", servers=serving, seen={caller.address})


@pytest.mark.usefixtures("mode")
def test_with_policy_cluster_a_node_without_a_server_leads_to_one(
    box: Box, serving: list[Pod], nodes: list[Node]
) -> None:
    """Both nodes get connections, and the only server sees the node that each came by."""
    primaries = [node.primary() for node in nodes]
    with (
        _balanced(box, "cluster", selector={"app": f"serves-{nodes[1].name}"}),
        exposed(box, "cluster", nodes) as frontend,
    ):
        await_up(box, "cluster", primaries)
        for caller in (ONPREM, vm_of_the_vnet(box)):
            await_meetings(box, caller, f"{frontend}:{WEB}", servers=serving[1:], seen=primaries)


@pytest.mark.usefixtures("mode")
def test_with_policy_local_a_node_gets_connections_only_while_a_server_runs_there(
    box: Box, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """The health check node port says so to the load balancer: the server moves from one node to the other."""
    first, second = nodes
    selector = {"role": "moves"}
    with (
        _balanced(box, "moved", selector=selector, externalTrafficPolicy="Local"),
        servers(box, "moved-to", node=second.name, labels=selector) as there,
        exposed(box, "moved", nodes) as frontend,
    ):
        with servers(box, "moved-from", node=first.name, replicas=1, labels=selector) as here:
            await_up(box, "moved", [first.primary()])
            await_meetings(box, ONPREM, f"{frontend}:{WEB}", servers=here.pods(), seen={ONPREM.address})
            there.settle(1)
            await_up(box, "moved", [first.primary(), second.primary()])
            await_meetings(
                box, ONPREM, f"{frontend}:{WEB}", servers=[*here.pods(), *there.pods()], seen={ONPREM.address}
            )
        began = time.monotonic()
        await_up(box, "moved", [second.primary()])
        figure(f"a node without a server gets no connections {time.monotonic() - began:.1f} s after its last pod ended")
        await_meetings(box, ONPREM, f"{frontend}:{WEB}", servers=there.pods(), seen={ONPREM.address})


def test_pods_reach_a_frontend_by_kube_proxy_of_their_own_node(
    box: Box, mode: str, serving: list[Pod], clients: list[Pod], nodes: list[Node], product: Product
) -> None:
    """Servers see the pod itself. With policy Local they are those of its own node, until kube-proxy recognises pods.

    Then they are those of all nodes.
    """
    recognised = {
        "detectLocalMode": "InterfaceNamePrefix",
        "detectLocal": {"interfaceNamePrefix": PREFIXES[product.mode]},
    }
    with _balanced(box, "inner", externalTrafficPolicy="Local"), exposed(box, "inner", nodes) as frontend:
        for client, server in zip(clients, serving, strict=True):
            await_meetings(box, client, f"{frontend}:{WEB}", servers=[server], seen={client.address})
        with kube_proxy(box, nodes, mode=mode, **recognised):
            for client in clients:
                await_meetings(box, client, f"{frontend}:{WEB}", servers=serving, seen={client.address})


def test_the_internet_reaches_a_public_frontend_once_a_security_group_lets_it_in(
    box: Box, serving: list[Pod], nodes: list[Node]
) -> None:
    """The servers see the internet's host itself."""
    with (
        _balanced(box, "public", externalTrafficPolicy="Local"),
        public_ip(box, "public-service"),
        exposed(box, "public", nodes, public_ip="public-service") as frontend,
    ):
        await_up(box, "public", [node.primary() for node in nodes])
        await_silence(box, INTERNET_HOST, f"{frontend}:{WEB}")
        with security_group(box, "web", [let_in(WEB)], subnet=SUBNET):
            await_meetings(box, INTERNET_HOST, f"{frontend}:{WEB}", servers=serving, seen={INTERNET_HOST.address})


def _server(box: Box, node: Node) -> AbstractContextManager[Workload]:
    return servers(box, f"serves-{node.name}", node=node.name, replicas=1, labels=SERVERS)


def _balanced(box: Box, name: str, **spec: Any) -> AbstractContextManager[Service]:
    """A Service of type LoadBalancer on port 80, before the cloud controller has seen it."""
    ports = [{"name": "web", "port": WEB, "targetPort": PORT}]
    return service(box, name, **{"selector": SERVERS, "type": "LoadBalancer", "ports": ports, **spec})
