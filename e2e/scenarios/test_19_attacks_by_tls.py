"""The metrics port with TLS: what strangers make it compute keeps no pod waiting."""

from collections.abc import Callable, Iterator

import pytest

from azurebox.client import Box
from scenarios.harness.attacks import AGENT_PORT, CONTROLLER_PORT, Comparison, Target, from_vm
from scenarios.harness.node import Node
from scenarios.harness.product import QUICK, Product

VALUES = {**QUICK, "metrics.tls.enabled": True}
ADDRESSES = 160
GROWN_S = 60


@pytest.fixture(scope="module")
def target(
    box: Box, product: Product, nodes: list[Node], reset: Callable[[], None], attack_rounds: int
) -> Iterator[Target]:
    """The node of the controller that works, with addresses for what is added and deleted there."""
    leader = product.leader()
    node = next(node for node in nodes if node.name == leader["spec"]["nodeName"])
    node.want(size=ADDRESSES)
    box.wait_for(lambda: node.counts().allocated == ADDRESSES, GROWN_S, f"{ADDRESSES} addresses on {node.name}")
    yield Target(box, product, node, rounds=attack_rounds)
    node.want()
    reset()


@pytest.mark.parametrize("kind", ["unfinished", "handshakes", "records"])
def test_a_host_of_the_vnet_has_the_metrics_ports_compute(
    target: Target, product: Product, nodes: list[Node], compared: Callable[[Comparison], None], kind: str
) -> None:
    """Of agent and controller at once, by handshakes and by what follows them."""
    stranger = next(other for other in nodes if other.name != target.node.name)
    attack = from_vm(stranger.name, kind, str(target.node.primary()), AGENT_PORT, CONTROLLER_PORT)
    restarts = product.restarts()
    comparison = target.compare(f"{kind} at the metrics ports by TLS", attack)
    compared(comparison)
    assert comparison.faults() == []
    assert product.restarts() == restarts
