"""What Karpenter makes of our taint and of pods that wait for an address, by its own functions.

`e2e/azurebox/tools/karpenter` has them. cluster-autoscaler's could not be run: docs/works-beside.md says what was read.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from azure_cni.diagnose.evidence import TAINT
from azurebox import tools

FULL = {"key": TAINT, "effect": "NoSchedule"}
REGISTERED, INITIALIZED = "karpenter.sh/registered", "karpenter.sh/initialized"


pytestmark = pytest.mark.skipif(
    not tools.path("karpenter").exists(),
    reason="karpenter is not built: `e2e/box tools karpenter` builds it, in minutes",
)


@pytest.fixture(scope="module")
def program() -> Path:
    return tools.path("karpenter")


def pod(name: str, *, node: str = "", reason: str = "") -> dict[str, Any]:
    """One that is placed, or that the scheduler could not place, or that it has not looked at yet."""
    scheduled = {"type": "PodScheduled", "status": "True" if node else "False", "reason": reason}
    status = {"phase": "Pending", "conditions": [scheduled] if node or reason else []}
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"nodeName": node}, "status": status}


WAITS_FOR_ADDRESS = pod("waits-for-an-address", node="vm1")
KEPT_OFF = pod("kept-off", reason="Unschedulable")
NEW = pod("new")


def ask(
    program: Path, *pods: dict[str, Any], taints: list[dict[str, str]], startup: list[dict[str, str]], initialized: bool
) -> dict[str, Any]:
    labels = {REGISTERED: "true"} | ({INITIALIZED: "true"} if initialized else {})
    question = {
        "node": {"metadata": {"name": "vm1", "labels": labels}, "spec": {"taints": taints}},
        "nodeClaim": {"metadata": {"name": "claim"}, "spec": {"startupTaints": startup}},
        "pods": pods,
    }
    done = subprocess.run(
        [str(program)], input=json.dumps(question), check=True, capture_output=True, text=True, timeout=60
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_pod_that_waits_for_an_address_makes_no_node_and_one_that_a_full_node_keeps_off_may(program: Path) -> None:
    full = ask(program, WAITS_FOR_ADDRESS, KEPT_OFF, NEW, taints=[FULL], startup=[], initialized=True)
    assert full == {"provisionable": ["kept-off"], "fits": [], "waitsFor": ""}
    freed = ask(program, KEPT_OFF, taints=[], startup=[], initialized=True)
    assert freed["fits"] == ["kept-off"], "where it has addresses again, the pod needs no new node"


def test_as_a_startup_taint_it_would_keep_a_node_from_being_initialized(program: Path) -> None:
    listed = ask(program, KEPT_OFF, taints=[FULL], startup=[FULL], initialized=False)
    assert listed["waitsFor"] == TAINT
    assert listed["fits"] == ["kept-off"], "Karpenter expects the taint to go, and makes no other node meanwhile"
    removed = ask(program, KEPT_OFF, taints=[], startup=[FULL], initialized=False)
    assert removed["waitsFor"] == ""
    not_listed = ask(program, KEPT_OFF, taints=[], startup=[], initialized=False)
    assert not_listed == {"provisionable": ["kept-off"], "fits": ["kept-off"], "waitsFor": ""}
