"""What NetworkPolicies cost: pods of azure-cni with the engine of kube-network-policies and without, in turns.

    PYTHONPATH=operator:tests:e2e python -m bench.policy [--rounds 20] [--seconds 0.5] [--adds 50]

Needs root. In each mode two pairs of nodes (`bench.network`) stand side by side, one with an engine on each node and a
policy that selects all pods and lets the measured connections pass. iptables fills the engine's queue, as in
`tests/datapath/test_beside_policy.py`, since the kernel's nftables may have none. First pods are added and removed on
either, in turns; then each way between pods is measured as in `bench.speed`. Nothing passes or fails by a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.identity import ModeName
from azure_cni.node.ports import SandboxSpec
from azurebox import tools
from bench.network import MTU, PODS, Pair
from bench.node import BenchError
from bench.speed import in_turns, served
from bench.speed_figures import figures, table
from datapath.namespaces import Namespace, Namespaces

QUEUE = 98
RULES = (
    "-m owner --uid-owner 0 -j ACCEPT",
    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    f"-j NFQUEUE --queue-num {QUEUE}",
)
OFF, ON = "without", "with the engine"
ADDED = "10.240.1.7"
READY_S = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.policy", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20, help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement, default %(default)s")
    parser.add_argument("--adds", type=int, default=50, help="pods added and removed on either, default %(default)s")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    tools.ensure_tools((tools.POLICY,))
    for mode in ModeName:
        with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch, Namespaces() as namespaces:
            _measure(namespaces, Path(scratch), mode, options)
    return 0


def _measure(namespaces: Namespaces, scratch: Path, mode: ModeName, options: argparse.Namespace) -> None:
    pairs = {OFF: Pair(namespaces), ON: Pair(namespaces)}
    for pair in pairs.values():
        asyncio.run(pair.wire(mode))
    with _judged(pairs[ON].nodes, scratch):
        adds = asyncio.run(_adds(namespaces, {name: pair.nodes[0] for name, pair in pairs.items()}, mode, options.adds))
        halves = {name: statistics.median(values) for name, values in adds.items()}
        ratio = statistics.median(on / off for off, on in zip(adds[OFF], adds[ON], strict=True))
        print(f"\n{mode}: ADD in the kernel {halves[OFF] * 1000:.2f} ms, {halves[ON] * 1000:.2f} ms {ON}: {ratio:.2f}")
        before = os.getloadavg()[0]
        ways = {name: pair.pod_to_pod() for name, pair in pairs.items()}
        for way in ways[OFF]:
            both = {f"{mode}, {way}, {name}": ends[way] for name, ends in ways.items()}
            with served(both.values()):
                values = in_turns(both, rounds=options.rounds, seconds=options.seconds)
            run = {"machine": _machine(before), "rounds": options.rounds, "seconds": options.seconds}
            print(table(run | figures(values, base=f"{mode}, {way}, {OFF}")), flush=True)


def _machine(before: float) -> dict[str, Any]:
    load = [round(before, 1), round(os.getloadavg()[0], 1)]
    return {"cpus": os.cpu_count(), "kernel": platform.release(), "load": load}


async def _adds(
    namespaces: Namespaces, nodes: dict[str, Namespace], mode: ModeName, rounds: int
) -> dict[str, list[float]]:
    """Seconds that a pod's links, addresses and routes took, on each of the nodes in turns."""
    took = {name: list[float]() for name in nodes}
    planes = {name: LinuxDatapath(node_netns=node.path) for name, node in nodes.items()}
    try:
        for number in range(rounds):
            for name in sorted(nodes, reverse=bool(number % 2)):
                pod = namespaces.new()
                spec = SandboxSpec(
                    Sandbox("azure-cni", pod.name, "eth0"),
                    pod.path,
                    (IPv4Address(ADDED),),
                    LinkParameters(MTU, IPv4Address("10.240.0.4"), mode),
                )
                begun = time.perf_counter()
                await planes[name].attach(spec)
                took[name].append(time.perf_counter() - begun)
                await planes[name].detach(spec.sandbox)
                pod.delete()
    finally:
        for plane in planes.values():
            await plane.close()
    return took


@contextmanager
def _judged(nodes: Sequence[Namespace], scratch: Path) -> Iterator[None]:
    """While an engine on each of the nodes judges what passes it."""
    (scratch / "objects.json").write_text(json.dumps(_objects()))
    engines = []
    try:
        for number, node in enumerate(nodes):
            command = [str(tools.path("policy")), str(QUEUE), f"vm{number}", str(scratch / "objects.json")]
            with (scratch / f"verdicts-{number}").open("wb") as log:
                engines.append(subprocess.Popen(["nsenter", f"--net={node.path}", *command], stdout=log, stderr=log))
            _await_ready(scratch / f"verdicts-{number}")
            for rule in RULES:
                node.run("iptables-nft", "-t", "mangle", "-A", "POSTROUTING", *rule.split())
        yield
    finally:
        for engine in engines:
            engine.kill()
            engine.wait()


def _await_ready(log: Path) -> None:
    deadline_s = time.monotonic() + READY_S
    while "ready\n" not in log.read_text():
        if time.monotonic() > deadline_s:
            raise BenchError(f"the engine is not ready after {READY_S:.0f} s: {log.read_text()}")
        time.sleep(0.05)


def _objects() -> dict[str, Any]:
    """All pods, and a policy that selects each of them and lets all pods in."""
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "shop", "name": f"pod-{address.replace('.', '-')}"},
            "spec": {"nodeName": f"vm{number}"},
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
        }
        for address, number in PODS.items()
    ]
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": "shop", "name": "all"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]},
    }
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    return {"apiVersion": "v1", "kind": "List", "items": [shop, *pods, policy]}


if __name__ == "__main__":
    raise SystemExit(main())
