"""The agent: one process per node, one event loop, everything in one task group.

Order of the start, and why: the ledger and the kernel first, so that sandboxes that end now can end even while Azure
and the API server are away; then the socket; then the reconciler; the watches once the pool object exists, because
kopf cannot watch a kind that does not; the conflist last, when a pod can really start, because the kubelet turns Ready
by it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from aiohttp.web import AppRunner

from azure_cni import __version__
from azure_cni.entrypoints import netns_socket, node_watch, web
from azure_cni.entrypoints.azure_wiring import azure_ports
from azure_cni.entrypoints.cni_server import CniServer, listen
from azure_cni.entrypoints.installation import Installation
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.ordered_wiring import ordered_ports
from azure_cni.entrypoints.running import attempt, every, kept_up, stop_on_signals, until_stopped
from azure_cni.entrypoints.settings import AgentSettings
from azure_cni.entrypoints.watch import Watches
from azure_cni.errors import LedgerError
from azure_cni.faults import Faults
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.host.private import make_private
from azure_cni.host.released import Released
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.events import KubeEvents
from azure_cni.kube.node import KubeNode
from azure_cni.kube.pods import PODS, KubePods
from azure_cni.kube.pools import COLLECTION, KubePools
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.board import DAMAGED, Board, Book
from azure_cni.node.census import Census
from azure_cni.node.controller_grants import ControllerGrants
from azure_cni.node.demand import Demand
from azure_cni.node.host_watch import HostWatch
from azure_cni.node.reconciler import Reconciler
from azure_cni.node.repair import Repair
from azure_cni.node.replay import Replay
from azure_cni.node.sandboxes import Sandboxes
from azure_cni.node.self_grants import SelfGrants
from azure_cni.node.world import World

log = logging.getLogger(__name__)

REPLAY_PERIOD_S = 5.0
STALLED_S = 300.0
"""A pass of the reconciler ends within seconds, and breathes each second while Azure works: this long is a fault."""

STUCK_S = 120.0
"""Pods wait for the data plane's thread, which does each thing in milliseconds, and 250 removals in ten seconds."""


def unhealthy(*, silent_s: float, busy_s: float) -> str:
    """Why the agent must be restarted, "" while it need not: for how long the reconciler and the kernel are away."""
    if silent_s > STALLED_S:
        return f"the reconciler has been silent for {silent_s:.0f} s"
    return f"the data plane has been at one thing for {busy_s:.0f} s" if busy_s > STUCK_S else ""


