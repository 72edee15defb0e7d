"""Where mistakes are seeded: mostly on the first node, which is at rest before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.product import QUICK, Product

LIMIT_S = 90.0
REST_S = 240.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where they are made: mostly on the first node."""

    box: Box
    product: Product
    cloud: Cloud
    nodes: list[Node]

    @property
    def node(self) -> Node:
        """The first one."""
        return self.nodes[0]


def come_to_rest(stage: Stage) -> None:
    """Wait until the first node holds its usual addresses, and leave its spec empty."""
    stage.node.want(size=AT_REST.allocated)
    stage.box.wait_for(lambda: stage.node.counts() == AT_REST, LIMIT_S, "the pool to be at rest")
    stage.node.want()


def await_rest(box: Box, nodes: Sequence[Node]) -> None:
    """Wait until the pools are at rest without help, and all sources agree about them."""

    def resting() -> bool:
        rows = {node.name: node.shown() for node in nodes}
        different = [f"{node.name}: {node.counts()}" for node in nodes if node.counts() != AT_REST]
        granted = str(AT_REST.allocated)  # what a pool that shrank gives back comes after its addresses
        different += [f"{name}: granted {row['GRANTED']}" for name, row in rows.items() if row["GRANTED"] != granted]
        different += [f"{node.name}: tainted" for node in nodes if node.tainted()]
        different += [f"{node.name}: {what}" for node in nodes for what in node.disagreements()]
        if different:
            raise StepError("not at rest", output="\n".join(different))
        return True

    box.wait_for(resting, REST_S, "the pools to be at rest", poll_s=1)


def put_right(stage: Stage) -> list[str]:
    """Bring all pools to rest, whatever somebody has left behind; the services that had ended and were started."""
    ended = stage.box.revive()
    stage.cloud.put_right()
    used = [node for node in stage.nodes if not _shows_rest(node)]
    if used:
        stage.product.use(QUICK)
    for node in used:
        node.want(size=AT_REST.allocated)
    await_rest(stage.box, stage.nodes)
    for node in stage.nodes:
        node.want()
        node.forget_events()
    return ended


def strangers(nodes: Sequence[Node]) -> list[str]:
    """The pods that run on nodes which somebody needs for themselves, in words."""
    return [f"{node.name}: {sorted({slot.pod for slot in node.slots() if slot.pod})}" for node in nodes if node.links()]


def _shows_rest(node: Node) -> bool:
    try:
        return node.counts() == AT_REST
    except StepError:  # the pool does not show all of its counts
        return False
