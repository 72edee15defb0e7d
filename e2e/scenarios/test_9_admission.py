"""What the API server refuses, whoever asks: grants beyond a limit, another node's objects, a grant by hand.

Every request is made with a token of the cluster: that of an agent or a controller is the one that the kubelet has put
into its pod, and it is sent from there. The refusals are what a person would read.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.node import Node
from scenarios.harness.product import NAMESPACE, Product

OBJECTS = "/apis/azure-cni.io/v1alpha1"
PYTHON = "/opt/azure-cni/bin/python"
OURS = {"key": "azure-cni.io/no-free-addresses", "effect": "NoSchedule"}
FOREIGN = {"key": "example.com/foreign", "effect": "NoSchedule"}

SEND = """
import os, ssl, sys, urllib.error, urllib.request
method, path, body, token = sys.argv[1:]
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
request = urllib.request.Request(
    "https://%s:%s%s" % (os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"], path),
    data=body.encode() or None,
    method=method,
    headers={
        "Authorization": "Bearer " + (token or open(account + "token").read()),
        "Content-Type": "application/merge-patch+json" if method == "PATCH" else "application/json",
    },
)
try:
    reply = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account + "ca.crt"), timeout=10)
except urllib.error.HTTPError as error:
    reply = error
print(reply.status, reply.read().decode())
"""
"""One request, made by the product's own Python in its own pod: the images have no curl."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API server says: HTTP status, and the object or the Status."""

    status: int
    document: dict[str, Any]

    @property
    def message(self) -> str:
        """A Status' sentence."""
        return str(self.document.get("message", ""))

    def accepted(self) -> dict[str, Any]:
        """The object; the test fails when it was refused."""
        assert self.status in (200, 201), self.message
        return self.document

    def refused(self, status: int, *words: str) -> None:
        """The test fails unless it was refused so, in these words."""
        assert self.status == status, self.message
        assert [part for part in words if part not in self.message] == [], self.message


class Caller:
    """A process of the product, asking with its own token; or from its pod with another one."""

    def __init__(self, box: Box, pod: str, token: str = "") -> None:
        self._box, self._pod, self._token = box, pod, token

    def get(self, path: str) -> dict[str, Any]:
        """An object."""
        return self._send("GET", path, "").accepted()

    def create(self, path: str, document: Mapping[str, Any]) -> Reply:
        """A new object in a collection."""
        return self._send("POST", path, json.dumps(document))

    def patch(self, path: str, patch: Mapping[str, Any]) -> Reply:
        """A JSON merge patch."""
        return self._send("PATCH", path, json.dumps(patch))

    def status(self, resource: str, status: Mapping[str, Any]) -> Reply:
        """A merge patch of an azure-cni object's status; `resource` is such as nodeippools/NAME."""
        return self.patch(f"{OBJECTS}/{resource}/status", {"status": status})

    def _send(self, method: str, path: str, body: str) -> Reply:
        command = (PYTHON, "-c", SEND, method, path, body, self._token)
        status, _, document = self._box.kubectl("exec", "-n", NAMESPACE, self._pod, "--", *command).partition(" ")
        return Reply(int(status), json.loads(document))


@pytest.fixture(scope="module")
def agent(box: Box, product: Product, nodes: list[Node]) -> Caller:
    """The agent of the first node."""
    return Caller(box, product.agent(nodes[0])["metadata"]["name"])


@pytest.fixture(scope="module")
def controller(box: Box) -> Caller:
    """One of the controllers."""
    selector = "app.kubernetes.io/name=azure-cni,app.kubernetes.io/component=controller"
    pods = box.kubectl_json("get", "pods", "-n", NAMESPACE, "-l", selector)["items"]
    running = [pod for pod in pods if pod["status"]["phase"] == "Running"]
    return Caller(box, running[0]["metadata"]["name"])


@pytest.fixture
def quota(box: Box) -> Callable[[], dict[str, Any]]:
    """Reads the VNet's quota."""

    def read() -> dict[str, Any]:
        (found,) = box.kubectl_json("get", "vnetquotas")["items"]
        return dict(found)

    return read


def name(document: Mapping[str, Any]) -> str:
    return str(document["metadata"]["name"])


# The ledger.


