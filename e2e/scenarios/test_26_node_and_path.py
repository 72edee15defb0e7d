"""Nodes set up in other ways, paths with larger packets, and addresses that others brought: pods talk all the same."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from azurebox.client import Box
from azurebox.fabric.topology import INTERNET_HOST, MTU, ONPREM, device_name
from azurebox.facts import FABRIC_NETNS, PREFIX
from azurebox.steps import capture
from scenarios.harness.cloud import Cloud
from scenarios.harness.meeting import Asker, ask_from, await_meetings
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import NAMESPACE, PORT, Pod, on_nodes, servers
from scenarios.harness.product import Product
from scenarios.harness.services import service

JUMBO = 3900  # what Azure's documentation has as the largest MTU of most VMs within a VNet
IP_AND_ICMP = 28
NOTICED_S = 2.0
"""Until agents know of a changed link: the kernel notifies them at once."""
READ_S = 60.0
LONG = "x" * 20_000


def test_strict_reverse_path_filtering_is_in_nobodys_way(box: Box, nodes: list[Node]) -> None:
    """Pods of both nodes, processes of the nodes, Services and on-prem reach one another, seen as themselves."""
    with _sysctl(nodes, "net.ipv4.conf.all.rp_filter", 1), _a_pod_on_each(box, nodes, "strict") as pods:
        hosts = {pod.node: pod for pod in on_nodes(box)}
        with service(box, "strict", selector={"role": "strict"}, type="NodePort", externalTrafficPolicy="Local") as one:
            for pod, node in zip(pods, nodes, strict=True):
                (other,) = (peer for peer in pods if peer != pod)
                callers: list[Asker] = [other, *hosts.values(), ONPREM]
                for caller in callers:
                    await_meetings(box, caller, f"{pod.address}:{PORT}", servers=[pod], seen={caller.address})
                for caller in (other, ONPREM):
                    await_meetings(box, caller, one.on(node), servers=[pod], seen={caller.address})


def test_pods_use_a_larger_mtu_of_the_nic_and_old_pods_go_on(box: Box, product: Product, nodes: list[Node]) -> None:
    """New pods send packets of that size to one another; they and pods of before exchange more than fits one packet.

    In mode bridge they do not while pods of before are on the node: a bridge takes no more than its smallest port.
    """
    with (
        _a_pod_on_each(box, nodes, "before") as before,
        _mtu(nodes, JUMBO),
        _a_pod_on_each(box, nodes, "after") as after,
    ):
        for pod, other in (after, after[::-1]):
            size = str((MTU if product.mode == "bridge" else JUMBO) - IP_AND_ICMP)
            ping = ("ping", "-M", "do", "-c", "1", "-W", "2", "-s", size, str(other.address))
            assert "1 received" in box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", *ping)
            await_meetings(box, pod, f"{other.address}:{PORT}", servers=[other], seen={pod.address})
        pairs = [(old, new) for old in before for new in after]
        for one, other in (*pairs, *((new, old) for old, new in pairs)):
            echo = ask_from(box, one, f"{other.address}:{PORT}/echo?msg={LONG}")
            assert echo == LONG, f"{one.name} to {other.name}: {echo[:80]}"


def test_addresses_that_others_brought_are_pods_like_any_other(box: Box, nodes: list[Node]) -> None:
    """Another tool adds two; all addresses of the NIC are in use then, theirs too, and each pod is seen as its own."""
    node, other = nodes
    brought: set[str] = set()
    try:
        node.want(paused=True)
        brought |= set(box.azure("POST", f"/nics/{node.nic_name}/appear", {"count": 2})["addresses"])
        _read_nic(box, node)
        box.wait_for(lambda: node.counts().free == AT_REST.free + 2, READ_S, "the agent to have them")
        with (
            servers(box, "guests", node=node.name, replicas=AT_REST.free + 2) as guests,
            servers(box, "hosts", node=other.name, replicas=1) as far,
        ):
            (server,) = far.pods()
            placed = [pod for pod in guests.pods() if str(pod.address) in brought]
            assert {str(pod.address) for pod in placed} == brought
            for pod in placed:
                await_meetings(box, pod, f"{server.address}:{PORT}", servers=[server], seen={pod.address})
                await_meetings(box, server, f"{pod.address}:{PORT}", servers=[pod], seen={server.address})
        assert brought <= {str(address) for address in node.on_nic()}
    finally:
        try:
            box.azure("POST", f"/nics/{node.nic_name}/vanish", {"addresses": sorted(brought)})
            _read_nic(box, node)
        finally:
            node.want()


def test_a_node_port_leads_from_the_internet_to_a_pod_of_another_node(
    box: Box, cloud: Cloud, nodes: list[Node]
) -> None:
    """The server sees the node that was called; with policy Local, on the node itself, the caller's own address."""
    node, other = nodes
    with (
        _a_pod_on_each(box, nodes, "public") as (near, far),
        cloud.public_address(node.primary(), nic=node.nic_name, ports="30000-32767") as public,
        service(box, "far", selector={"app": f"public-{other.name}"}, type="NodePort") as there,
        service(box, "near", selector={"app": f"public-{node.name}"}, type="NodePort",
                externalTrafficPolicy="Local") as here,
    ):  # fmt: skip
        target = f"{public}:{there.node_port}"
        await_meetings(box, INTERNET_HOST, target, servers=[far], seen={node.primary()})
        target = f"{public}:{here.node_port}"
        await_meetings(box, INTERNET_HOST, target, servers=[near], seen={INTERNET_HOST.address})


def _read_nic(box: Box, node: Node) -> None:
    """Have the agent read its NIC now, and wait until it has."""
    asked = node.read_now()

    def answered() -> bool:
        return bool(node.pool()["status"].get("lastRead", {}).get("request") == asked)

    box.wait_for(answered, READ_S, "the agent to read its NIC")


@contextmanager
def _a_pod_on_each(box: Box, nodes: Sequence[Node], role: str) -> Iterator[list[Pod]]:
    with ExitStack() as stack:
        made = [
            stack.enter_context(servers(box, f"{role}-{node.name}", node=node.name, replicas=1, labels={"role": role}))
            for node in nodes
        ]
        yield [workload.pods()[0] for workload in made]


@contextmanager
def _sysctl(nodes: Sequence[Node], name: str, value: int) -> Iterator[None]:
    """A switch of these nodes, and afterwards as it was."""
    before = {node.name: node.run("sysctl", "-n", name).strip() for node in nodes}
    try:
        for node in nodes:
            node.run("sysctl", "-qw", f"{name}={value}")
        yield
    finally:
        for node in nodes:
            node.run("sysctl", "-qw", f"{name}={before[node.name]}")


@contextmanager
def _mtu(nodes: Sequence[Node], mtu: int) -> Iterator[None]:
    """The NICs and the fabric's ends of their cables carry packets of this size; afterwards of the usual one."""
    try:
        _set_mtu(nodes, mtu)
        time.sleep(NOTICED_S)
        yield
    finally:
        _set_mtu(nodes, MTU)
        time.sleep(NOTICED_S)


def _set_mtu(nodes: Sequence[Node], mtu: int) -> None:
    for node in nodes:
        port = device_name(node.name.removeprefix(PREFIX))
        set_port = ["ip", "-n", FABRIC_NETNS, "link", "set", port, "mtu", str(mtu)]
        capture(set_port, what=f"set the MTU of {port}")
        node.run("ip", "link", "set", "eth0", "mtu", str(mtu))
