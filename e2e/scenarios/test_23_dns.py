"""Cluster DNS: CoreDNS in pods behind a Service, and NodeLocal DNS at a link-local address; both say who asked them."""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest

from azurebox import clusterdns
from azurebox.client import Box
from azurebox.facts import AGNHOST, CLUSTER_DNS
from azurebox.steps import StepError
from scenarios.harness.meeting import await_meetings
from scenarios.harness.node import Node
from scenarios.harness.pods import (
    INSIDE,
    NAMESPACE,
    PORT,
    START_S,
    Pod,
    Workload,
    labelled,
    server_spec,
    servers,
    single,
)
from scenarios.harness.services import service

OUTSIDE = "management.azure.com"
NODE_LOCAL = IPv4Address("169.254.20.10")  # what the add-on NodeLocal DNSCache uses
DOMAIN = f"{NAMESPACE}.svc.cluster.local"
ASKED = re.compile(r"\[INFO\] ([\d.]+):\d+ - \d+ \"(?:A|AAAA) IN (\S+) (udp|tcp) ")
HEALTH = 8181

NODE_LOCAL_COREFILE = f"""\
cluster.local:53 {{
    errors
    log
    bind {NODE_LOCAL}
    ready {NODE_LOCAL}:{HEALTH}
    cache 30
    forward . {CLUSTER_DNS} {{
        force_tcp
    }}
}}
.:53 {{
    errors
    log
    bind {NODE_LOCAL}
    forward . /etc/resolv.conf
}}
"""
# As the add-on sets up a node, but on `lo`, where it has a dummy interface, which not every kernel knows: the address,
# and no tracking of what goes to it and comes back.
SET_UP = f"""\
ip address replace {NODE_LOCAL}/32 dev lo
nft -f - <<END
table ip nodelocaldns
delete table ip nodelocaldns
table ip nodelocaldns {{
  chain in {{ type filter hook prerouting priority raw; ip daddr {NODE_LOCAL} notrack; }}
  chain out {{ type filter hook output priority raw; ip saddr {NODE_LOCAL} notrack; ip daddr {NODE_LOCAL} notrack; }}
}}
END
"""
TAKE_DOWN = f"ip address delete {NODE_LOCAL}/32 dev lo; nft delete table ip nodelocaldns"


@pytest.fixture(scope="module")
def dns(box: Box) -> Iterator[None]:
    """The cluster's DNS, one pod on each node."""
    clusterdns.apply()
    try:
        box.wait_for(lambda: _ready(_core(box), clusterdns.REPLICAS), START_S, "CoreDNS to be ready")
        assert len({pod.node for pod in _core(box)}) == clusterdns.REPLICAS
        yield
    finally:
        clusterdns.withdraw()


@pytest.mark.usefixtures("dns")
def test_pods_resolve_services_pods_and_the_world(box: Box, nodes: list[Node]) -> None:
    """A Service, a headless one, a pod by its host name, an outside name; CoreDNS sees the pod that asks."""
    name = f"web-{secrets.token_hex(3)}"
    spec = {**server_spec(), "hostname": "zero", "subdomain": "named"}
    with (
        servers(box, name, node="", replicas=2, labels={"in": "headless"}) as behind,
        single(box, "zero", spec, node=nodes[0].name) as zero,
        service(box, name, selector={"app": name}) as web,
        service(box, "headless", selector={"in": "headless"}, clusterIP="None"),
        service(box, "named", selector={"app": "zero"}, clusterIP="None"),
        _clients(box, nodes) as clients,
    ):
        expected = {
            name: [web.address],
            f"{name}.{DOMAIN}": [web.address],
            "headless": sorted(pod.address for pod in behind.pods()),
            "zero.named": [zero.address],
        }
        for client in clients:
            for wanted, addresses in expected.items():
                _await_resolved(box, client, wanted, addresses)
            assert _resolve(box, client, [OUTSIDE])[OUTSIDE]
            assert isinstance(_resolve(box, client, ["nobody.example"])["nobody.example"], str)
            await_meetings(box, client, f"{name}.{DOMAIN}:{PORT}", servers=behind.pods(), seen={client.address})
            _resolve(box, client, [f"{name}.{DOMAIN}."], options="use-vc")
        asked = _asked(box, _core(box), f"{name}.{DOMAIN}.")
        assert asked == {(client.address, way) for client in clients for way in ("udp", "tcp")}


