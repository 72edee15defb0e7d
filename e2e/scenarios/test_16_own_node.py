"""What the API server refuses an agent: whatever is not of its own node, in pools, in Nodes and in events.

A role cannot say it, for all agents share one; policies do, and know by an agent's token which node is its own.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from azurebox.client import Box
from scenarios.harness.caller import OBJECTS, Caller, Reply
from scenarios.harness.node import Node
from scenarios.harness.product import NAMESPACE, Product

EVENTS = "/api/v1/namespaces/default/events"
OURS = {"key": "azure-cni.io/no-free-addresses", "effect": "NoSchedule"}
FOREIGN = {"key": "example.com/foreign", "effect": "NoSchedule"}


# The pool.


def test_an_agent_writes_its_own_pool_and_no_other(agent: Caller, nodes: list[Node]) -> None:
    """The token says which node is its own."""
    own, other = nodes
    waiting = own.pool()["status"].get("waiting", 0)
    agent.status(f"nodeippools/{own.name}", {"waiting": waiting}).accepted()
    refusal = f"the agent of node {own.name} writes only what is of its own node, not of {other.name}"
    agent.status(f"nodeippools/{other.name}", {"requested": 250}).refused(403, refusal)
    pool = {"apiVersion": "azure-cni.io/v1alpha1", "kind": "NodeIPPool", "metadata": {"name": "imagined"}}
    agent.create(f"{OBJECTS}/nodeippools", pool).refused(403, f"the agent of node {own.name}", "not of imagined")


@pytest.mark.parametrize("field", ["nicID", "subnetID", "vnetID"])
def test_an_id_that_is_none_of_azure_is_refused(agent: Caller, nodes: list[Node], field: str) -> None:
    """The ledger is kept by them, for all nodes."""
    agent.status(f"nodeippools/{nodes[0].name}", {field: "x"}).refused(422, f"status.{field}", "should match")


def test_a_token_of_the_agents_account_without_a_node_writes_nothing(
    box: Box, product: Product, nodes: list[Node], event: Callable[..., dict[str, Any]]
) -> None:
    """Made by hand or stolen from elsewhere, it is of no use."""
    token = box.kubectl("create", "token", "-n", NAMESPACE, "azure-cni-agent").strip()
    stranger = Caller(box, product.agent(nodes[0])["metadata"]["name"], token)
    words = ("the agent's token names no node", "use the token that the kubelet mounts")
    stranger.status(f"nodeippools/{nodes[0].name}", {"waiting": 0}).refused(403, *words)
    stranger.patch(f"/api/v1/nodes/{nodes[0].name}", {"spec": {"taints": [OURS]}}).refused(403, *words)
    stranger.create(EVENTS, event("azure-cni", nodes[0].name)).refused(403, *words)


@pytest.fixture
def foreign_taint(box: Box, nodes: list[Node]) -> Iterator[None]:
    """The first node has a taint of somebody else's; none of the two is left afterwards."""
    box.kubectl("taint", "node", nodes[0].name, f"{FOREIGN['key']}:{FOREIGN['effect']}")
    yield
    for key in (FOREIGN["key"], OURS["key"]):
        if key in box.kubectl("get", "node", nodes[0].name, "-o", "jsonpath={.spec.taints}"):
            box.kubectl("taint", "node", nodes[0].name, f"{key}-")


