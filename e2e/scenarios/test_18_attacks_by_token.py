"""What somebody does with the token of one node's agent: the other nodes have what they need, and nothing is left.

The token is one that the API server gives for the agent's pod, so it names that pod's node. It is used from the node's
own network, while the node's real agent goes on writing the truth. How fast a lie is taken back is not the point: what
counts is that the other node grows in the time that it takes without the lies, that the quota holds, and that the
ledger is as before when the lies end.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.facts import vm_id
from azurebox.steps import StepError
from scenarios.harness.attacks import WINDOW_S, Comparison, Target, mean, with_token
from scenarios.harness.caller import Caller
from scenarios.harness.liar import KINDS
from scenarios.harness.node import Node
from scenarios.harness.product import NAMESPACE, QUICK, Product

VALUES = {**QUICK, "controller.reclaimSeconds": 2, "controller.usagesSeconds": 5}
ADDRESSES, MORE, GROWTHS = 128, 16, 2
"""Held by the node that does not lie, and by how much and how often it grows in each window: with what it gives back it
stays below the answers that one node gets in a minute."""
LIMIT = 450
"""Room for one node at its own limit of 250, the other, and what is used outside; for no more."""
STEP_S = 60
GROWTH_S = 20.0
"""When a growth counts as one that does not come."""
MOST_RATIO = 1.2
"""By which lies may make a growth longer."""
LEFT_S = 60


class Ledger:
    """The one VNetQuota of the box."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def quotas(self) -> list[dict[str, Any]]:
        """All there are."""
        return list(self._box.kubectl_json("get", "vnetquotas")["items"])

    def limit(self, limit: int) -> int:
        """Set the limit; the one before."""
        (quota,) = self.quotas()
        patch = json.dumps({"spec": {"limit": limit}})
        self._box.kubectl("patch", "vnetquota", quota["metadata"]["name"], "--type=merge", "-p", patch)
        return int(quota["spec"]["limit"])

    def entries(self) -> dict[str, int]:
        """How much is granted, by the entry's key."""
        (quota,) = self.quotas()
        return {key: int(entry.get("count", 0)) for key, entry in (quota["status"].get("grants") or {}).items()}


@pytest.fixture(scope="module")
def ledger(box: Box) -> Iterator[Ledger]:
    """With a limit that one node cannot use up, but two of its kind could."""
    ledger = Ledger(box)
    before = ledger.limit(LIMIT)
    yield ledger
    ledger.limit(before)


@pytest.fixture(scope="module")
def other(
    box: Box, product: Product, nodes: list[Node], reset: Callable[[], None], attack_rounds: int
) -> Iterator[Target]:
    """The node that does not lie, which is that of the controller that works."""
    leader = product.leader()
    node = next(node for node in nodes if node.name == leader["spec"]["nodeName"])
    node.want(size=ADDRESSES)
    box.wait_for(lambda: node.counts().allocated == ADDRESSES, STEP_S, f"{ADDRESSES} addresses on {node.name}")
    yield Target(box, product, node, rounds=attack_rounds)
    node.want()
    reset()


@pytest.fixture(scope="module")
def liar(nodes: list[Node], other: Target) -> Node:
    return next(node for node in nodes if node.name != other.node.name)


@pytest.fixture(scope="module")
def token(box: Box, product: Product, liar: Node) -> str:
    """Of the agent of the node that lies."""
    pod = product.agent(liar)["metadata"]
    bound = (f"--bound-object-name={pod['name']}", f"--bound-object-uid={pod['uid']}", "--bound-object-kind=Pod")
    return box.kubectl("create", "token", "-n", NAMESPACE, "azure-cni-agent", *bound).strip()