class Agent:
    """All parts of one node's agent. `run` ends when asked to stop, or raises what went wrong."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._api_server = KubeEndpoint.in_cluster(os.environ)
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._faults = Faults(self._metrics.internal_error)
        self._board = Board()
        self._demand = Demand()
        self._stop = asyncio.Event()
        self._closing = AsyncExitStack()

    async def run(self) -> None:
        """Start, serve, stop."""
        stop_on_signals(self._stop)
        async with self._closing:
            self._build()
            await self._recover()
            facts = {"node": self._settings.node_name}
            await until_stopped(self._works(), stop=self._stop, words="stopping; pods keep running", facts=facts)

    # The watcher.

    def pool_seen(self, body: Mapping[str, Any]) -> None:
        """See `node_watch.Watcher`."""
        self._azure.pool_seen(body)
        self._reconciler.pool_seen(body)

    def pool_gone(self) -> None:
        """See `node_watch.Watcher`."""
        self._reconciler.pool_gone()

    def pod_seen(self, body: Mapping[str, Any]) -> None:
        """See `node_watch.Watcher`."""
        self._demand.see(body)
        self._reconciler.wake()

    def pod_gone(self, uid: str) -> None:
        """See `node_watch.Watcher`."""
        self._demand.forget(uid)
        self._reconciler.wake()

    # Building.

    def _build(self) -> None:
        settings = self._settings
        self._open_host()
        kube = KubeClient(self._api_server)
        self._closing.push_async_callback(kube.close)
        world = self._world(kube)
        self._reconciler = Reconciler(
            world=world, settings=settings.node, book=self._book, board=self._board, demand=self._demand
        )
        self._sandboxes = Sandboxes(
            book=self._book,
            board=self._board,
            demand=self._demand,
            datapath=self._datapath,
            events=world.events,
            clock=self._clock,
            observer=self._metrics,
            wake=self._reconciler.wake,
        )
        pods = KubePods(kube, node_name=settings.node_name)
        self._census = Census(pods=pods, demand=self._demand, wake=self._reconciler.wake, faults=self._faults)
        self._repair = Repair(
            book=self._book,
            demand=self._demand,
            datapath=self._datapath,
            sandboxes=self._sandboxes,
            clock=self._clock,
            observer=self._metrics,
            relist=self._census.ask,
        )
        self._host_watch = HostWatch(
            datapath=self._datapath, repair=self._repair, keep_node=self._reconciler.keep_kernel, clock=self._clock
        )
        self._installation = Installation(
            settings.host,
            board=self._board,
            book=self._book,
            wake=self._reconciler.wake,
            node=world.node,
            clock=self._clock,
        )
        self._replay = Replay(records=Released(settings.host.run_dir / "released"), sandboxes=self._sandboxes)

    def _open_host(self) -> None:
        """The ledger and the kernel."""
        host = self._settings.host
        make_private(host.run_dir)
        store = SqliteLedgerStore(host.run_dir / "ledger.sqlite")
        self._closing.callback(store.close)
        self._book = Book(store=store, bell=self._board.bell, cooling_s=self._settings.cooling_s)
        self._metrics.watch_pool(book=self._book, board=self._board, clock=self._clock)
        self._datapath = LinuxDatapath(sysctls=host.sysctls, processes=host.processes)
        self._closing.push_async_callback(self._datapath.close)

    def _world(self, kube: KubeClient) -> World:
        """Azure and Kubernetes, as the node's use cases see them."""
        settings = self._settings
        pools = KubePools(kube, node_name=settings.node_name)
        if settings.nic_writer == "controller":
            self._azure = ordered_ports(settings.azure, pools=pools, observer=self._metrics)
        else:
            self._azure = azure_ports(settings.azure, observer=self._metrics, closing=self._closing)
        return World(
            cloud=self._azure.cloud,
            nic_of=self._azure.nic_of,
            grants=ControllerGrants() if settings.grants == "controller" else SelfGrants(),
            pools=pools,
            node=KubeNode(kube, node_name=settings.node_name),
            events=KubeEvents(kube, node_name=settings.node_name, utc=self._clock.utc),
            datapath=self._datapath,
            clock=self._clock,
            observer=self._metrics,
        )

    def _works(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        return {
            "sandboxes": self._serve_sandboxes(),
            "web": web.serve(
                self._settings.web, registry=self._metrics.registry, healthy=self._unhealthy, ready=self._unready
            ),
            "ledger": self._end_when_damaged(),
            "reconciler": self._reconciler.run(),
            "watches": kept_up(self._watch, "watches", self._faults),
            "census": kept_up(self._census.run, "census", self._faults),
            "install": kept_up(self._installation.run, "install", self._faults),
        }

    async def _recover(self) -> None:
        """What was released while no agent ran goes first, or a portion of it; the rest once all ports are open.

        Then the ledger must be the one that pods live by.

        After that an empty ledger means that the node has booted, and no pod can start here yet.
        """
        await attempt(self._replay.first, "replay", self._faults)
        await self._repair.examine()
        self._installation.begin()

    async def _serve_sandboxes(self) -> None:
        server = CniServer(sandboxes=self._sandboxes, observer=self._metrics)
        runner = AppRunner(server.application(), access_log=None, handle_signals=False)
        await runner.setup()
        self._closing.push_async_callback(runner.cleanup)
        await listen(runner, self._settings.host.run_dir / "cni.sock")
        log.info("serving sandboxes", extra={"node": self._settings.node_name, "version": __version__})
        async with asyncio.TaskGroup() as periodic:
            periodic.create_task(kept_up(partial(self._take_passed, server, runner), "netns_socket", self._faults))
            periodic.create_task(every(REPLAY_PERIOD_S, self._replay.once, "replay", self._faults))
            periodic.create_task(kept_up(self._host_watch.run, "host_watch", self._faults))

    async def _take_passed(self, server: CniServer, runner: AppRunner) -> None:
        """Namespaces that come as descriptors, by a socket of their own."""
        listener = netns_socket.bound(self._settings.host.run_dir / netns_socket.NAME)
        await server.passed.serve(listener, runner.server)

    async def _end_when_damaged(self) -> None:
        """See `azure_cni.faults` for what else ends the process."""
        await self._book.damaged.wait()
        raise LedgerError(DAMAGED)

    async def _watch(self) -> None:
        await self._reconciler.pool_known.wait()
        node_name = self._settings.node_name
        watches = Watches(
            self._api_server,
            registry=lambda post: node_watch.registry_for(self, post),
            settings=lambda: node_watch.settings_of(node_name),
            needs=(f"{COLLECTION}?limit=1",),
            relisted=lambda path: self._census.ask() if path == PODS else None,
            faults=self._faults,
        )
        await watches.run()

    def _unhealthy(self) -> str:
        silent_s = self._clock.boottime_s() - self._reconciler.breathed_s
        return unhealthy(silent_s=silent_s, busy_s=self._datapath.busy_s)

    def _unready(self) -> str:
        """A node that is full is not an agent that fails: an upgrade must not wait for pods to end."""
        return self._board.obstacle if self._board.ready else self._board.outlook.message
