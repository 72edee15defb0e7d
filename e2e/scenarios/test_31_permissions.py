"""Each permission of docs/azure-role.json taken away: nothing crashes, pods get the addresses there are, one condition
says what is missing and what that costs.

`tests/contract/test_permissions.py` goes through the actions for what a NIC can refer to, too; the box's NICs refer to
their subnet alone. Whatever other actions the role gets is taken away here as well.
"""

import time
from collections.abc import Iterator
from functools import partial

import pytest

from azurebox.client import Box
from scenarios.harness.cloud import Cloud, documented_actions
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import Workload, servers
from scenarios.harness.product import Product

USAGES = "Microsoft.Network/virtualNetworks/usages/read"
OF_NODES = (
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/locations/operations/read",
)
"""Those that the box's nodes use."""
SAID_S = 45.0
BOUND_S = 180.0
MISSING = "PermissionMissing"


@pytest.fixture
def workload(box: Box, nodes: list[Node]) -> Iterator[Workload]:
    """On the first node."""
    with servers(box, "permitted", node=nodes[0].name) as made:
        yield made


def test_no_permission_no_crash(
    box: Box, product: Product, cloud: Cloud, nodes: list[Node], workload: Workload
) -> None:
    node, began_s, before = nodes[0], time.monotonic(), product.restarts()
    for action in OF_NODES:
        with cloud.without(action):
            if action.endswith("/read"):  # what an agent asks when it starts
                product.restart(node)
            _want_free(node, AT_REST.free + 1)
            workload.settle(1)
            message = _missing(box, node, action)
            assert "until then pods run, and start as long as one of the node's" in message
            ready = node.condition("Ready")
            assert ready["status"] == "True", ready["message"]
        _want_free(node, AT_REST.free + 2)  # what failed is tried at once when the spec changes
        box.wait_for(lambda: node.condition(MISSING)["status"] == "False", SAID_S, f"{MISSING} to end")
        workload.settle(0)
        node.want(size=AT_REST.allocated)
        box.wait_for(lambda: node.counts() == AT_REST, SAID_S, "the pool to be at rest")
    node.want()
    unchanged = {name: count for name, count in product.restarts().items() if name in before}
    assert unchanged == {name: count for name, count in before.items() if name in unchanged}
    assert time.monotonic() - began_s < BOUND_S


def test_a_controller_without_a_permission_grants(
    box: Box, product: Product, cloud: Cloud, nodes: list[Node], workload: Workload
) -> None:
    """The next leader may not ask how full the VNet is."""
    with cloud.without(USAGES):
        leader = product.leader()["metadata"]["name"]
        box.kubectl("delete", "pod", "-n", "kube-system", leader, "--wait=false")
        said = box.wait_for(lambda: _of_quota(box, USAGES), SAID_S, f"the VNetQuota to name {USAGES}")
        assert "until that works addresses are granted as if" in said
        workload.settle(AT_REST.allocated + 1)
        workload.settle(0)
    nodes[0].want(size=AT_REST.allocated)
    box.wait_for(lambda: nodes[0].counts() == AT_REST, SAID_S, "the pool to be at rest")
    nodes[0].want()


def test_permissions_that_nothing_uses_are_not_missed(box: Box, cloud: Cloud, nodes: list[Node]) -> None:
    """The pool grows and shrinks without all that a NIC of the box does not refer to."""
    node = nodes[0]
    unused = [action for action in documented_actions() if action not in {*OF_NODES, USAGES}]
    assert unused
    box.azure("PUT", "/permissions", {"actions": [*OF_NODES, USAGES]})
    for size in (AT_REST.allocated + 1, AT_REST.allocated):
        node.want(size=size)
        box.wait_for(partial(_holds, node, size), SAID_S, f"{size} addresses")
    assert node.condition(MISSING)["status"] == "False"
    node.want()
    cloud.put_right()


def _want_free(node: Node, count: int) -> None:
    """The pool grows to this many free addresses, as if more pods might come."""
    node.want(minFree=count, maxFree=4 * AT_REST.free, batch=1)


def _holds(node: Node, size: int) -> bool:
    return node.counts().allocated == size


def _missing(box: Box, node: Node, action: str) -> str:
    """What the condition says, once it names the action."""

    def said() -> str:
        condition = node.condition(MISSING)
        return condition["message"] if condition["status"] == "True" and action in condition["message"] else ""

    return box.wait_for(said, SAID_S, f"{MISSING} to name {action}")


def _of_quota(box: Box, action: str) -> str:
    (quota,) = box.kubectl_json("get", "vnetquotas")["items"]
    found = (one for one in quota["status"].get("conditions", ()) if one["type"] == MISSING)
    return next((one["message"] for one in found if one["status"] == "True" and action in one["message"]), "")