@pytest.mark.parametrize("kind", ["large", "dropped", *KINDS, "all"])
def test_a_node_that_lies_keeps_no_other_from_growing(
    box: Box,
    product: Product,
    nodes: list[Node],
    other: Target,
    liar: Node,
    ledger: Ledger,
    token: str,
    compared: Callable[[Comparison], None],
    figure: Callable[[str], None],
    kind: str,
) -> None:
    """Nor gets more than one node may have, nor leaves anything behind.

    Lies are compared with true writes at the same pace: what any writes take of the cores that the API server, the
    controller and both nodes share here is no harm of what they say.
    """
    restarts = product.restarts()
    lies, truth = (with_token(liar.name, token, said, liar.name) for said in (kind, "true"))
    comparison = other.compare(
        f"a stolen token, {kind}",
        lies,
        meanwhile=lambda seconds: _growths(box, other.node, seconds),
        control=truth,
    )
    low, high = comparison.also_interval()
    compared(comparison)
    figure(
        f"{comparison.name}: {MORE} addresses more in {mean(comparison.quiet.also):.2f} to "
        f"{mean(comparison.attacked.also):.2f} s, x {comparison.also_ratio():.2f} ({low:.2f} to {high:.2f}), "
        f"the longest {max(comparison.quiet.also):.1f} to {max(comparison.attacked.also):.1f} s"
    )
    assert all(report.answers > 0 for report in comparison.reports)
    assert low <= MOST_RATIO
    assert max(comparison.attacked.also) < GROWTH_S
    assert comparison.faults() == []
    assert product.restarts() == restarts
    assert len(ledger.quotas()) == 1
    of_liar = {key: count for key, count in ledger.entries().items() if key.partition("~")[0] == liar.name}
    assert (sum(of_liar.values()) <= 250, len(of_liar) <= 3, sum(ledger.entries().values()) <= LIMIT) == (True,) * 3
    _is_as_before(box, ledger, nodes)


@pytest.mark.parametrize("kind", ["identify", "read", "write"])
def test_an_operation_that_names_another_vm(box: Box, product: Product, nodes: list[Node], kind: str) -> None:
    """Its unique ID and its MACs, which are no secret: nobody serves it, and the answer says nothing of that VM."""
    liar, robbed = nodes
    asking = Caller(box, product.agent(liar)["metadata"]["name"])
    before, nic = robbed.nic()["etag"], robbed.pool()["status"]
    number = 1 + max(
        int(liar.pool()["status"].get(key, {}).get("id", 0)) for key in ("nicOperation", "nicOperationResult")
    )
    operation = {
        "id": number,
        "kind": kind,
        "vm": vm_id(robbed.name),
        "vmID": nic["vmID"],
        "macs": [nic["macAddress"]],
        "nic": nic["nicID"],
        "etag": before,
        "add": 1,
        "grantNumber": liar.pool()["status"]["requestID"],
    }
    asking.status(f"nodeippools/{liar.name}", {"nicOperation": operation}).accepted()
    answer = _answer(box, liar, number)
    if product.nic_writer == "controller":
        assert "not this node's VM" in answer["error"]["message"]
    else:
        assert answer == {}, "no controller executes operations"
    known = (nic["vmID"], nic["macAddress"], robbed.name, str(robbed.primary()))
    assert [word for word in known if word.lower() in json.dumps(answer).lower()] == []
    assert robbed.nic()["etag"] == before
    asking.status(f"nodeippools/{liar.name}", {"nicOperation": None}).accepted()


def _growths(box: Box, node: Node, seconds: float) -> list[float]:
    """Seconds until the NIC has 16 addresses more, twice in 7 s; then they are given back."""
    took = []
    for _ in range(round(seconds / WINDOW_S)):
        for count in range(ADDRESSES + MORE, ADDRESSES + GROWTHS * MORE + 1, MORE):
            begun_s = time.monotonic()
            node.want(size=count)
            grown = _holds(box, node, count)
            took.append(time.monotonic() - begun_s)
            if not grown:
                return took
        node.want(size=ADDRESSES)
        _holds(box, node, ADDRESSES)
    return took


def _holds(box: Box, node: Node, count: int) -> bool:
    """Wait until the NIC holds that many; whether it came to that."""
    try:
        box.wait_for(lambda: len(node.on_nic()) == count, GROWTH_S, f"{count} addresses on {node.name}", poll_s=0.1)
    except StepError:
        return False
    return True


def _is_as_before(box: Box, ledger: Ledger, nodes: list[Node]) -> None:
    """The ledger has the two nodes and what they hold; the one that lied is right again."""
    for node in nodes:
        node.agrees(within_s=LEFT_S)

    def right() -> bool:
        held = {node.name: len(node.on_nic()) for node in nodes}
        if ledger.entries() != held:
            raise StepError("not yet", output=f"granted {ledger.entries()}, held {held}")
        return True

    box.wait_for(right, LEFT_S, "the ledger to have what the nodes hold", poll_s=1)


def _answer(box: Box, node: Node, number: int) -> Mapping[str, Any]:
    """The result of that operation; empty when there is none."""

    def answered() -> Mapping[str, Any] | None:
        answer = node.pool()["status"].get("nicOperationResult") or {}
        return answer if answer.get("id") == number else None

    try:
        return box.wait_for(answered, 10, f"the result of operation {number}")
    except StepError:
        return {}
