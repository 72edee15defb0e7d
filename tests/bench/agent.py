"""The agent that is measured: everything on the way of an ADD or DEL is the product's own, only Azure and the API
server are fakes. Runs as a process of its own in the node's namespace: `python -m bench.agent RUN_DIR`, until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from azure_cni.entrypoints.cni_server import CniServer, listen
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.ipam.sizing import Policy
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.board import Board, Book
from azure_cni.node.demand import Demand
from azure_cni.node.reconciler import Reconciler
from azure_cni.node.sandboxes import Sandboxes
from azure_cni.node.self_grants import SelfGrants
from azure_cni.node.world import NodeSettings, World
from fakes.cloud import FakeCloud
from fakes.events import FakeEvents
from fakes.nic import FakeNic
from fakes.pools import FakePools

ADDRESSES = 250
SOCKET = "cni.sock"


async def serve(run_dir: Path) -> None:
    """One node with all its addresses on the NIC from the start; no growing disturbs what is measured."""
    board, demand, metrics, clock = Board(), Demand(), Metrics(), SystemClock()
    events, pools, nic = FakeEvents(), FakePools(), FakeNic()
    async with AsyncExitStack() as closing:
        store = SqliteLedgerStore(run_dir / "ledger.sqlite")
        closing.callback(store.close)
        book = Book(store=store, bell=board.bell)
        datapath = LinuxDatapath()
        closing.push_async_callback(datapath.close)
        world = World(
            cloud=FakeCloud(),
            nic_of=lambda _: nic,
            grants=SelfGrants(),
            pools=pools,
            node=pools,
            events=events,
            datapath=datapath,
            clock=clock,
            observer=metrics,
        )
        reconciler = Reconciler(
            world=world, settings=NodeSettings(defaults=Policy(size=ADDRESSES)), book=book, board=board, demand=demand
        )
        sandboxes = Sandboxes(
            book=book,
            board=board,
            demand=demand,
            datapath=datapath,
            events=events,
            clock=clock,
            observer=metrics,
            wake=reconciler.wake,
        )
        server = CniServer(sandboxes=sandboxes, observer=metrics)
        runner = web.AppRunner(server.application(), access_log=None, handle_signals=False)
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        await listen(runner, run_dir / SOCKET)
        await _until_told(reconciler)


async def _until_told(reconciler: Reconciler) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with asyncio.TaskGroup() as tasks:
        reconciling = tasks.create_task(reconciler.run())
        await told.wait()
        reconciling.cancel()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
