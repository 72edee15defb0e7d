"""Services as people use them, in both modes of kube-proxy: who answers, and as whom it sees the caller."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import ONPREM
from scenarios.harness.meeting import Asker, await_answer, await_meetings, await_silence, meet
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, Pod, Workload, on_nodes, servers
from scenarios.harness.services import kube_proxy, service
from scenarios.harness.stream import Flow, unbroken

SERVERS = {"role": "answers"}
ROLLED_WITHIN = "240s"
STRANGE = "10.250.0.0/16"
SLOW_TO_STOP: Mapping[str, Mapping[str, Any]] = {
    "container": {"lifecycle": {"preStop": {"sleep": {"seconds": 15}}}},  # longer than kube-proxy takes to follow
    "pod": {"terminationGracePeriodSeconds": 60},
}


@dataclass(frozen=True, slots=True)
class People:
    """A server and a client on each node, in the nodes' order, and a process in each node's own network."""

    servers: list[Pod]
    clients: list[Pod]
    hosts: list[Pod]


@pytest.fixture(scope="module")
def people(box: Box, nodes: list[Node]) -> Iterator[People]:
    with ExitStack() as stack:
        made = {
            role: [stack.enter_context(_one(box, role, node)) for node in nodes] for role in (SERVERS["role"], "asks")
        }
        hosts = {pod.node: pod for pod in on_nodes(box)}
        yield People(
            servers=[workload.pods()[0] for workload in made[SERVERS["role"]]],
            clients=[workload.pods()[0] for workload in made["asks"]],
            hosts=[hosts[node.name] for node in nodes],
        )


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def mode(request: pytest.FixtureRequest, box: Box, nodes: list[Node]) -> Iterator[str]:
    """kube-proxy of both nodes in this mode."""
    with kube_proxy(box, nodes, mode=request.param):
        yield request.param


@pytest.mark.usefixtures("mode")
def test_a_cluster_ip_leads_to_all_servers_and_they_see_who_calls(box: Box, people: People) -> None:
    """Pods of both nodes as their own addresses, processes of the nodes as the nodes."""
    with service(box, "plain", selector=SERVERS) as plain:
        for caller in (*people.clients, *people.hosts):
            await_meetings(box, caller, plain.target, servers=people.servers, seen={caller.address})


@pytest.mark.usefixtures("mode")
def test_a_node_port_leads_to_the_pods_of_all_nodes(box: Box, people: People, nodes: list[Node]) -> None:
    """With externalTrafficPolicy Cluster the servers see the node that was called, whoever calls it."""
    with service(box, "everywhere", selector=SERVERS, type="NodePort") as everywhere:
        callers: list[Asker] = [ONPREM, *people.clients]
        for node in nodes:
            for caller in callers:
                await_meetings(box, caller, everywhere.on(node), servers=people.servers, seen={node.primary()})


@pytest.mark.usefixtures("mode")
def test_a_node_port_with_policy_local_keeps_the_callers_address(box: Box, people: People, nodes: list[Node]) -> None:
    """Each node leads to its own pods alone, and those see who calls: on-prem, another node, a pod of that node."""
    with service(box, "local", selector=SERVERS, type="NodePort", externalTrafficPolicy="Local") as local:
        for node, server in zip(nodes, people.servers, strict=True):
            others = [host for host in people.hosts if host.node != node.name]
            callers: list[Asker] = [ONPREM, *people.clients, *others]
            for caller in callers:
                await_meetings(box, caller, local.on(node), servers=[server], seen={caller.address})


@pytest.mark.usefixtures("mode")
def test_session_affinity_holds_a_caller_to_one_server(box: Box, people: People) -> None:
    """All connections of a pod meet the same server, which sees the pod."""
    with service(box, "sticky", selector=SERVERS, sessionAffinity="ClientIP") as sticky:
        for caller in people.clients:
            await_answer(box, caller, sticky.target)
            meetings = set(meet(box, caller, sticky.target))
            assert len(meetings) == 1, meetings
            (meeting,) = meetings
            assert meeting.server in {server.name for server in people.servers}
            assert meeting.seen == str(caller.address)


@pytest.mark.parametrize("recognised", ["by interface", "not at all", "by a prefix that they are not in"])
def test_what_depends_on_how_kube_proxy_recognises_pods(
    box: Box, mode: str, people: People, nodes: list[Node], recognised: str
) -> None:
    """The table of docs/install.md, by a pod on a node without a server of its own."""
    first, second = nodes
    client, host, there = people.clients[1], people.hosts[1], people.servers[:1]
    only = {"app": f"{SERVERS['role']}-{first.name}"}
    interface: dict[str, object] = {
        "detectLocalMode": "InterfaceNamePrefix",
        "detectLocal": {"interfaceNamePrefix": _prefix(second, client)},
    }
    ways: dict[str, dict[str, object]] = {
        "by interface": interface,
        "not at all": {},
        "by a prefix that they are not in": {"clusterCIDR": STRANGE},
    }
    with (
        kube_proxy(box, nodes, mode=mode, **ways[recognised]),
        service(box, "local", selector=only, type="NodePort", externalTrafficPolicy="Local") as local,
        service(box, "everywhere", selector=only, type="NodePort") as everywhere,
    ):
        masked = recognised == "by a prefix that they are not in"
        own = second.primary() if masked else client.address
        await_meetings(box, client, local.target, servers=there, seen={own})
        await_meetings(box, host, local.target, servers=there, seen={second.primary()})
        await_meetings(box, client, local.on(first), servers=there, seen={client.address})
        await_meetings(box, ONPREM, local.on(first), servers=there, seen={ONPREM.address})
        for caller in (client, ONPREM):
            await_meetings(box, caller, everywhere.on(second), servers=there, seen={second.primary()})
        await_silence(box, ONPREM, local.on(second))
        if recognised == "by interface":
            await_meetings(box, client, local.on(second), servers=there, seen={client.address})
        else:
            await_silence(box, client, local.on(second))


@pytest.mark.usefixtures("mode")
def test_a_rolling_update_loses_no_request(box: Box, people: People, figure: Callable[[str], None]) -> None:
    """Four servers, each of which waits before it ends, are replaced while pods of both nodes call their Service.

    By TCP and UDP, ten connections a second each, all seen as coming from the pod that makes them.
    """
    with (
        servers(box, "rolled", node="", replicas=4, **SLOW_TO_STOP) as rolled,
        service(box, "rolled", selector={"app": "rolled"}) as target,
    ):
        before = {pod.uid for pod in rolled.pods()}
        for client in people.clients:
            await_meetings(box, client, target.target, servers=rolled.pods(), seen={client.address})
        flows = [Flow(client, target.address, seen=client.address) for client in people.clients]
        with unbroken(box, *flows) as report:
            box.kubectl("rollout", "restart", "-n", NAMESPACE, "deployment/rolled")
            box.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/rolled", f"--timeout={ROLLED_WITHIN}")
            after = {pod.uid for pod in rolled.ready(4)}
        assert not before & after
        figure(f"rolling update of 4 pods with 15 s of preStop: none lost of {', '.join(report)}")


def _one(box: Box, role: str, node: Node) -> AbstractContextManager[Workload]:
    return servers(box, f"{role}-{node.name}", node=node.name, replicas=1, labels={"role": role})


def _prefix(node: Node, pod: Pod) -> str:
    """By which kube-proxy recognises the interface that a pod's packets come in by."""
    device = str(json.loads(node.run("ip", "-json", "route", "show", str(pod.address)))[0]["dev"])
    return "acni" if device.startswith("acni") else device
