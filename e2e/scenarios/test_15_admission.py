"""What the API server refuses, whoever asks: grants beyond a limit, and a grant by hand.

Every request is made with a token of the cluster: that of an agent or a controller from its pod, or the
administrator's. The refusals are what a person would read. What an agent may write of its own is in test_16_own_node.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.caller import Caller
from scenarios.harness.node import Node


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
    """The error says who grants, and where to say what is wanted."""
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


@pytest.mark.parametrize(
    "field",
    [
        "granted",
        "grantedFor",
        "grantReason",
        "grantMessage",
        "grantNotBefore",
        "recall",
        "recalling",
        "nicOperationResult",
    ],
)
def test_no_agent_grants_itself(agent: Caller, nodes: list[Node], field: str) -> None:
    """Nor explains a grant, nor writes the result of its own NIC operation."""
    others = {
        "nicOperationResult": {"id": 1},
        "grantReason": "Mine",
        "grantMessage": "mine",
        "grantNotBefore": "2026-01-01T00:00:00Z",
        "recall": {"number": 1, "hold": 249},
    }
    value = others.get(field, 249)
    agent.status(f"nodeippools/{nodes[0].name}", {field: value}).refused(403, "is written by the controller alone")


@pytest.mark.parametrize(
    "status",
    [
        {"lastWrite": {"reason": "x" * 600}},
        {"lastRead": {"request": "x" * 300}},
        {"nicOperation": {"id": 1, "macs": ["00:0d:3a:1b:c7:21"] * 40}},
    ],
    ids=lambda status: next(iter(status)),
)
def test_what_an_agent_writes_has_an_end(agent: Caller, nodes: list[Node], status: dict[str, Any]) -> None:
    agent.status(f"nodeippools/{nodes[0].name}", status).refused(422, "Too")


def test_no_agent_writes_the_ledger(agent: Caller, quota: Callable[[], dict[str, Any]]) -> None:
    """Its role does not even know of it."""
    agent.status(f"vnetquotas/{name(quota())}", {"grants": {}}).refused(403, "cannot patch resource")


def test_the_controller_only_grants(controller: Caller, nodes: list[Node]) -> None:
    """What a node asks for and holds is its agent's to say."""
    for status in ({"requested": 1}, {"allocated": None}, {"granted": 16, "writeIntent": "Grow"}):
        controller.status(f"nodeippools/{nodes[0].name}", status).refused(
            403, "the controller changes nothing in a NodeIPPool but what is granted"
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
