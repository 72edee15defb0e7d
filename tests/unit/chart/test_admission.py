"""Whom the admission policies look at. What they refuse, and in which words, the scenarios show on an API server."""

import json
import re
from typing import Any

import pytest

from azure_cni.kube.events import COMPONENT
from unit.chart.crds import STATUS
from unit.chart.helm import CHART, of_kind, render

POLICY = "ValidatingAdmissionPolicy"
AGENT = "system:serviceaccount:kube-system:azure-cni-agent"
CONTROLLER = "system:serviceaccount:kube-system:azure-cni-controller"
POOLS = {"nodeippools", "nodeippools/status"}


def policies(*values: str) -> dict[str, dict[str, Any]]:
    return {
        manifest["metadata"]["name"].removeprefix("azure-cni-"): manifest["spec"]
        for manifest in render(*values)
        if manifest["kind"] == POLICY
    }


def looks_at(policy: dict[str, Any]) -> tuple[set[str], str]:
    """The resources, and the one condition on the caller."""
    (condition,) = policy["matchConditions"]
    return {name for rule in policy["matchConstraints"]["resourceRules"] for name in rule["resources"]}, condition[
        "expression"
    ]


def test_each_policy_looks_at_few_requests_only():
    assert {name: looks_at(policy) for name, policy in policies().items()} == {
        "own-node": (POOLS | {"nodes"}, f"request.userInfo.username == '{AGENT}'"),
        "node-taint": ({"nodes"}, f"request.userInfo.username == '{AGENT}'"),
        "pod-condition": ({"pods", "pods/status"}, f"request.userInfo.username == '{AGENT}'"),
        "events": ({"events"}, f"request.userInfo.username == '{AGENT}'"),
        "grants": ({"nodeippools/status"}, f"request.userInfo.username != '{CONTROLLER}'"),
        "quota": ({"vnetquotas/status"}, f"request.userInfo.username != '{CONTROLLER}'"),
        "controller": (POOLS, f"request.userInfo.username == '{CONTROLLER}'"),
    }


def test_without_a_controller_only_an_agent_grants():
    found = policies("controller.enabled=false")
    assert found.keys() == {"own-node", "node-taint", "pod-condition", "events", "grants"}
    assert looks_at(found["grants"])[1] == f"request.userInfo.username != '{AGENT}'"


def test_a_policy_that_fails_refuses_and_each_is_in_force():
    for values in ((), ("controller.enabled=false",)):
        found = policies(*values)
        assert {policy["failurePolicy"] for policy in found.values()} == {"Fail"}
        bindings = [manifest["spec"] for manifest in render(*values) if manifest["kind"] == f"{POLICY}Binding"]
        assert {binding["policyName"].removeprefix("azure-cni-") for binding in bindings} == found.keys()
        assert [binding["validationActions"] for binding in bindings] == [["Deny"]] * len(found)


def test_every_refusal_is_one_and_has_its_words():
    for policy in policies().values():
        for validation in policy["validations"]:
            assert validation["reason"] == "Forbidden"
            assert validation.get("message") or validation.get("messageExpression")


def test_they_know_the_accounts_by_the_names_that_the_values_give():
    values = ("serviceAccount.name=a", "controller.serviceAccount.name=c")
    accounts = set(re.findall(r"system:serviceaccount:[\w:-]+", json.dumps(policies(*values))))
    assert accounts == {"system:serviceaccount:kube-system:a", "system:serviceaccount:kube-system:c"}


@pytest.mark.parametrize("name", ["grants", "controller"])
def test_the_fields_of_a_grant_are_fields_of_the_schema(name: str):
    """A misspelt one would be guarded in vain."""
    text = json.dumps(of_kind(POLICY, name=f"azure-cni-{name}")["spec"]["validations"])
    for listed in re.findall(r"\[('\w+'(?:, '\w+')+)\]", text):
        assert set(re.findall(r"\w+", listed)) <= STATUS["properties"].keys()
        assert {"'granted'", "'grantedFor'"} <= set(listed.split(", "))


def test_the_events_of_an_agent_are_known_by_what_it_writes():
    """Under another name it would be refused its own."""
    text = json.dumps(of_kind(POLICY, name="azure-cni-events")["spec"]["validations"])
    assert f"event.?source.?component.orValue('') == '{COMPONENT}'" in text


def test_the_events_of_an_agent_are_about_its_own_node_and_pool_or_about_pods():
    expressions = [one["expression"] for one in of_kind(POLICY, name="azure-cni-events")["spec"]["validations"]]
    (about,) = [" ".join(one.split()) for one in expressions if "involvedObject.?kind" in one]
    assert about == (
        "variables.node == '' || [dyn(object), variables.before].all(event, "
        "event.?involvedObject.?kind.orValue('') == 'Pod' || "
        "event.?involvedObject.?kind.orValue('') in ['Node', 'NodeIPPool'] && "
        "event.?involvedObject.?name.orValue('') == variables.node)"
    )


def test_they_can_be_left_out():
    kinds = {manifest["kind"] for manifest in render("admission.enabled=false")}
    assert {POLICY, f"{POLICY}Binding"}.isdisjoint(kinds)


def test_the_documentation_lists_each_policy():
    text = (CHART.parent.parent / "docs" / "install.md").read_text()
    listed = re.findall(r"^\| `azure-cni-([\w-]+)` \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(policies())
