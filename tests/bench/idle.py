"""What an agent costs while nothing happens: processor time and memory, on this machine's kernel.

    PYTHONPATH=operator:tests:e2e python -m bench.idle [--pods 60] [--seconds 90] [--mode transparent|bridge]
        [--both-families]

Needs root. One agent (`bench.agent`) on a node of its own namespaces adds the pods, and is left alone then. The time is
that of all its threads, and of the commands that it ran and waited for. To compare two commits, start both at the same
time: then the machine's other work falls on both. Nothing here passes or fails by a figure.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from azure_cni.model.identity import ModeName
from bench.__main__ import build_plugin
from bench.agent import ADDRESSES
from bench.node import Node
from datapath.namespaces import Namespaces

SETTLE_S = 20.0
"""After the last ADD: by then the agent has written its status and compared all once."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.idle", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=60, help=f"at most {ADDRESSES}")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--mode", type=ModeName, choices=list(ModeName), default=ModeName.TRANSPARENT)
    parser.add_argument("--both-families", action="store_true", help="each pod has an IPv6 address, too")
    options = parser.parse_args(arguments)
    if not 0 <= options.pods <= ADDRESSES:
        parser.error(f"--pods must be 0 to {ADDRESSES}: the node has no more addresses")
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    with tempfile.TemporaryDirectory(prefix="azure-cni-bench-") as scratch, Namespaces() as namespaces:
        node = Node(namespaces, Path(scratch))
        try:
            families = ["--both-families"] if options.both_families else []
            with node.agent(build_plugin(Path(scratch)), "--watch", *families, mode=options.mode) as ours:
                for pod in node.new_pods(options.pods):
                    node.call(ours, "ADD", pod)
                time.sleep(SETTLE_S)
                threads, commands = _threads_ms(ours.pid), _commands_ms(ours.pid)
                time.sleep(options.seconds)
                threads, commands = _threads_ms(ours.pid) - threads, _commands_ms(ours.pid) - commands
                memory = _resident_mib(ours.pid)
        finally:
            node.close()
    pods = f"{options.pods} pods{' with both families' if options.both_families else ''}"
    print(
        f"mode {options.mode}, {pods}, {options.seconds:.0f} s idle: {threads:.0f} ms of CPU "
        f"({60 * threads / options.seconds:.0f} a minute), {commands:.0f} ms in commands; {memory:.1f} MiB resident"
    )
    return 0


def _threads_ms(pid: int) -> float:
    """Time on a CPU of all threads that there are; the agent's never end."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def _commands_ms(pid: int) -> float:
    """Time of the children that were waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[13:15])) * 1e3 / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
