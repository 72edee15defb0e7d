"""The agent: one process per node, one event loop, everything in one task group.

It starts in this order: the ledger and the kernel first, so that sandboxes can end even while Azure and the API server
are away; then the socket; then the reconciler; the watches once the pool object exists, because kopf cannot watch a
kind that does not exist; the conflist last, when a pod can really start, because it makes the node Ready.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiohttp.web import AppRunner

from azure_cni import __version__
from azure_cni.api.node_ip_pool import NodeIPPool
from azure_cni.entrypoints import netns_socket, web
from azure_cni.entrypoints.azure_wiring import azure_ports
from azure_cni.entrypoints.cni_listener import bound, serve_socket
from azure_cni.entrypoints.cni_server import CniServer
from azure_cni.entrypoints.introspection_routes import add_introspection
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.running import attempt, every, kept_up, run_until_stopped, stop_on_signals, unhealthy
from azure_cni.entrypoints.settings import AgentSettings, HostSettings
from azure_cni.errors import LedgerError
from azure_cni.host.audit_files import FileAuditStore
from azure_cni.host.files import NodeDirectories
from azure_cni.host.install import HostPlugin
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.host.run_directory import Released, ServedMark, make_private
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.events import KubeEvents
from azure_cni.kube.lean_objects import PODS
from azure_cni.kube.nodes import KubeNode, KubePodConditions, KubePods
from azure_cni.kube.pools import COLLECTION, KubePools
from azure_cni.linux.clock import SystemClock
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.node.assembly import Node
from azure_cni.node.audit import AuditTrail
from azure_cni.node.installation import Directories, Installation, PluginFiles
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.pool.reservation_request import ControllerGrants, SelfGrants
from azure_cni.node.ports import Clock, NodeObject
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import DAMAGED, StoredLedger
from azure_cni.watch import node_watch
from azure_cni.watch.kopf_runner import Watches

log = logging.getLogger(__name__)

DEFERRED_DELETES_PERIOD_S = 5.0

NAMESPACES: Final = Path("/run/netns")
"""Where the runtime keeps pods' network namespaces; the chart mounts it."""


def installation_on(
    host: HostSettings,
    *,
    state: NodeState,
    stored: StoredLedger,
    wake: Callable[[], None],
    node: NodeObject,
    clock: Clock,
    files: PluginFiles | None = None,
    directories: Directories | None = None,
) -> Installation:
    """The installation in the directories of this host."""
    return Installation(
        files or HostPlugin(host.plugin, host.bin_dir, host.conf_dir, host.conf_name),
        mark=ServedMark(host.run_dir),
        directories=directories or NodeDirectories((host.bin_dir, host.conf_dir, host.run_dir, NAMESPACES)),
        socket=str(host.run_dir / "cni.sock"),
        version=host.spec_version,
        chain_portmap=host.chain_portmap,
        state=state,
        stored=stored,
        wake=wake,
        node=node,
        clock=clock,
    )


async def run_agent(settings: AgentSettings) -> None:
    """Serve the node until asked to stop, or raise what went wrong."""
    async with AsyncExitStack() as closing:
        await Agent(settings, closing=closing).run()


