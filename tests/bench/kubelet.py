"""Pods per second through a real kubelet, and how soon a node that joins runs its first pod, beside the same with ptp.

    make bench ARGS="kubelet [--rounds 8] [--pods 20] [--joins 3] [--json FILE]"

Needs the box with azure-cni (`e2e/box up`, `e2e/box install`), and changes it meanwhile. Two parts:

1. batches: on the last node, pods are started at once and deleted at once, in turns with azure-cni's conflist and with
   ptp's, which differs from it in the plugin (with host-local) and comes before it in the directory;
2. joins: new nodes, in turns with azure-cni and with ptp's conflist on their disk before their kubelet starts and no
   agent's image. Every image is there before the kubelet starts. They are removed again.

What is compared is the ratio within a round. Nothing passes or fails by a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azurebox.client import Box
from azurebox.steps import StepError
from bench.box_joins import join, spare_nodes
from bench.box_pods import NAMESPACE, Batch, namespace, run_batch
from bench.kubelet_figures import OURS, PTP, Sum, compared, joined, summed, table
from bench.node import BenchError
from scenarios.harness.node import CONFLIST, Node
from scenarios.harness.scrapes import scrape

PTP_CONFLIST = str(Path(CONFLIST).with_name("00-azure-cni-bench.conflist"))
PTP_SUBNET = "10.250.0.0/16"
"""Nobody else's on the box, so a pod's address says whose it is."""
PTP_ADDRESSES = "10.250."
READ_S = 1.0
"""The runtime reads its configuration anew when the directory changes."""
TRIES = 3
FREE_S = 300.0
AGENT_METRICS = "http://127.0.0.1:9810/metrics"
REQUESTS = "azure_cni_cni_request_duration_seconds"
OPERATIONS = "kubelet_runtime_operations_duration_seconds"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the figures where asked."""
    parser = argparse.ArgumentParser(prog="bench kubelet", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8, help="of batches, default 8, at most 20; 0 for none")
    parser.add_argument("--pods", type=int, default=20, help="in a batch, default 20")
    parser.add_argument("--joins", type=int, default=3, help="of each kind, default 3, at most 5; 0 for none")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)
    used = options.pods * (options.rounds + 1)
    if not 0 <= options.rounds <= 20 or not 0 <= options.joins <= 5 or options.pods < 1 or used > 240:
        parser.error("--rounds must be 0 to 20, --joins 0 to 5, and pods in all rounds and one more at most 240")
    try:
        found = measured(Box(), rounds=options.rounds, pods=options.pods, joins=options.joins)
    except (BenchError, StepError) as error:
        print(f"bench kubelet: {error}", file=sys.stderr)
        return 1
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def measured(box: Box, *, rounds: int, pods: int, joins: int) -> dict[str, Any]:
    """All figures as a document, with the machine and its load."""
    before = os.getloadavg()[0]
    document: dict[str, Any] = {"rounds": rounds, "pods": pods}
    with namespace(box):
        if rounds:
            document |= _batches(box, Node(box, box.nodes[-1]), rounds=rounds, pods=pods)
        if joins:
            document["joins"] = joined(_joins(box, joins))
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    return {"machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load": load}} | document


def _batches(box: Box, node: Node, *, rounds: int, pods: int) -> dict[str, Any]:
    """The first round warms up and is not counted."""
    values: dict[str, dict[str, list[float]]] = {}
    adds: list[float] = []
    with _pool_of(box, node, pods * (rounds + 1)):
        for number in range(rounds + 1):
            for name in (OURS, PTP) if number % 2 else (PTP, OURS):
                one = _batch(box, node, name, pods, label=f"{name}-{number}")
                if number:
                    adds += [one.pop("add_ms")] if name == OURS else []
                    for metric, value in one.items():
                        values.setdefault(metric, {}).setdefault(name, []).append(value)
    return {"node": node.name, "batches": compared(values), "add_ms": round(statistics.median(adds), 2)}


@contextmanager
def _pool_of(box: Box, node: Node, size: int) -> Iterator[None]:
    """While the node holds so many addresses that none has to cool, and no growing disturbs what is measured."""
    before, held = node.pool()["spec"], node.counts().assigned
    node.want(size=size + held)
    try:
        box.wait_for(lambda: node.counts().free >= size, FREE_S, f"{size} free addresses on {node.name}")
        yield
    finally:
        node.want(**before)


def _batch(box: Box, node: Node, name: str, count: int, *, label: str) -> dict[str, float]:
    for attempt in range(TRIES):
        with _configured(node, name):
            before = _sums(box, node, name)
            batch = run_batch(box, node.name, count, label=f"{label}-{attempt}")
            after = _sums(box, node, name)
        theirs = {address.startswith(PTP_ADDRESSES) for address in batch.addresses}
        if theirs == {name == PTP}:
            return _figures(batch) | {key: _mean_ms(before[key], after[key]) for key in after}
    raise BenchError(f"{node.name} did not use the conflist of {name}: its pods had {sorted(batch.addresses)[:3]}")


def _figures(batch: Batch) -> dict[str, float]:
    return {
        "started_per_s": batch.count / batch.start_s,
        "pod_s": statistics.median(batch.pod_s),
        "ended_per_s": batch.count / batch.end_s,
    }


@contextmanager
def _configured(node: Node, name: str) -> Iterator[None]:
    if name == PTP:
        node.write(PTP_CONFLIST, ptp_conflist(node.run("cat", CONFLIST)))
    try:
        time.sleep(READ_S)
        yield
    finally:
        node.run("rm", "-f", PTP_CONFLIST)


def ptp_conflist(ours: str) -> str:
    """Our conflist with ptp and host-local in our plugin's place: what is chained after it stays."""
    conflist = json.loads(ours)
    ipam = {
        "type": "host-local",
        "dataDir": "/run/azure-cni-bench",
        "subnet": PTP_SUBNET,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [{"type": "ptp", "mtu": 1500, "ipam": ipam}, *conflist["plugins"][1:]]
    return json.dumps(conflist | {"name": NAMESPACE, "plugins": plugins}, indent=2)


def _sums(box: Box, node: Node, name: str) -> dict[str, Sum]:
    """Of the kubelet's calls of the runtime, and of our ADDs."""
    kubelet = box.kubectl("get", "--raw", f"/api/v1/nodes/{node.name}/proxy/metrics")
    found = {
        "sandbox_ms": summed(kubelet, OPERATIONS, operation_type="run_podsandbox"),
        "stop_ms": summed(kubelet, OPERATIONS, operation_type="stop_podsandbox"),
    }
    if name == OURS:
        found["add_ms"] = summed(scrape(node, AGENT_METRICS).text, REQUESTS, verb="add", code="0")
    return found


def _mean_ms(before: Sum, after: Sum) -> float:
    count = after[1] - before[1]
    return (after[0] - before[0]) / count * 1e3 if count else 0.0


def _joins(box: Box, count: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {OURS: [], PTP: []}
    conflist = ptp_conflist(Node(box, box.nodes[0]).run("cat", CONFLIST))
    for number, name in enumerate(spare_nodes(2 * count)):
        kind = (OURS, PTP)[number % 2]
        found[kind].append(join(box, name, conflist={PTP_CONFLIST: conflist} if kind == PTP else {}))
    return found
