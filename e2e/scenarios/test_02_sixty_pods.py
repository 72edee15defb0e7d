"""Thirty pods on each of two VMs: who has which address, who reaches whom and is seen as whom, what it costs."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import IMDS, INTERNET_HOST, ONPREM, PEER, PUBLIC_ADDRESSES, WIRESERVER
from azurebox.facts import CLOUD_DNS
from azurebox.machine import NETNS
from azurebox.steps import capture
from scenarios.harness.cloud import Cloud
from scenarios.harness.dashboard import queries
from scenarios.harness.meeting import await_answer
from scenarios.harness.node import Node
from scenarios.harness.pods import INSIDE, NAMESPACE, PORT, Pod, Workload, ask, on_nodes, servers
from scenarios.harness.product import Product
from scenarios.harness.scrapes import await_data, await_query

PER_NODE = 30
AT_ONCE = 4
METRICS_PORT = 9810
CONTROLLER_METRICS_PORT = 9811
MEMORY_LIMIT_MIB = 112
MEMORY_AIM_MIB = {"agent": 96, "controller": 64}
"""By who writes the NICs: without Azure's SDK an agent needs less."""
OF_INSTANCES = "azure_cni_instance_"
"""What there is where a node is an instance of a scale set, as in test_49."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """The workloads by node, and their pods."""

    workloads: dict[str, Workload]
    pods: list[Pod]
    hosts: list[Pod]
    """A test server in each node's own network."""
    mark: int
    """When the first of them was asked for."""
    service: str
    """The address of a Service with all pods behind it."""

    def on(self, node: Node) -> list[Pod]:
        return [pod for pod in self.pods if pod.node == node.name]


@pytest.fixture(scope="module")
def crowd(box: Box, cloud: Cloud, nodes: list[Node]) -> Iterator[Crowd]:
    with ExitStack() as stack:
        workloads = {
            node.name: stack.enter_context(servers(box, f"crowd-{node.name}", node=node.name)) for node in nodes
        }
        service = stack.enter_context(_service(box))
        mark = cloud.mark()
        for workload in workloads.values():
            workload.scale(PER_NODE)
        pods = [pod for workload in workloads.values() for pod in workload.ready(PER_NODE)]
        for host in on_nodes(box):
            await_answer(box, host, f"{service}:80")  # else kube-proxy may not know of it yet
        yield Crowd(workloads, pods, on_nodes(box), mark, service)


def test_each_address_is_on_the_nic_of_its_vm(crowd: Crowd, nodes: list[Node]) -> None:
    """Sixty pods have sixty addresses, each one on the NIC of the VM that the pod runs on, as Azure shows it."""
    assert len({pod.address for pod in crowd.pods}) == 2 * PER_NODE
    for node in nodes:
        assert {pod.address for pod in crowd.on(node)} <= node.on_nic()
        assert all(
            entry["properties"]["provisioningState"] == "Succeeded"
            for entry in node.nic()["properties"]["ipConfigurations"]
        )


def test_what_kubectl_shows_is_what_is(crowd: Crowd, nodes: list[Node]) -> None:
    """`kubectl get nodeippools` shows the numbers of NIC, ledger and kernel; each pod holds its own."""
    for node in nodes:
        node.agrees(assigned=PER_NODE)
        held = {slot.pod: slot.address for slot in node.slots() if slot.pod}
        assert held == {f"{NAMESPACE}/{pod.name}": pod.address for pod in crowd.on(node)}


def test_every_pod_reaches_every_other_and_the_nodes(box: Box, crowd: Crowd) -> None:
    """All pairs, each connection seen as coming from the pod's own address, on both nodes and between them."""
    everybody = [f"{pod.address}:{PORT}/clientip" for pod in [*crowd.pods, *crowd.hosts]]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as callers:
        answers = callers.map(lambda pod: ask(box, pod, everybody), crowd.pods)
    wrong = [
        f"{pod.name} ({pod.address}) to {target}: {said}"
        for pod, said_by in zip(crowd.pods, answers, strict=True)
        for target, said in said_by.items()
        if said.rpartition(":")[0] != str(pod.address)
    ]
    assert wrong == [], f"{len(wrong)} of {len(crowd.pods) * len(everybody)} connections"


