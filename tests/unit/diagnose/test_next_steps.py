"""What `why` says about the next try: the agent's own word, the pool's, or what always comes next for that cause."""

from __future__ import annotations

import pytest

from azure_cni.api.introspection import FailureReport, NodeReport, WriteReport
from azure_cni.diagnose.causes import CAUSES
from azure_cni.diagnose.next_steps import USUAL
from unit.diagnose.clusters import THEN, cluster, condition, event, pod, pool
from unit.diagnose.test_pod_diagnosis import explain


def test_the_agent_says_when_it_tries_again():
    access = cluster(pod(), pools=[pool("vm1", condition("Ready", False, "SubnetFull", "no room"))])
    failure = FailureReport("grow", "SubnetFull", "no room", 4, THEN, "2026-11-28T06:21:00Z")
    found = explain(access, report=NodeReport(node="vm1", failures=[failure]))
    assert found.next_step == "the agent's next try (grow) is at 2026-11-28T06:21:00Z, after 4 tries"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (WriteReport(kind="Grow", add=16), "the next write of the NIC: Grow, 16 addresses more"),
        (
            WriteReport(kind="Grow", add=1, waits=["an answer to request 7"]),
            "; what it waits for: an answer to request",
        ),
        (
            WriteReport(kind="Grow", add=1, waits=["PoolGrowing: said"]),
            "the next write of the NIC: Grow, 1 address more",
        ),
        (WriteReport(kind="Shrink", under_way=True), "Azure is at a write of the NIC, and the kubelet tries the pod"),
        (WriteReport(), "the kubelet tries the pod again every 10 to 15 s"),
    ],
)
def test_the_agent_says_what_its_next_write_waits_for(write: WriteReport, words: str):
    access = cluster(pod(), events=[event("web", "NoAddress", "PoolGrowing: asked")])
    found = explain(access, report=NodeReport(node="vm1", next_write=write))
    assert words in found.next_step
    assert "said" not in found.next_step


@pytest.mark.parametrize("reason", sorted(USUAL))
def test_where_only_a_person_or_a_controller_can_go_on_that_is_what_comes_next(reason: str):
    """Whatever write the agent would make then."""
    access = cluster(pod(), events=[event("web", "NoAddress", f"{reason}: why")])
    report = NodeReport(node="vm1", next_write=WriteReport(kind="Grow", add=1, waits=["much"]))
    assert reason in CAUSES
    assert explain(access, report=report).next_step == USUAL[reason]


def test_the_pool_says_until_when_azure_asked_to_wait():
    throttled = pool("vm1", condition("Ready", False, "Throttled", "429"), throttledUntil="2026-11-28T06:25:00Z")
    assert explain(cluster(pod(), pools=[throttled])).next_step == "Azure is asked again at 2026-11-28T06:25:00Z"