@pytest.mark.usefixtures("foreign_taint")
def test_an_agent_sets_and_removes_its_own_taint_and_no_other(agent: Caller, nodes: list[Node]) -> None:
    """On its own Node, with all other taints as they are."""
    own, other = (f"/api/v1/nodes/{node.name}" for node in nodes)

    def taints(patch: Callable[[list[Any]], Sequence[Any]]) -> Reply:
        return agent.patch(own, {"spec": {"taints": patch(agent.get(own)["spec"]["taints"])}})

    written = taints(lambda before: [*before, OURS]).accepted()
    assert OURS in written["spec"]["taints"]
    refusal = f"an agent sets and removes the taint {OURS['key']}:{OURS['effect']} of its node, and no other"
    taints(lambda before: [taint for taint in before if taint["key"] != FOREIGN["key"]]).refused(403, refusal)
    taints(lambda before: [*before, FOREIGN | {"effect": "NoExecute"}]).refused(403, refusal)
    taints(lambda before: [*before, OURS | {"effect": "NoExecute"}]).refused(403, refusal)
    written = taints(lambda before: [taint for taint in before if taint != OURS]).accepted()
    assert OURS not in written["spec"]["taints"]
    agent.patch(other, {"spec": {"taints": [OURS]}}).refused(
        403, f"writes only what is of its own node, not of {nodes[1].name}"
    )


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"unschedulable": True}},
        {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}},
        {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}},
        {"metadata": {"annotations": {"example.com/note": "mine"}}},
        {"metadata": {"finalizers": ["example.com/stay"]}},
    ],
    ids=["cordon", "podCIDR", "label", "annotation", "finalizer"],
)
def test_an_agent_changes_nothing_else_of_its_node(agent: Caller, nodes: list[Node], patch: Mapping[str, Any]) -> None:
    """A role cannot distinguish these from the taint."""
    agent.patch(f"/api/v1/nodes/{nodes[0].name}", patch).refused(
        403, "an agent changes nothing in its Node but the taint"
    )


# Events.


@pytest.fixture
def event(box: Box, nodes: list[Node]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes events about the first node's pool, as documents; none of them is left afterwards."""
    reason = f"Scenario{secrets.token_hex(4)}"

    def make(component: str, host: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"scenario.{secrets.token_hex(8)}", "namespace": "default"},
            "involvedObject": {"apiVersion": "azure-cni.io/v1alpha1", "kind": "NodeIPPool", "name": nodes[0].name},
            "type": "Normal",
            "reason": reason,
            "message": "made by a scenario",
            "count": 1,
            "source": {"component": component, "host": host},
        }

    yield make
    box.kubectl("delete", "events", "-n", "default", f"--field-selector=reason={reason}")


def not_its_own(node: Node) -> str:
    return f"the agent of node {node.name} writes only events whose source is azure-cni on {node.name}"


def test_an_agent_writes_events_of_its_own_node(
    agent: Caller, nodes: list[Node], event: Callable[..., dict[str, Any]]
) -> None:
    """In its own name only, and the name stays the one that it wrote them in."""
    own, other = nodes
    reported = agent.create(EVENTS, event("azure-cni", own.name)).accepted()
    path = f"{EVENTS}/{reported['metadata']['name']}"
    assert agent.patch(path, {"count": 2, "message": "again"}).accepted()["count"] == 2
    for source in ({"component": "kubelet"}, {"host": other.name}, None):
        agent.patch(path, {"source": source}).refused(403, not_its_own(own))
    for component, host in (("kubelet", own.name), ("azure-cni", other.name), ("azure-cni", ""), ("", "")):
        agent.create(EVENTS, event(component, host)).refused(403, not_its_own(own))


@pytest.mark.parametrize("whose", ["kubelet", "another agent", "nobody"])
def test_an_agent_changes_no_event_of_others(
    box: Box, agent: Caller, nodes: list[Node], event: Callable[..., dict[str, Any]], whose: str
) -> None:
    """Nor makes it its own first."""
    own, other = nodes
    sources = {"kubelet": ("kubelet", own.name), "another agent": ("azure-cni", other.name), "nobody": ("", "")}
    theirs = event(*sources[whose])
    box.apply(theirs)
    path = f"{EVENTS}/{theirs['metadata']['name']}"
    for patch in ({"message": "mine"}, {"message": "mine", "source": {"component": "azure-cni", "host": own.name}}):
        agent.patch(path, patch).refused(403, not_its_own(own))
    found = box.kubectl_json("get", "event", "-n", "default", theirs["metadata"]["name"])
    assert (found["message"], found["source"]) == (theirs["message"], {k: v for k, v in theirs["source"].items() if v})