@pytest.mark.usefixtures("dns")
def test_node_local_dns_answers_pods_at_its_link_local_address(box: Box, nodes: list[Node]) -> None:
    """It sees the pod that asks, and the cluster's DNS sees the node; nothing of it is a conflict to the agents."""
    name = f"near-{secrets.token_hex(3)}"
    local = {"dnsPolicy": "None", "dnsConfig": {"nameservers": [str(NODE_LOCAL)], "searches": [DOMAIN]}}
    with (
        _node_local(box, nodes) as caches,
        servers(box, name, node="", replicas=1) as behind,
        service(box, name, selector={"app": name}) as web,
        _clients(box, nodes, pod=local) as clients,
    ):
        for client, node in zip(clients, nodes, strict=True):
            _await_resolved(box, client, name, [web.address])
            assert _resolve(box, client, [OUTSIDE])[OUTSIDE]
            await_meetings(box, client, f"{name}:{PORT}", servers=behind.pods(), seen={client.address})
            own = [cache for cache in caches if cache.node == node.name]
            assert _asked(box, own, f"{name}.{DOMAIN}.") == {(client.address, "udp")}
            conflict = node.condition("HostConflict")
            assert conflict["status"] == "False", conflict["message"]
        assert _asked(box, _core(box), f"{name}.{DOMAIN}.") == {(node.primary(), "tcp") for node in nodes}


@contextmanager
def _clients(box: Box, nodes: Sequence[Node], **special: Any) -> Iterator[list[Pod]]:
    """A pod on each node, with the cluster's DNS unless `special` says otherwise."""
    special = {"pod": {"dnsPolicy": "ClusterFirst"}, **special}
    first, second = nodes
    with (
        servers(box, "asks-first", node=first.name, replicas=1, **special) as one,
        servers(box, "asks-second", node=second.name, replicas=1, **special) as other,
    ):
        yield [one.pods()[0], other.pods()[0]]


@contextmanager
def _node_local(box: Box, nodes: Sequence[Node]) -> Iterator[list[Pod]]:
    """NodeLocal DNS on both nodes: CoreDNS in the node's network, bound to the link-local address."""
    metadata = {"name": "node-local", "namespace": NAMESPACE}
    labels = {"app": "node-local"}
    cache = clusterdns.container(health=str(NODE_LOCAL))
    prepare = {
        "name": "prepare",
        "image": AGNHOST,
        "imagePullPolicy": "Never",
        "command": ["sh", "-ec", SET_UP],
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
    }
    pod = {
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "initContainers": [prepare],
        "containers": [cache],
        "volumes": [{"name": "config", "configMap": {"name": "node-local"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    box.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": NODE_LOCAL_COREFILE}},
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
    )
    try:
        yield Workload(box, "node-local").ready(len(nodes))
    finally:
        box.kubectl("delete", "daemonset,configmap", "-n", NAMESPACE, "node-local")
        Workload(box, "node-local").ready(0)
        for node in nodes:
            node.run("sh", "-c", TAKE_DOWN)


def _resolve(box: Box, pod: Pod, names: Sequence[str], *, options: str = "") -> dict[str, list[str] | str]:
    """The addresses of each name as the pod's own resolver finds them; "!" and why, where it finds none."""
    command = ("env", f"RES_OPTIONS={options}", "python3", "-c", INSIDE, "resolve", *names)
    found: dict[str, list[str] | str] = json.loads(box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", *command))
    return found


def _await_resolved(box: Box, pod: Pod, name: str, addresses: Sequence[IPv4Address]) -> None:
    """Wait until the pod finds just these addresses: CoreDNS hears of changes, and forgets what it knew after 5 s."""

    def resolved() -> bool:
        found = _resolve(box, pod, [name])[name]
        if found != sorted(map(str, addresses)):
            raise StepError("not yet", output=f"{pod.name} finds {name} at {found}")
        return True

    box.wait_for(resolved, START_S, f"{pod.name} to find {name}")


def _asked(box: Box, pods: Sequence[Pod], name: str) -> set[tuple[IPv4Address, str]]:
    """Who asked these servers for a name, and how, as their logs have it."""
    found = set()
    for pod in pods:
        space = NAMESPACE if pod.name.startswith("node-local") else clusterdns.NAMESPACE
        for asker, asked, way in ASKED.findall(box.kubectl("logs", "-n", space, pod.name, "-c", "coredns")):
            if asked.lower() == name:
                found.add((IPv4Address(asker), way))
    return found


def _core(box: Box) -> list[Pod]:
    return labelled(box, "k8s-app=kube-dns", namespace=clusterdns.NAMESPACE)


def _ready(pods: Sequence[Pod], count: int) -> bool:
    return len(pods) == count and all(pod.ready for pod in pods)
