"""What the agent's service account may do: what it needs, and no more."""

import re

from azurebox.client import Box
from scenarios.harness.product import SERVICE_ACCOUNT

# What every authenticated account of a cluster may do (kubernetes.io/bootstrapping).
EVERYBODY = {
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
}

NEEDED = {
    "nodeippools.azure-cni.io": {"get", "list", "watch", "create"},
    "nodeippools.azure-cni.io/status": {"patch"},
    "nodes": {"get"},
    "pods": {"get", "list", "watch"},
    "events": {"create", "patch"},
}


def test_the_agent_may_do_what_it_needs_and_no_more(box: Box) -> None:
    """`kubectl auth can-i --list` as the agent shows these rights, in every namespace, and nothing else."""
    listed = box.kubectl("auth", "can-i", "--list", f"--as={SERVICE_ACCOUNT}", "--no-headers")
    rights: dict[str, set[str]] = {}
    for line in listed.splitlines():
        resource, urls, names, verbs = _columns(line)
        if resource and resource not in EVERYBODY:
            assert names == "[]", line
            rights.setdefault(resource, set()).update(verbs.strip("[]").split())
        elif urls != "[]":
            assert verbs == "[get]", line
    assert rights == NEEDED


def _columns(line: str) -> tuple[str, str, str, str]:
    """Resource (may be empty), URLs, names, verbs; the last three in brackets."""
    found = re.fullmatch(r"(\S*)\s+(\[.*?\])\s+(\[.*?\])\s+(\[.*?\])\s*", line)
    assert found, line
    return found[1], found[2], found[3], found[4]
