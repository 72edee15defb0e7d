"""Pods as people write them: several containers, probes, host ports, the node's network, StatefulSets, Jobs."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.fabric.topology import ONPREM
from azurebox.facts import AGNHOST
from azurebox.steps import StepError
from scenarios.harness import probed
from scenarios.harness.meeting import Asker, await_meetings, await_silence, meet
from scenarios.harness.node import Node
from scenarios.harness.pods import (
    INSIDE,
    NAMESPACE,
    PORT,
    START_S,
    Pod,
    Workload,
    labelled,
    on_nodes,
    server_spec,
    servers,
    single,
)

HOST_PORT = 30480
ENDS = "while [ ! -e /tmp/end ]; do sleep 1; done; rm /tmp/end; exit 1"
LISTENS = {"tcpSocket": {"port": 9090}, "periodSeconds": 1, "failureThreshold": 180}
PROBED = Path(probed.__file__).read_text()
ALONE = {"automountServiceAccountToken": False, "enableServiceLinks": False, "terminationGracePeriodSeconds": 1}
PORTED = {"ports": [{"containerPort": PORT, "hostPort": HOST_PORT}]}
RUN = {"image": AGNHOST, "imagePullPolicy": "Never"}


@pytest.fixture(scope="module")
def server(box: Box, nodes: list[Node]) -> Iterator[Pod]:
    """A test server on the second node."""
    with servers(box, "far-end", node=nodes[1].name, replicas=1) as made:
        yield made.pods()[0]


@pytest.fixture(scope="module")
def clients(box: Box, nodes: list[Node]) -> Iterator[list[Pod]]:
    """A pod on each node."""
    with (
        servers(box, "near", node=nodes[0].name, replicas=1) as near,
        servers(box, "far", node=nodes[1].name, replicas=1) as far,
    ):
        yield [near.pods()[0], far.pods()[0]]


def test_a_host_port_keeps_the_callers_address(box: Box, clients: list[Pod], nodes: list[Node]) -> None:
    """From on-prem, from another node and its pods, from pods of the node itself; and it ends with its pod."""
    node, other = nodes
    hosts = {pod.node: pod for pod in on_nodes(box)}
    target = f"{node.primary()}:{HOST_PORT}"
    with servers(box, "ported", node=node.name, replicas=1, container=PORTED) as ported:
        (pod,) = ported.pods()
        callers: list[Asker] = [ONPREM, hosts[other.name], *clients]
        for caller in callers:
            await_meetings(box, caller, target, servers=[pod], seen={caller.address})
        for own in (target, f"127.0.0.1:{HOST_PORT}"):
            await_meetings(box, hosts[node.name], own, servers=[pod], seen={node.primary()})
    await_silence(box, ONPREM, target)


def test_the_kubelet_probes_a_pod_from_the_nodes_own_address(box: Box, nodes: list[Node]) -> None:
    """Startup, readiness and liveness by HTTP, which the pod sees; by TCP and by a command, which must succeed."""
    node = nodes[0]
    probes: dict[str, Any] = {
        f"{kind}Probe": {"httpGet": {"path": f"/{kind}", "port": PORT}, "periodSeconds": 1}
        for kind in ("startup", "readiness", "liveness")
    }
    main = {"name": "main", **RUN, "command": ["python3", "-c", PROBED], **probes}
    beside = {
        "name": "beside",
        **RUN,
        "args": ["netexec", "--http-port=9090", "--udp-port=-1"],
        "readinessProbe": {"tcpSocket": {"port": 9090}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
    }
    with single(box, "probed", {**ALONE, "containers": [main, beside]}, node=node.name):

        def all_probed() -> set[str]:
            lines = box.kubectl("logs", "-n", NAMESPACE, "probed", "-c", "main").splitlines()
            missing = {"/startup", "/readiness", "/liveness"} - {line.split()[0] for line in lines}
            if missing:
                raise StepError("not yet", output=f"not probed: {missing}")
            return {line.split()[1] for line in lines}

        assert box.wait_for(all_probed, START_S, "all probes") == {str(node.primary())}


def test_a_pod_in_the_nodes_network_is_the_node(box: Box, server: Pod, nodes: list[Node]) -> None:
    """It takes no address of the pool, has the node's, and servers see the node."""
    node = nodes[0]
    before = node.ledger().assigned  # what pods of the scenario before held may still be cooling
    spec = {**ALONE, "hostNetwork": True, "containers": [{"name": "main", **RUN, "args": ["pause"]}]}
    with single(box, "at-home", spec, node=node.name) as pod:
        assert pod.address == node.primary()
        await_meetings(box, pod, f"{server.address}:{PORT}", servers=[server], seen={node.primary()})
        assert node.ledger().assigned == before


