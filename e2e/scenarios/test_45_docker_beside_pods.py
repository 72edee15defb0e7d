"""Docker on a node of the cluster (docker.enabled): its containers and the node's pods, from one pool."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from azurebox.client import Box
from azurebox.docker_host import DAEMON, IMAGE, PORT, SERVER
from azurebox.node_docker import ENGINE_SOCKET, NodeDocker
from azurebox.steps import StepError
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import PORT as POD_PORT
from scenarios.harness.pods import Pod, ask, servers
from scenarios.harness.product import QUICK, Product

NETWORK = "vnet"
DRIVERS = ("-d", "azure-cni", "--ipam-driver", "azure-cni")
PATIENCE_S = 120.0
LOST_S = 300.0
"""A suspicion, Docker's lists once more, and a look for processes take up to three minutes."""
STATUS = ("azure-cni", "docker", "status")


@pytest.fixture(scope="module")
def docker(product: Product, nodes: list[Node]) -> Iterator[NodeDocker]:
    if product.mode != "transparent":
        pytest.skip("Docker's containers are wired in mode transparent alone, and the chart refuses the other")
    product.use(QUICK | {"docker.enabled": "true", "docker.engineSocket": ENGINE_SOCKET})
    made = NodeDocker(nodes[0].name)
    try:
        made.start_daemon()
        made.docker("network", "create", *DRIVERS, NETWORK)
        yield made
    finally:
        made.remove()


def status(box: Box, product: Product, node: Node) -> str:
    """What the node's agent says of its containers."""
    agent = product.agent(node)["metadata"]["name"]
    return box.kubectl("exec", "-n", "kube-system", agent, "--", *STATUS)


def test_pods_and_containers_of_one_node_share_its_pool_and_reach_one_another(
    box: Box, product: Product, nodes: list[Node], docker: NodeDocker
) -> None:
    node, _ = nodes
    with _a_pod_on_each(box, nodes) as (pod, peer):
        docker.docker("run", "-d", "--name", "web", "--network", NETWORK, *SERVER)
        address = docker.address("web", network=NETWORK)
        assert address in {str(one) for one in node.on_nic()}
        for server in (pod, peer):
            request = f"printf 'GET /clientip HTTP/1.0\\r\\n\\r\\n' | /bin/nc -w 5 {server.address} {POD_PORT}"
            assert address in docker.docker("exec", "web", "/bin/sh", "-c", request)
            (said,) = ask(box, server, [f"{address}:{PORT}/cgi-bin/whoami"]).values()
            assert str(server.address) in said
        node.agrees(assigned=2)
        shown = status(box, product, node)
        assert f"{address}  joined" in shown
        assert ", 2 assigned, " in shown
        product.restart(node)  # neither is taken for the other's dead, nor loses its network
        assert address in docker.docker("exec", "web", "/bin/sh", "-c", request)
        node.agrees(assigned=2)
    node.agrees(assigned=1)
    docker.docker("rm", "-f", "web")
    node.agrees(assigned=0)


def test_an_address_is_named_by_docker_and_never_by_a_cni_runtime(nodes: list[Node], docker: NodeDocker) -> None:
    node, _ = nodes
    docker.docker("network", "create", *DRIVERS, "--subnet", "10.240.0.0/22", "fixed")
    wanted = str(max(node.on_nic() - {node.primary}))
    docker.docker("run", "-d", "--name", "named", "--network", "fixed", "--ip", wanted, *SERVER)
    assert docker.address("named", network="fixed") == wanted
    conf = {"cniVersion": "1.0.0", "name": "azure-cni", "type": "azure-cni", "runtimeConfig": {"ips": [wanted]}}
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "asks",
        "CNI_NETNS": "/run/netns/none",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    node.run("ip", "netns", "add", "none")
    try:
        answer = node.ask(["/opt/cni/bin/azure-cni"], stdin=json.dumps(conf), env=env)
        assert "on a node of a cluster azure-cni chooses each address" in str(answer)
    finally:
        node.run("ip", "netns", "delete", "none")
    docker.docker("rm", "-f", "named")
    docker.docker("network", "rm", "fixed")
    node.agrees(assigned=0)


def test_as_many_containers_as_the_pool_grows_for_come_and_go_and_the_counts_are_as_before(
    box: Box, nodes: list[Node], docker: NodeDocker
) -> None:
    node, _ = nodes
    names = [f"many{number}" for number in range(AT_REST.allocated + 2)]
    for name in names:
        docker.docker("run", "-d", "--name", name, "--network", NETWORK, *SERVER)
    node.agrees(assigned=len(names))
    assert node.counts().allocated > AT_REST.allocated
    docker.docker("rm", "-f", *names)
    box.wait_for(lambda: node.counts() == AT_REST, PATIENCE_S, "the pool to be at rest")
    with pytest.raises(StepError, match="cannot publish port"):
        docker.docker("run", "--rm", "-p", "80:80", "--network", NETWORK, IMAGE, "/bin/sleep", "0")


def test_what_docker_has_lost_returns_its_address_and_the_pod_beside_it_keeps_its_own(
    box: Box, product: Product, nodes: list[Node], docker: NodeDocker
) -> None:
    """The daemon is killed, its state removed, and then the container ends: its link stays, and no call comes."""
    node, _ = nodes
    with _a_pod_on_each(box, nodes) as (pod, peer):
        docker.docker("run", "-d", "--name", "lost", "--network", NETWORK, *SERVER)
        process = docker.docker("inspect", "-f", "{{.State.Pid}}", "lost").strip()
        row = [docker.address("lost", network=NETWORK), "joined"]

        def is_named() -> bool:
            rows = [line.split() for line in status(box, product, node).splitlines()]
            return any(one[:2] == row and one[-1] == "lost" for one in rows)

        box.wait_for(is_named, PATIENCE_S, "the agent to know the container's name, by Docker's lists")
        node.agrees(assigned=2)
        docker.stop(DAEMON)
        docker.run("sh", "-c", "rm -rf /var/lib/docker/containers/* /var/lib/docker/network/files/*")
        docker.start_daemon()
        docker.run("kill", "-9", process)
        node.agrees(assigned=1, within_s=LOST_S)
        (said,) = ask(box, peer, [f"{pod.address}:{POD_PORT}/clientip"]).values()
        assert str(peer.address) in said
    docker.docker("network", "create", *DRIVERS, NETWORK)
    node.agrees(assigned=0)


@contextmanager
def _a_pod_on_each(box: Box, nodes: list[Node]) -> Iterator[tuple[Pod, Pod]]:
    """A server beside the containers, and one on the other node."""
    node, other = nodes
    with (
        servers(box, "beside", node=node.name, replicas=1) as here,
        servers(box, "elsewhere", node=other.name, replicas=1) as there,
    ):
        yield here.pods()[0], there.pods()[0]
