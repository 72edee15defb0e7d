"""What the service accounts of agents and controllers may do: what they need, and no more."""

import re
from collections.abc import Mapping

import pytest

from azurebox.client import Box
from scenarios.harness import pods
from scenarios.harness.product import NAMESPACE

# What every authenticated account of a cluster may do (kubernetes.io/bootstrapping).
EVERYBODY = {
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
}

NEEDED: Mapping[str, Mapping[str, set[str]]] = {
    "agent": {
        "nodeippools.azure-cni.io": {"get", "list", "watch", "create"},
        "nodeippools.azure-cni.io/status": {"patch"},
        "nodes": {"get", "patch"},
        "pods": {"list", "watch"},
        "events": {"create", "patch"},
    },
    "controller": {
        "nodeippools.azure-cni.io": {"get", "list", "watch"},
        "nodeippools.azure-cni.io/status": {"patch"},
        "vnetquotas.azure-cni.io": {"get", "list", "watch", "create", "delete"},
        "vnetquotas.azure-cni.io/status": {"patch"},
        "nodes": {"get"},
    },
}
IN_DEFAULT: Mapping[str, Mapping[str, set[str]]] = {"agent": {}, "controller": {"events": {"create", "patch"}}}
"""Beside these in the namespace of events about objects that have no namespace."""


@pytest.mark.parametrize("who", NEEDED)
def test_it_may_do_what_it_needs_and_no_more(box: Box, who: str) -> None:
    """`kubectl auth can-i --list` shows these rights, and nothing else."""
    assert _rights(box, who, namespace=pods.NAMESPACE) == NEEDED[who]
    assert _rights(box, who, namespace="default") == {**NEEDED[who], **IN_DEFAULT[who]}


def _rights(box: Box, who: str, *, namespace: str) -> dict[str, set[str]]:
    """Verbs by resource."""
    account = f"system:serviceaccount:{NAMESPACE}:azure-cni-{who}"
    listed = box.kubectl("auth", "can-i", "--list", f"--as={account}", "-n", namespace, "--no-headers")
    rights: dict[str, set[str]] = {}
    for line in listed.splitlines():
        resource, urls, names, verbs = _columns(line)
        if resource and resource not in EVERYBODY:
            assert names == "[]", line
            rights.setdefault(resource, set()).update(verbs.strip("[]").split())
        elif urls != "[]":
            assert verbs == "[get]", line
    return rights


def _columns(line: str) -> tuple[str, str, str, str]:
    """Resource (may be empty), URLs, names, verbs; the last three in brackets."""
    found = re.fullmatch(r"(\S*)\s+(\[.*?\])\s+(\[.*?\])\s+(\[.*?\])\s*", line)
    assert found, line
    return found[1], found[2], found[3], found[4]