def test_the_nodes_reach_every_pod(box: Box, crowd: Crowd) -> None:
    """A process in a node's own network reaches all pods, its own and the others', and is seen as the node."""
    everybody = [f"{pod.address}:{PORT}/clientip" for pod in crowd.pods]
    for host in crowd.hosts:
        said = ask(box, host, everybody)
        assert {answer.rpartition(":")[0] for answer in said.values()} == {str(host.address)}, said


def test_a_service_reaches_its_pods(box: Box, crowd: Crowd, nodes: list[Node]) -> None:
    """The address of a Service works from pods and nodes; the server sees the pod that asks, also on another node.

    A pod that is sent to itself is seen as its node: that is kube-proxy's rule on every cluster.
    """
    requests = [f"{crowd.service}:80/clientip?{number}" for number in range(20)]
    for caller in [*(crowd.on(node)[0] for node in nodes), *crowd.hosts]:
        node = next(node for node in nodes if node.name == caller.node)
        answers = ask(box, caller, requests).values()
        seen = {answer.rpartition(":")[0] for answer in answers}
        assert str(caller.address) in seen, answers
        assert seen <= {str(caller.address), str(node.primary())}, answers


def test_whom_hosts_beyond_the_vnet_see(box: Box, crowd: Crowd, nodes: list[Node]) -> None:
    """On-prem and the peered VNet see the pod; the internet sees the same public address as of the node itself."""
    for node in nodes:
        pod = crowd.on(node)[0]
        host = next(host for host in crowd.hosts if host.node == node.name)
        assert _seen_by(box, pod, ONPREM.address) == str(pod.address)
        assert _seen_by(box, pod, PEER.address) == str(pod.address)
        public = _seen_by(box, host, INTERNET_HOST.address)
        assert IPv4Address(public) in PUBLIC_ADDRESSES
        assert _seen_by(box, pod, INTERNET_HOST.address) == public


def test_hosts_beyond_the_vnet_reach_pods(crowd: Crowd, nodes: list[Node]) -> None:
    """On-prem and the peered VNet call a pod by its own address, with nothing between."""
    for place in (ONPREM, PEER):
        for node in nodes:
            target = f"{crowd.on(node)[0].address}:{PORT}/clientip"
            namespace = f"--net={NETNS / f'azbox-{place.name}'}"
            said = capture(["nsenter", namespace, "--", "python3", "-c", INSIDE, "ask", target], what=f"ask {target}")
            assert json.loads(said)[target].rpartition(":")[0] == str(place.address)


def test_pods_do_not_reach_the_platform_but_its_dns(box: Box, crowd: Crowd, nodes: list[Node]) -> None:
    """The metadata service and the wireserver refuse a pod at once; names are resolved by the same wireserver."""
    forbidden = [f"{IMDS}:80/metadata/instance", f"{WIRESERVER}:80/", f"{WIRESERVER}:32526/"]
    for node in nodes:
        pod = crowd.on(node)[0]
        said = ask(box, pod, forbidden)
        assert all(answer.startswith("!") and "timed out" not in answer for answer in said.values()), said
        assert str(CLOUD_DNS) in box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "cat", "/etc/resolv.conf")
        assert box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", "getent", "ahostsv4", "management.azure.com")
        # What is refused to the pod works for the node: the guard is the pods', not the platform's silence.
        host = next(host for host in crowd.hosts if host.node == node.name)
        assert "400" in ask(box, host, forbidden[:1])[forbidden[0]]


@pytest.mark.usefixtures("crowd")
def test_prometheus_has_the_pools_of_both_nodes(box: Box, nodes: list[Node]) -> None:
    """Prometheus finds both agents by the annotations of their pods, and its numbers are those of the ledger."""
    for node in nodes:
        for state, count in (("assigned", PER_NODE), ("free", node.ledger().free)):
            query = f'azure_cni_pool_addresses{{node="{node.name}",state="{state}"}}'
            await_query(box, query, count)
    await_query(box, "count(azure_cni_pool_ready == 1)", len(nodes))
    held = sum(node.ledger().allocated for node in nodes)
    await_query(box, "sum(azure_cni_controller_leader)", 1)
    await_query(box, 'azure_cni_quota_addresses{what="granted"}', held)


