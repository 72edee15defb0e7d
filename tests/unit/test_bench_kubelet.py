"""What `make bench ARGS=kubelet` makes of what it sees on the box."""

import io
import json
import subprocess
from typing import Any, cast

import pytest

from azure_cni.cni.conflist import PORTMAP, conflist
from bench.box_pods import Watch
from bench.kubelet import ptp_conflist
from bench.kubelet_figures import FROM, METRICS, OURS, PTP, UNTIL, compared, joined, seen_in, summed, table, told_by
from bench.node import BenchError

LOG = """\
2026-11-29T07:08:31.658433775Z {"time": "2026-11-29T07:08:31.657Z", "message": "serving sandboxes", "node": "vm3"}
2026-11-29T07:08:31.751873487Z {"message": "holding conflist written: pods can end, none can start yet"}
2026-11-29T07:08:33.771237897Z {"message": "nic written", "nic": "vm3-nic", "configs": 17, "seconds": 1.5}
2026-11-29T07:08:34Z {"message": "conflist written: this node takes pods"}
2026-11-29T07:09:33.771Z {"message": "nic written", "nic": "vm3-nic", "configs": 33, "seconds": 9}
"""
METRICS_TEXT = """\
# TYPE azure_cni_cni_request_duration_seconds histogram
azure_cni_cni_request_duration_seconds_bucket{code="0",le="0.1",verb="add"} 9
azure_cni_cni_request_duration_seconds_sum{code="0",verb="add"} 0.25
azure_cni_cni_request_duration_seconds_count{code="0",verb="add"} 20
azure_cni_cni_request_duration_seconds_sum{code="11",verb="add"} 5
azure_cni_cni_request_duration_seconds_sum{code="0",verb="del"} 3
"""


def event(kind: str, name: str, **status: object) -> dict[str, Any]:
    return {"type": kind, "object": {"kind": "Pod", "metadata": {"name": name}, "status": status}}


def watch_of(*events: dict[str, Any]) -> Watch:
    class Ended:
        stdout = io.StringIO("".join(json.dumps(one) + "\n" for one in events))

    return Watch(cast("subprocess.Popen[str]", Ended()))


def test_a_watch_shows_each_event_when_it_arrived() -> None:
    ready = [{"type": "Ready", "status": "True"}]
    watch = watch_of(
        event("ADDED", "web"),
        event("MODIFIED", "web", phase="Running", podIP="10.240.0.5", conditions=ready),
        event("DELETED", "web", phase="Running"),
    )
    watch.until(lambda seen: len(seen) == 3, "three events")
    assert [(one.kind, one.runs, one.ready, one.address) for one in watch.seen] == [
        ("ADDED", False, False, ""),
        ("MODIFIED", True, True, "10.240.0.5"),
        ("DELETED", False, False, ""),
    ]
    assert watch.seen[0].at_s <= watch.seen[2].at_s


def test_what_does_not_come_is_said_with_what_came_last() -> None:
    watch = watch_of(event("ADDED", "web"))
    watch.until(bool, "an event")
    with pytest.raises(BenchError, match=r"in vain for the pod to run; last seen: .*name='web'"):
        watch.until(lambda seen: any(one.runs for one in seen), "the pod to run", within_s=0.0)


def test_a_node_that_is_not_ready_is_seen_as_such() -> None:
    node = event("MODIFIED", "vm3", conditions=[{"type": "Ready", "status": "False"}])
    assert not seen_in(node, at_s=1.0).ready


def test_the_log_tells_each_step_once_and_when_the_write_was_sent() -> None:
    told = told_by(LOG.splitlines())
    begun = told["serving sandboxes"]
    assert {step: round(at_s - begun, 3) for step, at_s in told.items()} == {
        "serving sandboxes": 0,
        "nic written": 2.113,
        "write sent": 0.613,
        "conflist written: this node takes pods": 2.342,
    }


def test_a_histogram_is_summed_by_its_labels() -> None:
    histogram = "azure_cni_cni_request_duration_seconds"
    assert summed(METRICS_TEXT, histogram, verb="add", code="0") == (0.25, 20)
    assert summed(METRICS_TEXT, histogram, verb="check", code="0") == (0, 0)


def test_ptp_takes_our_place_and_what_is_chained_stays() -> None:
    theirs = json.loads(ptp_conflist(conflist(chained=[PORTMAP])))
    assert [plugin["type"] for plugin in theirs["plugins"]] == ["ptp", "portmap"]
    assert theirs["plugins"][1] == PORTMAP.entry
    assert theirs["name"] != "azure-cni"


def test_the_table_compares_within_rounds_and_says_what_is_ours() -> None:
    batches = compared({metric: {OURS: [2.0, 4.0], PTP: [4.0, 8.0]} for metric in METRICS})
    ours = {"registered": 0.5, FROM: 2.0, UNTIL: 5.0, "ready": 5.1, "running": 7.0}
    document = {
        "machine": {"cpus": 2, "kernel": "6.18", "load": [1.0, 2.5]},
        "rounds": 2,
        "pods": 20,
        "batches": batches,
        "add_ms": 9.5,
        "joins": joined({OURS: [ours, {**ours, UNTIL: 4.0}], PTP: [{"registered": 0.5, "ready": 1.0, "running": 3.0}]}),
    }
    lines = table(document).splitlines()
    assert lines[0] == "2 CPUs, kernel 6.18, load 1.0 before and 2.5 after"
    assert "| pods started per second | 3.0 | 6.0 | 0.50 (0.50 to 0.50) |" in lines
    assert "the agent's part of a sandbox: 9.5 ms" in lines
    assert "| the node is registered | 0.5 (0.5 to 0.5) | 0.5 (0.5 to 0.5) |" in lines
    assert "| the conflist is written | 4.5 (4.0 to 5.0) |  |" in lines
    assert lines[-1] == "the agent's part of it: 2.5 (2.0 to 3.0)"
