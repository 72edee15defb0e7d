"""A node whose pods have a subnet of their own: the pool is on the NIC that its VM has there, eth0 is the node's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv4Network

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import INTERNET_HOST, ONPREM, PEER
from scenarios.harness.balancing import join, load_balancer, nat_gateway, public_ip
from scenarios.harness.meeting import await_return
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import PORT, Pod, ask, on_nodes, servers
from scenarios.harness.product import Product
from scenarios.harness.services import Service, service
from scenarios.harness.stream import Flow, unbroken
from scenarios.harness.vnet import SUBNET, ask_from, caller_seen, guest, let_in, security_group, sees

PODS, PREFIX = "pods", IPv4Network("10.240.12.0/24")
MOVED_S, FEW = 240.0, 3
PENDING = "NicChangePending"
OUTSIDE = f"azbox-{INTERNET_HOST.name}"


@pytest.fixture(scope="module")
def subnet(box: Box, nodes: list[Node]) -> str:
    """The resource ID of the pods' subnet, in which no NIC is yet."""
    box.azure("PATCH", f"/subnets/{PODS}", {"prefix": str(PREFIX)})
    configuration = nodes[0].nic()["properties"]["ipConfigurations"][0]["properties"]
    own: str = configuration["subnet"]["id"]
    return own.removesuffix(f"/{SUBNET}") + f"/{PODS}"


@pytest.fixture(scope="module")
def pod_nic(box: Box, nodes: list[Node], subnet: str) -> Iterator[Node]:
    """The first node with its pool on its VM's second NIC; afterwards it is on the first one again.

    Without that NIC the pool says which commands make it, and stays where it is.
    """
    node = nodes[0]
    moved = Node(box, node.name)
    moved.nic_name = f"{node.nic_name}2"
    try:
        node.want(nic={"subnet": subnet})
        box.wait_for(lambda: node.condition(PENDING)["reason"] == "NicMissing", MOVED_S, "the NIC to be missed")
        message = node.condition(PENDING)["message"]
        assert f"--name {node.name}-pods --subnet {subnet}" in message
        assert f"az vm nic add --resource-group azbox --vm-name {node.name} --nics {node.name}-pods" in message
        box.azure("POST", f"/vms/{node.name}/nics", {"subnet": PODS})
        node.read_now()
        box.wait_for(partial(is_on, moved), MOVED_S, "the pool to be on the second NIC")
        moved.agrees(assigned=0, within_s=MOVED_S)
        yield moved
    finally:
        node.want()
        box.wait_for(partial(is_on, node), MOVED_S, "the pool to be on the first NIC again")
        box.azure("DELETE", f"/vms/{node.name}/nics/{node.nic_name}2")
        node.shows(AT_REST, within_s=MOVED_S)


@pytest.fixture
def peer(box: Box, nodes: list[Node]) -> Iterator[Pod]:
    """A pod of the other node, which has its pool on its only NIC."""
    with servers(box, "peer", node=nodes[1].name, replicas=1) as made:
        yield made.pods()[0]


def is_on(node: Node) -> bool:
    status = node.pool()["status"]
    return str(status.get("nicID", "")).endswith(f"/{node.nic_name}") and node.counts().free >= AT_REST.free


def test_pods_have_addresses_of_their_subnet_and_everybody_sees_them_as_themselves(
    box: Box, nodes: list[Node], pod_nic: Node, peer: Pod, figure: Callable[[str], None]
) -> None:
    """On the node, on another one, in the VNet, its peer and on-premises; the internet sees the subnet's gateway."""
    with nat_gateway(box, subnet=PODS) as gateway, servers(box, "own", node=pod_nic.name, replicas=FEW) as own:
        one, two, *_ = pods = own.pods()
        assert all(pod.address in PREFIX for pod in pods)
        assert {pod.address for pod in pods} <= pod_nic.on_nic()
        pod_nic.agrees(assigned=FEW)
        hosts = {host.node: host for host in on_nodes(box)}
        for caller, callee in ((one, two), (one, peer), (peer, one), (one, hosts[peer.node]), (hosts[peer.node], one)):
            target = f"{callee.address}:{PORT}/clientip"
            assert caller_seen(ask(box, caller, [target])[target]) == str(caller.address)
        target = f"{one.address}:{PORT}/clientip"
        assert caller_seen(ask(box, hosts[one.node], [target])[target]) == str(nodes[0].primary())
        for place in (ONPREM, PEER):
            assert sees(box, one, place.address) == str(one.address)
        assert sees(box, one, INTERNET_HOST.address) == str(gateway)
        figure(f"pods of the subnet reach the internet as {gateway}, its NAT gateway")
        with guest("azbox-db", subnet=PODS) as (database, address):
            assert sees(box, one, address) == str(one.address)
            for host, seen in ((nodes[0].primary(), address), (one.address, address)):
                assert caller_seen(ask_from(database.name, f"{host}:{PORT}/clientip")) == str(seen)


