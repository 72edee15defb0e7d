"""What strangers, pods and tenants can do to a node: it goes on adding pods, and nothing is restarted.

The figures are printed at the end, and every single time is in `scenarios.harness.attacks.FIGURES`. `Comparison` says
when an attack costs too much.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import IMDS, WIRESERVER
from azurebox.facts import AGNHOST
from scenarios.harness.attacks import (
    AGENT_PORT,
    ATTACKER,
    CONTROLLER_PORT,
    LEAST,
    MEMORY_MIB,
    WINDOW_S,
    Comparison,
    Report,
    Target,
    from_pod,
    from_vm,
    peak_mib,
    undelivered,
)
from scenarios.harness.node import BINARY, CONFLIST, RUN_DIR, Node
from scenarios.harness.pods import NAMESPACE, Pod, servers
from scenarios.harness.product import Product

ADDRESSES = 160
"""Held by the node, so that three sandboxes each 75 ms find some though others still cool."""
GROWN_S = 60
LARGE_PODS = 150
LARGE = 800_000
"""Bytes of a large pod; etcd takes 1.5 MiB."""
AT_ONCE = 10
FAILED_S = 120
SECONDS = 16.0
PLACES = 32
"""Connections that agent and controller each take at a time."""


@pytest.fixture(scope="module")
def target(box: Box, product: Product, nodes: list[Node], attack_rounds: int) -> Target:
    """The node of the controller that works, with addresses for what is added and deleted there."""
    leader = product.leader()
    node = next(node for node in nodes if node.name == leader["spec"]["nodeName"])
    node.want(size=ADDRESSES)
    box.wait_for(lambda: node.counts().allocated == ADDRESSES, GROWN_S, f"{ADDRESSES} addresses on {node.name}")
    return Target(box, product, node, rounds=attack_rounds)


@pytest.fixture(scope="module", autouse=True)
def back(target: Target, reset: Callable[[], None]) -> Iterator[None]:
    """The node gives its addresses back in the end."""
    yield
    target.node.want()
    reset()


@pytest.fixture
def harmless(product: Product, compared: Callable[[Comparison], None]) -> Iterator[Callable[[Comparison], None]]:
    """Judges an attack, and notes what was measured. Nothing was restarted when the test ends."""
    before = product.restarts()

    def judge(comparison: Comparison) -> None:
        compared(comparison)
        assert comparison.faults() == []

    yield judge
    assert product.restarts() == before


@pytest.mark.parametrize("kind", ["heads", "idle", "slow", "quick", "garbage"])
def test_a_host_of_the_vnet_attacks_the_metrics_ports(
    box: Box,
    target: Target,
    nodes: list[Node],
    harmless: Callable[[Comparison], None],
    figure: Callable[[str], None],
    kind: str,
) -> None:
    """Of agent and controller at once. Pods start all the while; answers that nobody reads do not pile up."""
    node = target.node
    stranger = next(other for other in nodes if other.name != node.name)
    attack = from_vm(stranger.name, kind, str(node.primary()), AGENT_PORT, CONTROLLER_PORT)
    with servers(box, "meanwhile", node=node.name) as meanwhile:

        def pods(seconds: float) -> list[float]:
            waiting: list[float] = []
            for _ in range(round(seconds / WINDOW_S)):
                meanwhile.settle(2)
                meanwhile.settle(0)
                waiting.append(undelivered(node, AGENT_PORT, CONTROLLER_PORT))
            return waiting

        comparison = target.compare(f"{kind} at the metrics ports", attack, meanwhile=pods)
    figure(f"{comparison.name}: answers that wait in the kernel: {max(comparison.attacked.also):.0f}")
    harmless(comparison)
    assert max(comparison.attacked.also) <= 2 * PLACES


@pytest.fixture(scope="module")
def attacker(box: Box, target: Target) -> Iterator[Pod]:
    """A pod on the node that is attacked."""
    with servers(box, "attacker", node=target.node.name, replicas=1) as workload:
        yield workload.pods()[0]


@pytest.mark.parametrize("at", ["neighbours", "agent", "metadata service", "wireserver"])
def test_a_pod_attacks_its_node(target: Target, attacker: Pod, harmless: Callable[[Comparison], None], at: str) -> None:
    """By ARP for all sorts of addresses, and by connections to what it may reach and to what it may not."""
    attacks = {
        "neighbours": from_pod(attacker, "arp"),
        "agent": from_pod(attacker, "connect", str(target.node.primary()), AGENT_PORT, CONTROLLER_PORT),
        "metadata service": from_pod(attacker, "connect", str(IMDS), "80"),
        "wireserver": from_pod(attacker, "connect", str(WIRESERVER), "80", "32526"),
    }
    comparison = target.compare(f"a pod at its node: {at}", attacks[at])
    harmless(comparison)
    if at == "neighbours":
        table = target.node.run("ip", "neigh", "show")
        of_pods = [line for line in table.splitlines() if "dev acni" in line or "dev azure0" in line]
        assert [line for line in of_pods if "PERMANENT" not in line] == []
    if at in {"metadata service", "wireserver"}:
        assert {report.opened for report in comparison.reports} == {0}


def test_a_tenant_makes_large_pods(box: Box, target: Target, product: Product, figure: Callable[[str], None]) -> None:
    """150 of 800 kB, half of them failed: an agent that starts among them needs little more memory."""
    alone = _peak_of_a_start(product, target.node)
    with _large_pods(box, target.node):
        among = _peak_of_a_start(product, target.node)
        assert product.restarts()[_agent(product, target.node)] == 0
    figure(f"an agent that starts among {LARGE_PODS} pods of {LARGE} bytes: peak {alone:.0f} to {among:.0f} MiB")
    assert among - alone <= MEMORY_MIB


def test_dels_without_an_agent_leave_nothing(
    target: Target, product: Product, nodes: list[Node], figure: Callable[[str], None]
) -> None:
    """Of sandboxes that never were, as many as a node can make in 20 s: no record waits for the agent."""
    with product.away():
        dels = ("python3", "-c", ATTACKER.read_text(), str(SECONDS), "dels", BINARY, CONFLIST)
        report = Report(**json.loads(target.node.run(*dels)))
        records = int(target.node.run("sh", "-c", f"find {RUN_DIR}/released -name '*.json' 2>/dev/null | wc -l"))
    figure(f"DELs without an agent: {report}, {records} records left")
    assert (records, report.answers, report.failures) == (0, report.tries, {})
    assert report.tries >= LEAST
    for node in nodes:
        node.agrees(within_s=30)


def _agent(product: Product, node: Node) -> str:
    return str(product.agent(node)["metadata"]["name"])


def _peak_of_a_start(product: Product, node: Node) -> float:
    """MiB of the agent, from its start until it is ready."""
    product.restart(node)
    product.await_ready()
    return sum(peak_mib(node, pid) for pid in product.processes(node))


@contextmanager
def _large_pods(box: Box, node: Node) -> Iterator[None]:
    """Half of them wait for a volume that there is not, half fail at once; all are gone in the end."""
    try:
        for first in range(0, LARGE_PODS, AT_ONCE):
            pods = [_large_pod(number, node) for number in range(first, first + AT_ONCE)]
            listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
            box.kubectl("create", "--validate=false", "-f", "-", input=listed)
        box.wait_for(lambda: _failed(box) == LARGE_PODS // 2, FAILED_S, "half of the large pods to fail", poll_s=2)
        yield
    finally:
        # Without a list: kubectl would fetch them all first.
        path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dlarge&gracePeriodSeconds=0"
        box.kubectl("delete", "--raw", path)
        box.wait_for(lambda: not _large(box), 60, "the large pods to be gone", poll_s=2)


def _large_pod(number: int, node: Node) -> dict[str, object]:
    fails = {"nodeSelector": {"scenarios/nowhere": "true"}}
    waits = {"volumes": [{"name": "missing", "configMap": {"name": "missing"}}]}
    container: dict[str, object] = {"name": "large", "image": AGNHOST, "imagePullPolicy": "Never"}
    container["env"] = [{"name": "LARGE", "value": "x" * LARGE}]
    if not number % 2:
        container["volumeMounts"] = [{"name": "missing", "mountPath": "/missing"}]
    spec = {"nodeName": node.name, "containers": [container], "automountServiceAccountToken": False}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"large-{number}", "namespace": NAMESPACE, "labels": {"app": "large"}},
        "spec": spec | (fails if number % 2 else waits),
    }


def _large(box: Box) -> list[str]:
    """A line about each large pod; as a table, which holds none of their contents."""
    return box.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app=large", "--no-headers").splitlines()


def _failed(box: Box) -> int:
    return sum("NodeAffinity" in line for line in _large(box))