class Agent:
    """The node's use cases over their adapters, and the servers and watches around them. Built on the running loop."""

    def __init__(self, settings: AgentSettings, *, closing: AsyncExitStack) -> None:
        self._settings = settings
        self._closing = closing
        self._stop = asyncio.Event()
        self._metrics = Metrics()
        self._clock = SystemClock()
        host = settings.host
        make_private(host.run_dir)
        store = SqliteLedgerStore(host.run_dir / "ledger.sqlite")
        closing.callback(store.close)
        self._datapath = LinuxDatapath(sysctls=host.sysctls, processes=host.processes)
        closing.push_async_callback(self._datapath.close)
        self._api_server = KubeEndpoint.in_cluster(os.environ)
        kube = KubeClient(self._api_server)
        closing.push_async_callback(kube.close)
        pools = KubePools(kube, node_name=settings.node_name)
        self._azure = azure_ports(
            settings.azure, settings.nic_writer, pools=pools, observer=self._metrics, closing=closing
        )
        self._audit = (
            AuditTrail(FileAuditStore(host.audit), clock=self._clock, node=settings.node_name) if host.audit else None
        )
        ports = self._ports(kube, pools, store)
        self._node = node = Node(ports, settings.node)
        self._metrics.watch_pool(stored=node.stored, state=node.state, clock=self._clock)
        self._installation = installation_on(
            host, state=node.state, stored=node.stored, wake=node.reconciler.wake, node=ports.node, clock=self._clock
        )

    def _ports(self, kube: KubeClient, pools: KubePools, store: SqliteLedgerStore) -> NodePorts:
        """Azure, Kubernetes and the host, as the node's use cases see them."""
        settings = self._settings
        return NodePorts(
            cloud=self._azure.cloud,
            nic_of=self._azure.nic_of,
            grants=ControllerGrants() if settings.grants == "controller" else SelfGrants(),
            pools=pools,
            node=KubeNode(kube, node_name=settings.node_name),
            pods=KubePods(kube, node_name=settings.node_name),
            pod_conditions=KubePodConditions(kube, utc=self._clock.utc),
            events=KubeEvents(kube, node_name=settings.node_name, utc=self._clock.utc),
            datapath=self._datapath,
            store=store,
            released=Released(settings.host.run_dir / "released"),
            clock=self._clock,
            observer=self._metrics,
            audit=self._audit,
        )

    async def run(self) -> None:
        """Start, serve, stop."""
        stop_on_signals(self._stop)
        await self._recover()
        facts = {"node": self._settings.node_name}
        await run_until_stopped(self._works(), stop=self._stop, message="stopping; pods keep running", facts=facts)

    # The watcher (`node_watch.Watcher`).

    def pool_seen(self, pool: NodeIPPool) -> None:
        """The pool also shows the results of NIC operations."""
        self._azure.pool_seen(pool)
        self._node.pool_seen(pool)

    def pool_gone(self) -> None:
        """See `Node`."""
        self._node.pool_gone()

    def pod_seen(self, body: Mapping[str, Any]) -> None:
        """See `Node`."""
        self._node.pod_seen(body)

    def pod_gone(self, uid: str) -> None:
        """See `Node`."""
        self._node.pod_gone(uid)

    def namespace_seen(self, body: Mapping[str, Any]) -> None:
        """See `Node`."""
        self._node.namespace_seen(body)

    def namespace_gone(self, name: str) -> None:
        """See `Node`."""
        self._node.namespace_gone(name)

    # At work.

    def _works(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        return {
            "sandboxes": self._serve_sandboxes(),
            "web": web.serve_in_cluster(self._settings.web, self._shown(), self._api_server, faults=self._node.faults),
            "ledger": self._end_when_damaged(),
            "reconciler": self._node.reconciler.run(),
            "watches": kept_up(self._watch, "watches", self._node.faults),
            "egress": kept_up(self._node.egress.run, "egress", self._node.faults),
            "pod_resync": kept_up(self._node.pod_resync.run, "pod_resync", self._node.faults),
            "install": kept_up(self._installation.run, "install", self._node.faults),
            **({"audit": kept_up(self._audit.run, "audit", self._node.faults)} if self._audit else {}),
        }

    def _shown(self) -> web.Shown:
        return web.Shown(registry=self._metrics.registry, healthy=self._unhealthy, ready=self._unready)

    async def _recover(self) -> None:
        """Bring ledger and kernel up to date before anything is served.

        First a portion of the DELs that were recorded while no agent ran; the rest follows once all ports are open.
        Then the ledger is compared with the kernel: it must be the one that the pods were wired from. After that, an
        empty ledger means that the node has booted and no pod can start here yet.
        """
        await attempt(self._node.deferred_deletes.carry_out_some, "deferred_deletes", self._node.faults)
        await self._node.repair.verify_ledger()
        self._installation.begin()

    async def _serve_sandboxes(self) -> None:
        node, faults = self._node, self._node.faults
        server = CniServer(sandboxes=node.sandboxes, observer=self._metrics)
        app = server.application()
        add_introspection(
            app,
            node.reconciler.inspector,
            paths=node.reconciler.path_inspector,
            node_name=self._settings.node_name,
            faults=faults,
            audit=self._audit,
        )
        runner = AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        self._closing.push_async_callback(runner.cleanup)
        cni_socket = self._settings.host.run_dir / "cni.sock"
        await serve_socket(runner, cni_socket, requests=server.requests, faults=faults)
        log.info("serving sandboxes", extra={"node": self._settings.node_name, "version": __version__})
        async with asyncio.TaskGroup() as periodic:
            periodic.create_task(kept_up(partial(self._take_passed, server, runner), "netns_socket", faults))
            periodic.create_task(
                every(DEFERRED_DELETES_PERIOD_S, node.deferred_deletes.carry_out_all, "deferred_deletes", faults)
            )
            periodic.create_task(kept_up(node.host_watch.run, "host_watch", faults))

    async def _take_passed(self, server: CniServer, runner: AppRunner) -> None:
        """Accept namespaces that are passed as descriptors, on a socket of their own."""
        listener = bound(self._settings.host.run_dir / netns_socket.NAME)
        await server.passed.serve(listener, runner.server)

    async def _end_when_damaged(self) -> None:
        """See `azure_cni.faults` for what else ends the process."""
        await self._node.stored.damaged.wait()
        raise LedgerError(DAMAGED)

    async def _watch(self) -> None:
        await self._node.reconciler.pool_known.wait()
        node_name, namespaces = self._settings.node_name, bool(self._settings.node.egress)
        watches = Watches(
            self._api_server,
            registry=lambda post: node_watch.registry_for(self, post, namespaces=namespaces),
            settings=lambda: node_watch.settings_of(node_name),
            needs=(f"{COLLECTION}?limit=1",),
            relisted=lambda path: self._node.pod_resync.request() if path == PODS else None,
            faults=self._node.faults,
        )
        await watches.run()

    def _unhealthy(self) -> str:
        silent_s = self._clock.boottime_s() - self._node.reconciler.last_progress_s
        return unhealthy(silent_s=silent_s, busy_s=self._datapath.busy_s)

    def _unready(self) -> str:
        """A full node is no failing agent: an upgrade must not wait for pods to end."""
        state = self._node.state
        return state.obstacle if state.ready else state.forecast.message