def test_the_containers_of_a_pod_share_its_network_from_the_first_init_container_on(
    box: Box, server: Pod, nodes: list[Node]
) -> None:
    """Init containers, one of which stays, and a container that is started again: one address, and one loopback."""
    call = ["python3", "-c", INSIDE, "meet", "1", f"{server.address}:{PORT}"]
    stays = ["netexec", "--http-port=9090", "--udp-port=-1"]
    spec = {
        **ALONE,
        "initContainers": [
            {"name": "first", **RUN, "command": call},
            # The next one is started once this one listens.
            {"name": "stays", **RUN, "args": stays, "restartPolicy": "Always", "startupProbe": LISTENS},
            {"name": "last", **RUN, "command": ["python3", "-c", INSIDE, "ask", "127.0.0.1:9090/clientip"]},
        ],
        "containers": [
            {"name": "main", **RUN, "command": ["sh", "-c", ENDS]},
            {"name": "beside", **RUN, "args": ["netexec", f"--http-port={PORT}"]},
        ],
    }
    with single(box, "several", spec, node=nodes[0].name) as pod:
        first = json.loads(box.kubectl("logs", "-n", NAMESPACE, pod.name, "-c", "first"))
        assert first == [[server.name, str(pod.address)]]
        last = json.loads(box.kubectl("logs", "-n", NAMESPACE, pod.name, "-c", "last"))
        assert last["127.0.0.1:9090/clientip"].startswith("127.0.0.1:")
        with suppress(StepError):  # the container may end before the command in it is seen to have ended
            box.kubectl("exec", "-n", NAMESPACE, pod.name, "-c", "main", "--", "touch", "/tmp/end")

        def again() -> bool:
            status = box.kubectl_json("get", "pod", "-n", NAMESPACE, pod.name)["status"]
            main = next(one for one in status["containerStatuses"] if one["name"] == "main")
            if not (main["restartCount"] and main["ready"]):
                raise StepError("not yet", output=json.dumps(main))
            return True

        box.wait_for(again, START_S, "the container to be started again")
        (now,) = labelled(box, "app=several")
        assert (now.uid, now.address) == (pod.uid, pod.address)
        await_meetings(box, server, f"{pod.address}:{PORT}", servers=[pod], seen={server.address})
        assert meet(box, pod, f"{server.address}:{PORT}", times=1)[0].seen == str(pod.address)


def test_a_stateful_set_that_is_restarted_keeps_its_names_and_gets_new_addresses(box: Box, clients: list[Pod]) -> None:
    """One pod after the other; each is reached at its new address at once, and no old address is in use again."""
    labels = {"app": "ordered"}
    box.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "ordered", "namespace": NAMESPACE},
            "spec": {
                "serviceName": "ordered",
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": server_spec()},
            },
        }
    )
    ordered = Workload(box, "ordered")
    try:
        before = {pod.name: pod for pod in ordered.ready(3)}
        assert set(before) == {"ordered-0", "ordered-1", "ordered-2"}
        box.kubectl("rollout", "restart", "-n", NAMESPACE, "statefulset/ordered")
        box.kubectl("rollout", "status", "-n", NAMESPACE, "statefulset/ordered", f"--timeout={START_S:.0f}s")
        after = {pod.name: pod for pod in ordered.ready(3)}
        assert set(after) == set(before)
        assert not {pod.uid for pod in before.values()} & {pod.uid for pod in after.values()}
        for pod in after.values():
            for client in clients:
                await_meetings(box, client, f"{pod.address}:{PORT}", servers=[pod], seen={client.address})
        assert len({pod.address for pod in after.values()}) == len(after)
    finally:
        box.kubectl("delete", "statefulset", "-n", NAMESPACE, "ordered", "--wait=false")
        ordered.ready(0)


def test_jobs_come_and_go_and_what_has_finished_holds_no_address(
    box: Box, server: Pod, clients: list[Pod], nodes: list[Node]
) -> None:
    """Twelve pods on each node, four at a time: the server saw each at its own address, and all are given back."""
    held = {node.name: sum(pod.node == node.name for pod in (server, *clients)) for node in nodes}
    call = ["python3", "-c", INSIDE, "meet", "1", f"{server.address}:{PORT}"]
    try:
        for node in nodes:
            template = {
                **ALONE,
                "restartPolicy": "Never",
                "nodeSelector": {"kubernetes.io/hostname": node.name},
                "dnsPolicy": "Default",
                "containers": [{"name": "main", **RUN, "command": call}],
            }
            box.apply(
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "metadata": {"name": f"job-{node.name}", "namespace": NAMESPACE},
                    "spec": {
                        "completions": 12,
                        "parallelism": 4,
                        "backoffLimit": 0,
                        "template": {"metadata": {"labels": {"app": "job"}}, "spec": template},
                    },
                }
            )
        for node in nodes:
            name = f"job/job-{node.name}"
            box.kubectl("wait", "-n", NAMESPACE, "--for=condition=Complete", name, f"--timeout={START_S:.0f}s")
        pods = labelled(box, "app=job")
        assert len(pods) == 24
        said = {pod.name: json.loads(box.kubectl("logs", "-n", NAMESPACE, pod.name))[0] for pod in pods}
        assert said == {pod.name: [server.name, str(pod.address)] for pod in pods}
        for node in nodes:
            node.agrees(assigned=held[node.name])
    finally:
        jobs = [f"job-{node.name}" for node in nodes]
        box.kubectl("delete", "jobs", "-n", NAMESPACE, *jobs, "--ignore-not-found")