@pytest.mark.parametrize("policy", ["Local", "Cluster"])
def test_the_internet_reaches_a_node_port_by_the_nodes_own_nic(
    box: Box, nodes: list[Node], pod_nic: Node, policy: str
) -> None:
    """A load balancer leads to the primary NIC, where the answer leaves, too. With policy Local the pod sees who calls.

    The node needs a way out: Azure takes the default one from a VM that is in a pool.
    """
    primary = nodes[0].primary()
    with (
        nat_gateway(box, subnet=SUBNET),
        servers(box, "shop", node=pod_nic.name, replicas=1) as shop,
        service(box, "shop", selector={"app": "shop"}, type="NodePort", externalTrafficPolicy=policy) as made,
        security_group(box, "shop", [let_in(made.node_port)], subnet=SUBNET),
        _published(box, made, primary) as address,
    ):
        target = f"{address}:80/clientip"
        box.wait_for(lambda: bool(caller_seen(ask_from(OUTSIDE, target))), MOVED_S, "the internet to reach the pod")
        seen = {caller_seen(ask_from(OUTSIDE, f"{target}?{number}")) for number in range(FEW)}
        assert seen == {str(INTERNET_HOST.address if policy == "Local" else primary)}
        assert ask_from(OUTSIDE, f"{address}:80/hostname") == shop.pods()[0].name


@contextmanager
def _published(box: Box, made: Service, primary: IPv4Address) -> Iterator[IPv4Address]:
    """A public frontend that leads to the service's node port at that address of a node."""
    port = made.node_port
    rule = {"port": 80, "backend_port": port, "probe": f"tcp:{port}"}
    with public_ip(box, "shop-ip"), load_balancer(box, "shop", public_ip="shop-ip", **rule) as frontend:
        join(box, "shop", [primary])
        yield frontend


def test_pods_do_not_notice_that_the_agent_restarts_and_keep_their_nic(
    box: Box, product: Product, pod_nic: Node, peer: Pod, subnet: str, figure: Callable[[str], None]
) -> None:
    """Also when somebody wants the pool elsewhere meanwhile: it says which pods are in the way."""
    with servers(box, "few", node=pod_nic.name, replicas=FEW) as few:
        pods, held = few.pods(), pod_nic.on_nic()
        flows = (
            Flow(peer, pods[0].address, seen=peer.address),
            Flow(pods[0], peer.address, seen=pods[0].address),
            Flow(pods[0], pods[1].address, seen=pods[0].address),
        )
        with unbroken(box, *flows) as report:
            pod_nic.want()
            box.wait_for(lambda: pod_nic.condition(PENDING)["status"] == "True", MOVED_S, "the change to be pending")
            assert pods[0].name in pod_nic.condition(PENDING)["message"]
            product.restart(pod_nic)
            product.await_ready()
            box.wait_for(lambda: pod_nic.condition(PENDING)["status"] == "True", MOVED_S, "it to be pending still")
        figure(f"agent restarted on a node with a pod subnet, nothing lost: {'; '.join(report)}")
        assert few.pods() == pods
        assert pod_nic.on_nic() == held
        pod_nic.want(nic={"subnet": subnet})
        box.wait_for(lambda: pod_nic.condition(PENDING)["status"] == "False", MOVED_S, "nothing to be pending")
        pod_nic.agrees(assigned=FEW)


def test_pods_come_back_when_the_node_reboots(box: Box, pod_nic: Node, peer: Pod) -> None:
    with servers(box, "few", node=pod_nic.name, replicas=FEW) as few:
        await_return(box, pod_nic, few, peer, count=FEW, within_s=MOVED_S)
