"""Limits of a pod's traffic as iperf3 measures them, by the reference plugin `bandwidth` chained after azure-cni.

    PYTHONPATH=operator:tests:e2e python -m bench.bandwidth [--rates 20 100 400] [--seconds 10]

Needs root and iperf3. In each mode a node's agent writes the conflist with the value `cni.chainBandwidth`, and cnitool
adds a pod with the rate in both directions. iperf3 then sends by TCP between the node and the pod, one way after the
other. The burst is a tenth of a second's: what the kubelet gives is far more (see docs/works-beside.md). Nothing here
passes or fails by a figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from azure_cni.model.identity import ModeName
from datapath.cluster_node import a_cluster_node, built, put_plugins, until_pods_can_start
from datapath.cnitool import CniTool
from datapath.docker_vm import PRIMARY
from datapath.namespaces import Namespace, Namespaces

MEGA = 1_000_000
LISTENS_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.bandwidth", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rates", type=int, nargs="+", default=[20, 100, 400], help="Mbit/s")
    parser.add_argument("--seconds", type=int, default=10, help="of each transfer")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    print("| mode | limit | to the pod | from the pod |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch:
        plugin = built(Path(scratch))
        for mode in ModeName:
            with Namespaces() as namespaces:
                _measure(namespaces, Path(scratch) / mode, plugin, mode, options.rates, options.seconds)
    return 0


def _measure(
    namespaces: Namespaces, directory: Path, plugin: Path, mode: ModeName, rates: Sequence[int], seconds: int
) -> None:
    directory.mkdir()
    put_plugins(directory, "bandwidth")
    with a_cluster_node(namespaces, directory, plugin, MODE=mode, CHAIN_BANDWIDTH="true") as cni:
        until_pods_can_start(cni)
        for rate in rates:
            pod = namespaces.new()
            limits = {f"{way}{what}": rate * MEGA // (10 if what == "Burst" else 1)
                      for way in ("ingress", "egress") for what in ("Rate", "Burst")}  # fmt: skip
            cni.done("add", pod.path, CAP_ARGS=json.dumps({"bandwidth": limits}))
            to_pod, from_pod = (_mbits(cni, pod, seconds, *way) for way in (["--reverse"], []))
            print(f"| {mode} | {rate} Mbit/s | {_beside(to_pod, rate)} | {_beside(from_pod, rate)} |", flush=True)


def _beside(measured: float, rate: int) -> str:
    return f"{measured:.1f} ({measured / rate - 1:+.1%})"


def _mbits(cni: CniTool, pod: Namespace, seconds: int, *way: str) -> float:
    """What the receiver had of a transfer between the pod and a server on the node, as iperf3 says; the first second,
    in which the burst passes, is left out.
    """
    node = cni.vm.node
    server = subprocess.Popen(
        ["nsenter", f"--net={node.path}", "iperf3", "--server", "--one-off", "--bind", PRIMARY],
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + LISTENS_S
        while ":5201" not in node.run("ss", "--listening", "--tcp", "--numeric"):
            if time.monotonic() > deadline_s:
                raise RuntimeError(f"iperf3 does not listen at {PRIMARY} after {LISTENS_S:.0f} s")
            time.sleep(0.05)
        timing = ["--time", str(seconds), "--omit", "1"]
        command = ["nsenter", f"--net={pod.path}", "iperf3", "--client", PRIMARY, "--json", *timing, *way]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    finally:
        server.kill()
        server.wait()
    result: dict[str, Any] = json.loads(done.stdout)
    return float(result["end"]["sum_received"]["bits_per_second"]) / MEGA


if __name__ == "__main__":
    raise SystemExit(main())
