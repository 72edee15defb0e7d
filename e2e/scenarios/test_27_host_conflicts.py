"""What others do to a host, and pods lose traffic by: the condition HostConflict says whose it is, and what ends it.

A FORWARD chain whose policy is DROP, as Docker leaves it; a table of connections that is full.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from azurebox.client import Box
from azurebox.fabric.topology import ONPREM
from azurebox.steps import StepError
from scenarios.harness.meeting import await_meetings, await_silence
from scenarios.harness.node import Node
from scenarios.harness.pods import PORT, servers
from scenarios.harness.product import Product
from scenarios.harness.scrapes import await_data

NOTICED_S = 180.0
"""The chains of others are looked at with each pass, once a minute at least."""
COMMAND = ("iptables", "-P", "FORWARD")
FILLED = "203.0.113.200"
"""Whom the connections that fill a table lead to: an address for documentation, which nothing else uses."""
PORTS = 60_000


def test_dropped_traffic_is_noticed_and_comes_back_by_the_command_of_the_condition(box: Box, nodes: list[Node]) -> None:
    """Pods on other nodes are out of reach, this node's pods stay ready, and the conflict ends with the policy."""
    node, other = nodes
    with (
        servers(box, "cut-off", node=node.name, replicas=1) as here,
        servers(box, "elsewhere", node=other.name, replicas=1) as there,
    ):
        (pod,), (peer,) = here.pods(), there.pods()
        target = f"{peer.address}:{PORT}"
        await_meetings(box, pod, target, servers=[peer], seen={pod.address})
        with _policy(node, "DROP"):
            await_silence(box, pod, target)
            message = _conflict(box, node, status="True", reason="ForeignFilter")
            assert "chain ip filter FORWARD (policy drop) drops" in message
            assert " ".join((*COMMAND, "ACCEPT")) in message
            ready = node.condition("Ready")
            assert ready["status"] == "True", ready["message"]
            assert here.ready(1) == [pod]
            node.run(*COMMAND, "ACCEPT")
            await_meetings(box, pod, target, servers=[peer], seen={pod.address})
            _conflict(box, node, status="False", reason="NoConflict")


def test_a_full_table_of_connections_is_noticed_and_counted(box: Box, product: Product, nodes: list[Node]) -> None:
    """New connections are lost while ones that exist hold every place; the node and its pod stay as they are.

    Not the command of the message: the size is the whole machine's, and a VM of the box is a network namespace of it.
    """
    node, _ = nodes
    with servers(box, "crowded", node=node.name, replicas=1) as here:
        (pod,) = here.pods()
        target = f"{pod.address}:{PORT}"
        await_meetings(box, ONPREM, target, servers=[pod], seen={ONPREM.address})
        limit = int(node.run("sysctl", "-n", "net.netfilter.nf_conntrack_max"))
        with _full_table(node, limit):
            await_silence(box, ONPREM, target)
            message = _conflict(box, node, status="True", reason="ConntrackFull")
            assert f"it holds {limit} (nf_conntrack_max)" in message
            assert f"sysctl -w net.netfilter.nf_conntrack_max={2 * limit}" in message
            assert node.condition("Ready")["status"] == "True"
        await_meetings(box, ONPREM, target, servers=[pod], seen={ONPREM.address})
        assert here.ready(1) == [pod]
        await_data(box, {"drops": f'azure_cni_conntrack_dropped_packets_total{{node="{node.name}"}} > 0'})
    product.restart(node)  # which knows of no drop: the conflict outlives the last one by five minutes
    _conflict(box, node, status="False", reason="NoConflict")


@contextmanager
def _full_table(node: Node, limit: int) -> Iterator[None]:
    """Connections in every place of the node's table, which the kernel does not drop for a new one; afterwards none."""
    try:
        filled = node.ask(["conntrack", "--load-file", "-"], stdin="\n".join(map(_connection, range(limit))))
        assert "not enough memory" in filled.error, filled  # as the kernel says that the table is full
        yield
    finally:
        node.run("conntrack", "-D", "-p", "tcp", "-d", FILLED)


def _connection(number: int) -> str:
    """A TCP connection in the words of conntrack's `-o save`, established, with packets seen both ways."""
    peer, port = f"203.0.113.{1 + number // PORTS}", 1 + number % PORTS
    asked = f"-s {peer} -d {FILLED} --sport {port} --dport 9"
    answered = f"-r {FILLED} -q {peer} --reply-port-src 9 --reply-port-dst {port}"
    return f"-A -p tcp {asked} {answered} -t 900 -u SEEN_REPLY,ASSURED --state ESTABLISHED"


@contextmanager
def _policy(node: Node, policy: str) -> Iterator[None]:
    """The policy of what the node forwards; afterwards as it was."""
    before = node.run("iptables", "-S", "FORWARD").split()[2]  # -P FORWARD ACCEPT
    try:
        node.run(*COMMAND, policy)
        yield
    finally:
        node.run(*COMMAND, before)


def _conflict(box: Box, node: Node, *, status: str, reason: str) -> str:
    """Wait until the pool's HostConflict is so; its message."""

    def found() -> str:
        condition = node.condition("HostConflict")
        if (condition["status"], condition["reason"]) != (status, reason):
            raise StepError("not yet", output=json.dumps(condition))
        return condition["message"]

    return box.wait_for(found, NOTICED_S, f"HostConflict of {node.name} to be {status} because of {reason}")
