"""The agent that is measured: everything on the way of an ADD or DEL is the product's own, only Azure and the API
server are fakes. Runs as a process of its own in the node's namespace until SIGTERM:

    python -m bench.agent [--mode MODE] [--tls] [--cooling-s N] [--watch] [--both-families] RUN_DIR

With `--both-families` each pod is wired with an IPv6 address, too. With `--watch` it also compares the host with the
ledger, as a real one does. All that a real one imports is loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

from aiohttp import web

import azure_cni.entrypoints.agent  # noqa: F401  # for its memory
from azure_cni.datapath.interface import Wiring
from azure_cni.entrypoints import web as web_port
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.running import run_process
from azure_cni.entrypoints.runtime_sockets import serve_socket
from azure_cni.entrypoints.web import Bind, Shown, TlsSettings, WebSettings
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.ipam import limits
from azure_cni.ipam.sizing import Policy
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.model.identity import ModeName
from azure_cni.node.assembly import Node
from azure_cni.node.node_settings import NodePorts, NodeSettings
from azure_cni.node.pool.reservation_request import SelfGrants
from azure_cni.node.ports import SandboxSpec
from fakes.cloud import IDENTITY, FakeCloud
from fakes.events import FakeEvents
from fakes.nic import FakeNic
from fakes.pools import FakePools
from simulation.absent import NoPodConditions, NoPods, NoRecords

ADDRESSES = 250
SOCKET = "cni.sock"
METRICS_PORT = 9810
_NETWORK = IPv6Address("2001:db8::")


class BothFamilies(LinuxDatapath):
    """One that gives each pod an IPv6 address beside its own."""

    async def attach(self, spec: SandboxSpec) -> Wiring:
        beside = (_NETWORK + int(address) for address in spec.addresses)
        return await super().attach(replace(spec, addresses=(*spec.addresses, *beside)))


async def serve(
    run_dir: Path, *, mode: ModeName, cooling_s: float, tls: bool, watch: bool, kind: type[LinuxDatapath]
) -> None:
    """One node with all its addresses on the NIC from the start; no growing disturbs what is measured."""
    metrics, pools, nic = Metrics(), FakePools(), FakeNic()
    async with AsyncExitStack() as closing:
        store = SqliteLedgerStore(run_dir / "ledger.sqlite")
        closing.callback(store.close)
        datapath = kind()
        closing.push_async_callback(datapath.close)
        ports = NodePorts(
            cloud=FakeCloud(),
            nic_of=lambda _: nic,
            grants=SelfGrants(),
            pools=pools,
            node=pools,
            pods=NoPods(),
            pod_conditions=NoPodConditions(),
            events=FakeEvents(),
            datapath=datapath,
            store=store,
            released=NoRecords(),
            clock=SystemClock(),
            observer=metrics,
        )
        node = Node(ports, NodeSettings(defaults=Policy(size=ADDRESSES), mode=mode, cooling_s=cooling_s))
        server = CniServer(sandboxes=node.sandboxes, deferred_deletes=node.deferred_deletes, observer=metrics)
        runner = web.AppRunner(server.application(), access_log=None, handle_signals=False)
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        await serve_socket(runner, run_dir / SOCKET, requests=server.requests, faults=server.faults)
        shown = Shown(metrics.registry, healthy=lambda: "", ready=lambda: "")
        settings = WebSettings(METRICS_PORT, Bind.NODE, str(IDENTITY.primary_ip), tls=TlsSettings() if tls else None)
        works = [node.reconciler.run(), web_port.serve(settings, shown, faults=node.faults)]
        await _run_until_stopped(*works, *([node.host_watch.run()] if watch else []))


async def _run_until_stopped(*works: Coroutine[None, None, None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in works]
        await stop.wait()
        for task in running:
            task.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", type=ModeName, default=ModeName.TRANSPARENT)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--cooling-s", type=float, default=limits.COOLING_S)
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--both-families", dest="kind", action="store_const", const=BothFamilies, default=LinuxDatapath)
    parser.add_argument("run_dir", type=Path)
    given = parser.parse_args()
    run_process(serve(**vars(given)))
