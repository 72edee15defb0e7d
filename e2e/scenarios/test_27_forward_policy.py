"""A FORWARD chain whose policy is DROP, as Docker leaves it: pods lose traffic, and the pool says by which command."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.meeting import await_meetings, await_silence
from scenarios.harness.node import Node
from scenarios.harness.pods import PORT, servers

NOTICED_S = 180.0
"""The chains of others are looked at with each pass, once a minute at least."""
COMMAND = ("iptables", "-P", "FORWARD")


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
