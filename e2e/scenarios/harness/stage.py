"""Where mistakes are seeded: mostly on the first node, which is at rest before and after."""

from dataclasses import dataclass

from azurebox.client import Box
from scenarios.harness.cloud import Cloud
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.product import Product

LIMIT_S = 90.0


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
