"""What an ADD takes while a stranger attacks the metrics port, beside the same without, in one run.

    PYTHONPATH=operator:tests:e2e python -m bench.attack [--plugin BINARY] [KIND...]

Needs root. For each kind of attack (`scenarios.harness.attacker`) a fresh agent on a node of its own namespaces, and a
stranger on the network of the node's NIC: three times 80 ADDs in peace and 80 under attack, one each 75 ms, while the
kubelet's probe is asked. The port has TLS where the attack is by TLS. Peaks of memory are the agent's. The attacker has
the lowest priority and a small share of the CPU, because here it shares the machine with the agent. Nothing passes or
fails by a time; whether the aims were met is printed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.__main__ import build_plugin, judged
from bench.agent import METRICS_PORT
from bench.node import BenchError, Node, Pod, Subject
from datapath.namespaces import Namespace, Namespaces
from fakes.cloud import IDENTITY
from scenarios.harness.attacks import (
    ATTACKER,
    MEMORY_MIB,
    MOST_RATIO,
    Attack,
    Comparison,
    Report,
    Round,
    Window,
    attacking,
    percentile,
)
from scenarios.harness.witness import PERIOD_S, probe, probes, unanswered

BY_TLS = ("unfinished", "handshakes", "records")
KINDS = ("heads", "idle", "slow", "quick", "garbage", "connect", *BY_TLS)
ROUNDS, ADDS = 3, 80
COOLING_S = 5.0
"""So that the agent's 250 addresses are enough."""
PODS = 8
GROUP = "azure-cni-bench-attackers"
SLACK_S = 4.0
STRANGER = "10.240.3.250"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.attack", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--plugin", type=Path, help="our CNI binary; built when left out")
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="KIND", help=f"of {', '.join(KINDS)}")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch, Namespaces() as namespaces:
        plugin = options.plugin or build_plugin(Path(scratch))
        node = Node(namespaces, Path(scratch))
        try:
            stranger = _stranger(node)
            for kind in options.kinds:
                _print(_measure(node, stranger, plugin, kind))
        finally:
            node.close()
    return 0


def _stranger(node: Node) -> Namespace:
    """A host on the network of the node's NIC."""
    stranger = node.namespaces.new("stranger")
    node.namespace.ip("link", "add", "stranger", "type", "veth", "peer", "name", "eth0", "netns", stranger.name)
    node.namespace.ip("link", "set", "stranger", "master", "eth0", "up")
    stranger.ip("address", "add", f"{STRANGER}/22", "dev", "eth0")
    stranger.ip("link", "set", "eth0", "up")
    return stranger


def _measure(node: Node, stranger: Namespace, plugin: Path, kind: str) -> Comparison:
    arguments = ["--cooling-s", str(COOLING_S), *(["--tls"] if kind in BY_TLS else [])]
    rounds: list[Round] = []
    reports: list[Report] = []
    with node.agent(plugin, *arguments) as ours:
        pods = node.new_pods(PODS)
        seconds = ADDS * PERIOD_S + SLACK_S
        command = ["nsenter", f"--net={stranger.path}", "--", sys.executable, str(ATTACKER), str(seconds), kind]
        for _ in range(ROUNDS):
            quiet = _window(node, ours, pods, ADDS)
            with attacking(Attack([*command, str(IDENTITY.primary_ip), str(METRICS_PORT)]), group=GROUP) as did:
                time.sleep(1)
                rounds.append(Round(quiet, _window(node, ours, pods, ADDS)))
            reports += did
    return Comparison(kind, rounds, reports)


def _window(node: Node, ours: Subject, pods: Sequence[Pod], count: int) -> Window:
    """One sandbox after the other, while the probe is asked."""
    Path(f"/proc/{ours.pid}/clear_refs").write_text("5")
    probes.clear()
    unanswered.clear()
    over = threading.Event()
    probing = node.inside(lambda: probe(METRICS_PORT, over))
    adds, refused = [], []
    for number in range(count):
        begun_s = time.monotonic()
        try:
            adds.append(node.call(ours, "ADD", pods[number % PODS]) * 1e3)
            node.call(ours, "DEL", pods[number % PODS])
            node.wait_gone(ours)
        except BenchError as error:
            refused.append(str(error))
        time.sleep(max(0.0, begun_s + PERIOD_S - time.monotonic()))
    over.set()
    probing.result()
    status = Path(f"/proc/{ours.pid}/status").read_text()
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return Window(adds, refused, list(probes), list(unanswered), {"agent": peak_kib / 1024})


def _print(compared: Comparison) -> None:
    print(compared.line())
    refused, unanswered = (len(what) for what in (compared.attacked.refused, compared.attacked.unanswered))
    low, high = compared.interval()
    times, mib = round(compared.slow_ratio(), 2), round(compared.growth_mib()["agent"])
    print(
        f"  the slowest ADDs take {judged(times, aim=MOST_RATIO)} times as long ({low:.2f} to {high:.2f}); memory "
        f"{judged(mib, aim=MEMORY_MIB)} MiB more; {refused} calls refused, {unanswered} of "
        f"{unanswered + len(compared.attacked.probes)} probes not answered, the slowest of the others "
        f"{percentile(compared.attacked.probes, 1):.0f} ms",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
