"""From what `bench.kubelet` saw on the box to medians, ratios with intervals, and tables. Pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from bench.speed_figures import ratio

OURS, PTP = "azure-cni", "ptp"

Sum: TypeAlias = tuple[float, float]
"""Of a histogram: seconds in all, and how often."""

METRICS: Final = {
    "started_per_s": "pods started per second",
    "pod_s": "from a pod's creation until it runs, p50, s",
    "ended_per_s": "pods ended per second",
    "sandbox_ms": "the runtime makes a sandbox, mean, ms",
    "stop_ms": "the runtime ends a sandbox, mean, ms",
}
"""Of each batch, as people read them."""

STEPS: Final = {
    "registered": "the node is registered",
    "container": "the agent's container is started",
    "serving sandboxes": "the agent has its ledger and socket",
    "node identified": "the metadata service has said who the node is",
    "kernel prepared": "VNet and NIC are read, the node's table is made",
    "write sent": "the addresses are granted, and the write of the NIC is sent",
    "nic written": "Azure has written the NIC",
    "addresses ready": "the addresses are in kernel and ledger",
    "conflist written: this node takes pods": "the conflist is written",
    "ready": "the node is Ready",
    "running": "the first pod runs",
}
"""What happens at a join, in its order. From `serving sandboxes` to the conflist they are told by the agent's log."""
FROM, UNTIL = "container", "conflist written: this node takes pods"
"""The steps between which it is the agent that works: before, Kubernetes starts a container like any other, and after,
the kubelet sees the conflist and starts a pod."""

_LINE: Final = re.compile(r'^(?P<time>\S+Z) .*"message": "(?P<message>[^"]+)"(.*"seconds": (?P<took>[\d.]+))?')
"""One line of `kubectl logs --timestamps`."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event of a watch: boot time (seconds) at which it arrived, and what it said."""

    at_s: float
    kind: str
    name: str
    phase: str
    address: str
    ready: bool

    @property
    def runs(self) -> bool:
        """Of a pod."""
        return self.phase == "Running" and self.kind != "DELETED"


def seen_in(event: Mapping[str, Any], *, at_s: float) -> Seen:
    """An event of a watch of pods or nodes. Nodes have no phase, and of their addresses none is kept."""
    shown = event["object"]
    status = shown.get("status", {})
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ()))
    return Seen(
        at_s, event["type"], shown["metadata"]["name"], status.get("phase", ""), status.get("podIP", ""), ready=ready
    )


def told_by(log: Iterable[str]) -> dict[str, float]:
    """Of the agent's steps (`STEPS`), when its log first tells them: seconds since 1970."""
    found: dict[str, float] = {}
    for line in log:
        match = _LINE.match(line)
        if match and match["message"] in STEPS:
            at_s = found.setdefault(match["message"], seconds(match["time"]))
            if match["message"] == "nic written" and match["took"]:
                found.setdefault("write sent", at_s - float(match["took"]))
    return found


def seconds(time: str) -> float:
    """RFC 3339 with nanoseconds, of which microseconds count."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00").timestamp()


def summed(text: str, histogram: str, **labels: str) -> Sum:
    """A histogram with these labels, from metrics as Prometheus reads them; zeros while there is none."""
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    values = {"sum": 0.0, "count": 0.0}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        kind = series.removeprefix(f"{histogram}_").partition("{")[0]
        if series.startswith(f"{histogram}_") and kind in values and all(label in series for label in wanted):
            values[kind] += float(value)
    return values["sum"], values["count"]


def compared(values: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """By metric and subject, the median, and of ours the ratio to ptp's in the same round with its interval."""
    found: dict[str, Any] = {}
    for metric, subjects in values.items():
        middle, low, high = ratio(subjects[OURS], subjects[PTP])
        found[metric] = {name: {"median": _round(statistics.median(it)), "values": [*map(_round, it)]}
                         for name, it in subjects.items()}  # fmt: skip
        found[metric] |= {"ratio": _round(middle), "low": _round(low), "high": _round(high)}
    return found


def joined(joins: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    """By subject and step, the median in seconds since the kubelet's start, and all; and what of it is ours."""
    found: dict[str, Any] = {}
    for name, times in joins.items():
        steps = [step for step in STEPS if all(step in one for one in times)]
        found[name] = {step: {"median": _round(statistics.median(one[step] for one in times)),
                              "values": [_round(one[step]) for one in times]}
                       for step in steps}  # fmt: skip
    shares = [one[UNTIL] - one[FROM] for one in joins[OURS]]
    found["ours_s"] = {"median": _round(statistics.median(shares)), "values": [*map(_round, shares)]}
    return found


def table(document: Mapping[str, Any]) -> str:
    """The document of a run as tables in Markdown, with the machine above them."""
    machine = document["machine"]
    load = " before and ".join(map(str, machine["load"]))
    lines = [f"{machine['cpus']} CPUs, kernel {machine['kernel']}, load {load} after"]
    if "batches" in document:
        lines += ["", f"{document['rounds']} rounds of {document['pods']} pods", "", *_batches(document["batches"])]
        lines += [f"the agent's part of a sandbox: {document['add_ms']} ms"]
    if "joins" in document:
        lines += ["", "seconds since the kubelet's start", "", *_joins(document["joins"])]
    return "\n".join(lines)


def _batches(found: Mapping[str, Any]) -> list[str]:
    rows = [f"| | {OURS} | {PTP} | ratio |", "|---|---|---|---|"]
    for metric, title in METRICS.items():
        one = found[metric]
        medians = f"{one[OURS]['median']} | {one[PTP]['median']}"
        rows.append(f"| {title} | {medians} | {one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f}) |")
    return rows


def _joins(found: Mapping[str, Any]) -> list[str]:
    rows = [f"| | {OURS} | {PTP} |", "|---|---|---|"]
    for step, title in STEPS.items():
        cells = [_cell(found[name].get(step)) for name in (OURS, PTP)]
        if any(cells):
            rows.append(f"| {title} | {' | '.join(cells)} |")
    return [*rows, "", f"the agent's part of it: {_cell(found['ours_s'])}"]


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    return f"{one['median']:.1f} ({min(one['values']):.1f} to {max(one['values']):.1f})"


def _round(value: float) -> float:
    return round(value, 3)