@pytest.mark.parametrize("who", ["controller", "administrator"])
def test_a_ledger_over_the_limit_is_refused(
    box: Box, controller: Caller, quota: Callable[[], dict[str, Any]], who: str
) -> None:
    """Even to the controller, and before anything else is looked at."""
    found = quota()
    limit = found["spec"]["limit"]
    grants = {f"imagined-{number}": {"count": 250, "requestID": 1} for number in range(limit // 250 + 1)}
    words = (f"nodes would be granted {sum_of(found) + 250 * len(grants)} addresses", f"spec.limit is {limit}")
    if who == "controller":
        controller.status(f"vnetquotas/{name(found)}", {"grants": grants}).refused(422, *words)
    else:
        assert_kubectl_refuses(box, status_of(found, {"grants": grants}), words)
    assert quota()["status"]["grants"].keys() == found["status"]["grants"].keys()


def test_an_entry_over_250_is_refused(controller: Caller, nodes: list[Node], quota: Callable[[], Any]) -> None:
    """However much room the limit leaves."""
    entry = {nodes[0].name: {"count": 251, "requestID": 1}}
    controller.status(f"vnetquotas/{name(quota())}", {"grants": entry}).refused(
        422, f"status.grants.{nodes[0].name}.count", "should be less than or equal to 250"
    )


def test_a_limit_below_what_is_granted_is_refused(box: Box, quota: Callable[[], dict[str, Any]]) -> None:
    """And says what to do instead."""
    found = quota()
    granted = sum_of(found)
    assert granted > 1
    patch = ("patch", "vnetquota", name(found), "--type=merge", "-p", json.dumps({"spec": {"limit": granted - 1}}))
    words = (f"nodes would be granted {granted} addresses", f"spec.limit is {granted - 1}", "raise spec.reserved first")
    assert_kubectl_refuses(box, patch, words)


def test_the_vnet_of_a_quota_stays(box: Box, quota: Callable[[], dict[str, Any]]) -> None:
    """Its grants are for that one."""
    found = quota()
    other = json.dumps({"spec": {"vnetID": found["spec"]["vnetID"] + "-other"}})
    patch = ("patch", "vnetquota", name(found), "--type=merge", "-p", other)
    assert_kubectl_refuses(box, patch, ("vnetID cannot be changed",))


# Grants by hand.


def test_a_grant_by_hand_is_refused(box: Box, nodes: list[Node], quota: Callable[[], dict[str, Any]]) -> None:
    """An administrator is told who grants, and where to say what is wanted."""
    pool = ("patch", "nodeippool", nodes[0].name, "--subresource=status", "--type=merge", "-p")
    before = nodes[0].pool()["status"]["granted"]
    assert_kubectl_refuses(
        box,
        (*pool, json.dumps({"status": {"granted": before + 1}})),
        ("is written by the controller alone", "spec.max of the pool and spec.limit of the VNetQuota"),
    )
    assert nodes[0].pool()["status"]["granted"] == before
    found = quota()
    assert_kubectl_refuses(
        box,
        status_of(found, {"grants": {nodes[0].name: {"count": before + 1}}}),
        ("the status of a VNetQuota is written by the controller alone",),
    )


@pytest.mark.parametrize("field", ["granted", "grantedFor", "grantReason", "grantMessage", "answer"])
def test_no_agent_grants_itself(agent: Caller, nodes: list[Node], field: str) -> None:
    """Nor explains a grant, nor answers its own orders."""
    value = {"answer": {"id": 1}, "grantReason": "Mine", "grantMessage": "mine"}.get(field, 249)
    agent.status(f"nodeippools/{nodes[0].name}", {field: value}).refused(403, "is written by the controller alone")


def test_no_agent_writes_the_ledger(agent: Caller, quota: Callable[[], dict[str, Any]]) -> None:
    """Its role does not even know of it."""
    agent.status(f"vnetquotas/{name(quota())}", {"grants": {}}).refused(403, "cannot patch resource")


def test_the_controller_only_grants(controller: Caller, nodes: list[Node]) -> None:
    """What a node asks for and holds is its agent's to say."""
    for status in ({"requested": 1}, {"allocated": None}, {"granted": 16, "wants": "Grow"}):
        controller.status(f"nodeippools/{nodes[0].name}", status).refused(
            403, "the controller changes nothing in a NodeIPPool but what is granted"
        )


# One's own node.


def test_an_agent_writes_its_own_pool_and_no_other(agent: Caller, nodes: list[Node]) -> None:
    """The token says which node is its own."""
    own, other = nodes
    waiting = own.pool()["status"].get("waiting", 0)
    agent.status(f"nodeippools/{own.name}", {"waiting": waiting}).accepted()
    refusal = f"the agent of node {own.name} writes only what is of its own node, not of {other.name}"
    agent.status(f"nodeippools/{other.name}", {"requested": 250}).refused(403, refusal)
    pool = {"apiVersion": "azure-cni.io/v1alpha1", "kind": "NodeIPPool", "metadata": {"name": "imagined"}}
    agent.create(f"{OBJECTS}/nodeippools", pool).refused(403, f"the agent of node {own.name}", "not of imagined")


def test_a_token_of_the_agents_account_without_a_node_writes_nothing(
    box: Box, product: Product, nodes: list[Node]
) -> None:
    """Made by hand or stolen from elsewhere, it is of no use."""
    token = box.kubectl("create", "token", "-n", NAMESPACE, "azure-cni-agent").strip()
    stranger = Caller(box, product.agent(nodes[0])["metadata"]["name"], token)
    words = ("the agent's token names no node", "use the token that the kubelet mounts")
    stranger.status(f"nodeippools/{nodes[0].name}", {"waiting": 0}).refused(403, *words)
    stranger.patch(f"/api/v1/nodes/{nodes[0].name}", {"spec": {"taints": [OURS]}}).refused(403, *words)


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
    """A role cannot tell these from the taint."""
    agent.patch(f"/api/v1/nodes/{nodes[0].name}", patch).refused(
        403, "an agent changes nothing in its Node but the taint"
    )


def sum_of(quota: Mapping[str, Any]) -> int:
    """What the ledger grants together."""
    return sum(entry["count"] for entry in quota["status"]["grants"].values())


def status_of(quota: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[str, ...]:
    """How a person would write the status of a quota by hand."""
    patch = json.dumps({"status": status})
    return ("patch", "vnetquota", name(quota), "--subresource=status", "--type=merge", "-p", patch)


def assert_kubectl_refuses(box: Box, arguments: Sequence[str], words: Sequence[str]) -> None:
    with pytest.raises(StepError) as refused:
        box.kubectl(*arguments)
    assert [part for part in words if part not in refused.value.output] == [], refused.value.output
