"""How soon what others take away is right again, and what listening costs, on this machine's kernel.

    PYTHONPATH=operator:tests:e2e python -m bench.watch [--rounds 20] [--mode transparent|bridge]

Needs root. Two pods on a node of its own namespaces. A time begins when the command that took something away has
ended, and ends when the kernel shows it again, asked by a command each few milliseconds: the true ones are shorter.
CPU is this process's own, without the commands that it starts. Nothing here passes or fails by a time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from azure_cni.model.identity import ModeName
from datapath.machine import DatapathInMode, Machine
from datapath.namespaces import Namespaces
from datapath.node_site import PRIMARY, TABLE, A, B, Site, connected
from datapath.watched_node import watch_over

DAMAGES: Mapping[str, tuple[str, str]] = {
    "nft flush ruleset": ("nft flush ruleset", "nft list chain inet azure_cni postrouting"),
    "net.ipv4.ip_forward=0": ("sysctl -qw net.ipv4.ip_forward=0", "grep -q 1 /proc/sys/net/ipv4/ip_forward"),
    "forwarding of a pod's link": (
        "sysctl -qw net.ipv4.conf.LINK.forwarding=0",
        "grep -q 1 /proc/sys/net/ipv4/conf/LINK/forwarding",
    ),
    "routes of a pod": ("ip route flush dev LINK", f"ip route show {A} dev LINK | grep -q src"),
    "pod's address on the NIC's interface": (
        f"ip address add {B}/22 dev eth0",
        f"! ip address show dev eth0 | grep -q {B}/",
    ),
}
DAMAGES_OF_A_BRIDGE: Mapping[str, tuple[str, str]] = {
    "the bridge": ("ip link delete azure0", f"ip route show {A} dev azure0 | grep -q src"),
    "the bridge turned off": ("ip link set azure0 down", f"ip route show {A} dev azure0 | grep -q src"),
    "the guards at the bridge's ports": ("nft delete table bridge azure_cni", "nft list table bridge azure_cni"),
}
RULES = 5000
IDLE_S = 30.0
PATIENCE_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.watch", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--mode", type=ModeName, choices=list(ModeName), default=ModeName.TRANSPARENT)
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        parser.error("needs root: makes network namespaces of its own")
    asyncio.run(_measure(options.rounds, options.mode))
    return 0


async def _measure(rounds: int, mode: ModeName) -> None:
    with Namespaces() as namespaces:
        node = namespaces.new("node")
        datapath = DatapathInMode(mode, node_netns=node.path)
        site = connected(Machine(namespaces, node, mode, datapath))
        await datapath.apply_node(TABLE)
        for address in (A, B):
            await site.machine.pod(address, node_address=IPv4Address(PRIMARY))
        damages = {**DAMAGES, **(DAMAGES_OF_A_BRIDGE if mode is ModeName.BRIDGE else {})}
        for name, (damage, whole) in damages.items():
            times = [await _one(site, damage, whole) for _ in range(rounds)]
            print(f"{name}: p50 {statistics.median(times):.0f} ms, max {max(times):.0f} ms, of {rounds}")
        await _load(site)
        await datapath.close()


async def _one(site: Site, damage: str, whole: str) -> float:
    """Milliseconds, with a watch that has had peace until then."""
    link = site.machine.way_to(A)
    watch = asyncio.create_task(watch_over(site.machine, A, B).run())
    await asyncio.sleep(0.5)
    script = (
        f"{damage}; started=$(date +%s%3N); for _ in $(seq 500); do if {whole} >/dev/null 2>&1; "
        "then echo $(($(date +%s%3N) - started)); exit; fi; sleep 0.002; done; exit 1"
    )
    took = await asyncio.to_thread(site.node.run, "sh", "-c", script.replace("LINK", link))
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    return float(took)


async def _load(site: Site) -> None:
    watch = asyncio.create_task(watch_over(site.machine, A, B).run())
    await asyncio.sleep(1)
    rules = "".join(f"add rule ip busy services ip daddr 10.{n >> 8}.{n & 255}.9 counter\n" for n in range(RULES))
    busy = f"add table ip busy\nadd chain ip busy services\nflush chain ip busy services\n{rules}"
    for label in ("made", "replaced"):
        began = time.process_time()
        await asyncio.to_thread(site.node.run, "nft", "-f", "-", stdin=busy)
        await asyncio.sleep(0.5)
        print(f"{RULES} rules of another table {label}: {1000 * (time.process_time() - began):.0f} ms of CPU")
    began = time.process_time()
    await asyncio.sleep(IDLE_S)
    print(f"idle for {IDLE_S:.0f} s: {1000 * (time.process_time() - began):.0f} ms of CPU, comparisons included")
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


if __name__ == "__main__":
    raise SystemExit(main())
