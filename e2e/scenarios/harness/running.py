"""Three pods that run while agents are replaced, killed or away, and the traffic between them that must not notice."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from azurebox.client import Box
from scenarios.harness.node import RUN_DIR, Node
from scenarios.harness.pods import Pod, on_nodes, servers
from scenarios.harness.stream import Flow


@dataclass(frozen=True, slots=True)
class Running:
    """Two pods on the first node and one on the second: five flows of twenty requests a second."""

    pods: tuple[Pod, ...]
    flows: tuple[Flow, ...]

    def on(self, node: Node) -> tuple[Pod, ...]:
        """Those of a node."""
        return tuple(pod for pod in self.pods if pod.node == node.name)


@contextmanager
def running_pods(box: Box, nodes: list[Node]) -> Iterator[Running]:
    """Pod to pod across the nodes both ways and on one node, node to its own pod, and pod to its own node.

    At the end they are the same pods.
    """
    with (
        servers(box, "here", node=nodes[0].name, replicas=2) as one,
        servers(box, "there", node=nodes[1].name, replicas=1) as other,
    ):
        here, beside, there = *one.pods(), *other.pods()
        host = next(host for host in on_nodes(box) if host.node == nodes[0].name)
        pairs = ((here, there), (there, here), (here, beside), (host, here), (here, host))
        flows = tuple(Flow(source, target.address, seen=source.address) for source, target in pairs)
        yield Running((here, beside, there), flows)
        assert {pod.uid for pod in (*one.pods(), *other.pods())} == {pod.uid for pod in (here, beside, there)}


def waiting_records(node: Node) -> list[dict[str, Any]]:
    """The DELs that wait for an agent; the runtime repeats those of sandboxes that ended before."""
    found = f"find {RUN_DIR}/released -name '*.json' -not -path '*/bad/*'"
    lines = node.run("sh", "-c", f"for record in $({found}); do cat $record; echo; done")
    return [json.loads(line) for line in lines.splitlines() if line]