def test_each_panel_of_the_dashboard_has_data(box: Box, crowd: Crowd) -> None:  # noqa: ARG001  # pods came just now
    """Those of what is wrong are empty where nothing is; the others never are while pods come and go."""
    panels = [panel for row in ("Alive", "Doing") for panel in queries(row, window="1h")]
    counted = [(title, query) for title, query in panels if OF_INSTANCES not in query]
    asked = {f"{number}: {title}": query for number, (title, query) in enumerate(counted)}
    assert len(asked) > 15
    await_data(box, asked)


def test_metrics_are_as_prometheus_wants_them(box: Box, crowd: Crowd, nodes: list[Node]) -> None:
    """`promtool check metrics` has no complaint, and no series is there for a pod or an address."""
    for node in nodes:
        host = next(host for host in crowd.hosts if host.node == node.name)
        for port in (CONTROLLER_METRICS_PORT, METRICS_PORT):
            target = f"{host.address}:{port}/metrics"
            metrics = ask(box, host, [target])[target] + "\n"
            checked = node.ask(["promtool", "check", "metrics"], stdin=metrics)
            assert (checked.status, checked.output, checked.error) == (0, "", "")
            series = [line for line in metrics.splitlines() if line.startswith("azure_cni_")]
            assert series, f"port {port} has nothing of azure-cni"
            assert not [line for line in series for pod in crowd.pods if pod.name in line or f'"{pod.address}"' in line]
            assert len([line for line in series if line.startswith(("azure_cni_pool_", "azure_cni_quota_"))]) < PER_NODE


def test_a_burst_costs_few_writes(crowd: Crowd, cloud: Cloud, nodes: list[Node], figure: Callable[[str], None]) -> None:
    """Thirty pods at once, as they are seen, cost one or two writes of the NIC, each by whole batches of 16."""
    for node in nodes:
        writes = [
            (write.before - 1, write.after - 1) for write in cloud.writes(crowd.mark) if write.nic == node.nic_name
        ]
        figure(f"writes of the NIC of {node.name} for {PER_NODE} pods at once: {writes} (addresses before, after)")
        assert [after for _, after in writes] in ([48], [32, 48])


def test_the_agents_memory_with_sixty_pods(
    crowd: Crowd, product: Product, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """Sixty pods on one node, and the agent's resident memory stays within what the chart requests."""
    node = nodes[0]
    crowd.workloads[node.name].settle(2 * PER_NODE)
    used = sum(_resident_mib(node, pid) for pid in product.processes(node))
    aim = MEMORY_AIM_MIB[product.nic_writer]
    figure(f"memory of the agent of {node.name} with {2 * PER_NODE} pods: {used:.0f} MiB (aim {aim})")
    assert used <= MEMORY_LIMIT_MIB


def test_scale_to_zero_leaves_nothing(crowd: Crowd, nodes: list[Node], rest: Callable[[], None]) -> None:
    """When the pods are gone, so are links, routes and rows; the pools are again as they were at the start."""
    for workload in crowd.workloads.values():
        workload.scale(0)
    for workload in crowd.workloads.values():
        workload.ready(0)
    for node in nodes:
        node.agrees(assigned=0)
        assert (node.links(), node.routes()) == (set(), set())
    rest()
    for node in nodes:
        assert {slot.state for slot in node.slots()} == {"free"}


@contextmanager
def _service(box: Box) -> Iterator[str]:
    ports = [{"port": 80, "targetPort": PORT}]
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "crowd", "namespace": NAMESPACE},
        "spec": {"selector": {"kind": "server"}, "ports": ports},
    }
    box.apply(document)
    try:
        yield str(box.kubectl_json("get", "service", "-n", NAMESPACE, "crowd")["spec"]["clusterIP"])
    finally:
        box.kubectl("delete", "service", "-n", NAMESPACE, "crowd")


def _seen_by(box: Box, pod: Pod, host: IPv4Address) -> str:
    target = f"{host}:80/whoami"
    said = ask(box, pod, [target])[target]
    assert not said.startswith("!"), f"{pod.name} to {host}: {said}"
    return str(json.loads(said)["caller"])


def _resident_mib(node: Node, pid: int) -> float:
    status = node.run("cat", f"/proc/{pid}/status")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
