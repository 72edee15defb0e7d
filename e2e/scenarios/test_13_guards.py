"""What pods and strangers must not reach by way of a node; and what others undo there, which is right again at once."""

import json
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from azurebox.client import Box
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, Pod, Workload, ask, on_nodes, servers
from scenarios.harness.services import kube_proxy

WIRESERVER = "168.63.129.16"
FORBIDDEN_PORT, PLAIN_PORT = 30168, 30169
PROGRAMMED_S = 120.0
RIGHT_S = 5.0  # before any comparison by the clock


@pytest.fixture(scope="module")
def workload(box: Box, nodes: list[Node]) -> Iterator[Workload]:
    with servers(box, "guarded", node=nodes[1].name, replicas=1) as made:
        yield made


@pytest.fixture(params=["iptables", "nftables"])
def proxy(request: pytest.FixtureRequest, box: Box, nodes: list[Node]) -> Iterator[str]:
    """kube-proxy of the first node in this mode; afterwards as it was."""
    with kube_proxy(box, nodes[:1], mode=request.param):
        yield request.param


def test_no_node_port_leads_to_the_vm_agents_server(
    box: Box, proxy: str, workload: Workload, nodes: list[Node]
) -> None:
    """A Service without a selector may name any endpoint; its NodePort is called from another node and from a pod."""
    forbidden, plain = (f"{nodes[0].primary()}:{port}/" for port in (FORBIDDEN_PORT, PLAIN_PORT))
    callers = [*(pod for pod in on_nodes(box) if pod.node == nodes[1].name), *workload.pods()]
    assert len(callers) == 2
    try:
        _service(box, "forbidden", FORBIDDEN_PORT, WIRESERVER, 80)
        _service(box, "plain", PLAIN_PORT, str(nodes[1].primary()), 8080)
        for caller in callers:
            programmed = partial(_is_answered, box, caller, plain)
            box.wait_for(programmed, PROGRAMMED_S, f"kube-proxy ({proxy}) to lead {plain} somewhere")
            before = _refused(nodes[0])
            answer = ask(box, caller, [forbidden])[forbidden]
            assert answer.startswith("!"), answer
            # Nobody listens there, so that it failed says little: this node refused it, and nobody else had a say.
            assert "Connection refused" not in answer
            assert _refused(nodes[0]) > before
    finally:
        for name in ("forbidden", "plain"):
            box.kubectl("delete", "service", "-n", NAMESPACE, name, "--ignore-not-found")
            box.kubectl("delete", "endpointslice", "-n", NAMESPACE, name, "--ignore-not-found")


@pytest.mark.parametrize(
    ("name", "damage", "whole"),
    [
        ("table", "nft delete table inet azure_cni", "nft list chain inet azure_cni guard"),
        ("ip_forward", "sysctl -qw net.ipv4.ip_forward=0", 'test "$(sysctl -n net.ipv4.ip_forward)" = 1'),
        ("route", "ip route flush dev LINK", "ip route show ADDRESS | grep -q src"),
        ("neighbour", "ip neigh flush dev LINK nud permanent", "ip neigh show ADDRESS | grep -q PERMANENT"),
    ],
)
def test_what_others_undo_is_right_again_at_once(
    box: Box,
    workload: Workload,
    nodes: list[Node],
    figure: Callable[[str], None],
    name: str,
    damage: str,
    whole: str,
) -> None:
    """Long before a comparison is due."""
    node, (pod,) = nodes[1], workload.pods()
    link = json.loads(node.run("ip", "-json", "route", "show", str(pod.address)))[0]["dev"]
    # In one shell, so that no process start of the box is in the time.
    script = (
        f"{damage}; started=$(date +%s%3N); for _ in $(seq {int(RIGHT_S * 100)}); do "
        f"if {whole} >/dev/null 2>&1; then echo $(($(date +%s%3N) - started)); exit; fi; sleep 0.01; done; exit 1"
    )
    took_ms = int(node.run("sh", "-c", script.replace("LINK", link).replace("ADDRESS", str(pod.address))))
    figure(f"{name} taken away by somebody else: right again after {took_ms} ms")
    target = f"{pod.address}:8080/"
    caller = next(one for one in on_nodes(box) if one.node == node.name)
    assert not ask(box, caller, [target])[target].startswith("!")
    time.sleep(0.5)  # what is undone again in the same moment is answered more slowly


def _is_answered(box: Box, caller: Pod, url: str) -> bool:
    return not ask(box, caller, [url])[url].startswith("!")


def _refused(node: Node) -> int:
    """Packets to the VM agent's server that the node's guard has refused."""
    rules = json.loads(node.run("nft", "-j", "list", "chain", "inet", "azure_cni", "guard"))["nftables"]
    expressions = [rule["rule"]["expr"] for rule in rules if "rule" in rule and WIRESERVER in json.dumps(rule)]
    return sum(part["counter"]["packets"] for rule in expressions for part in rule if "counter" in part)


def _service(box: Box, name: str, node_port: int, address: str, port: int) -> None:
    metadata = {"name": name, "namespace": NAMESPACE}
    ports = [{"protocol": "TCP", "port": port}]
    box.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"type": "NodePort", "ports": [{**ports[0], "nodePort": node_port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        },
    )
