"""The agent: one process per node, one event loop, everything in one task group.

It starts in this order: the ledger and the kernel first, so that sandboxes can end even while Azure and the API server
are away; then the socket; then the reconciler; the watches once the pool object exists, because kopf cannot watch a
kind that does not exist; the conflist last, when a pod can really start, because it makes the node Ready.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp.web import Application

from azure_cni.api.node_ip_pool import NodeIPPool, parse
from azure_cni.entrypoints import web
from azure_cni.entrypoints.agent_platform import AgentPlatform, this_platform
from azure_cni.entrypoints.azure_wiring import azure_ports
from azure_cni.entrypoints.cni_service import installation_on, serve_cni
from azure_cni.entrypoints.introspection_routes import add_introspection
from azure_cni.entrypoints.metrics import Metrics
from azure_cni.entrypoints.running import attempt, kept_up, run_until_stopped, unhealthy
from azure_cni.entrypoints.settings import AgentSettings, DockerPlace
from azure_cni.errors import ConfigInvalid, LedgerError
from azure_cni.host.audit_files import FileAuditStore
from azure_cni.host.ledger_store import SqliteLedgerStore
from azure_cni.host.run_directory import Released
from azure_cni.kube.client import KubeClient, KubeEndpoint
from azure_cni.kube.events import KubeEvents
from azure_cni.kube.lean_objects import PODS
from azure_cni.kube.nodes import KubeNode, KubePodConditions, KubePods
from azure_cni.kube.pools import COLLECTION, KubePools
from azure_cni.node.assembly import Node
from azure_cni.node.audit import AuditTrail
from azure_cni.node.node_settings import NodePorts
from azure_cni.node.pool.reservation_request import ControllerGrants, SelfGrants
from azure_cni.node.stored_ledger import DAMAGED
from azure_cni.watch import node_watch
from azure_cni.watch.kopf_runner import Watches

if TYPE_CHECKING:
    from azure_cni.entrypoints.docker_comparison import EngineRoll

log = logging.getLogger(__name__)


async def run_agent(
    settings: AgentSettings, *, api_server: KubeEndpoint | None = None, platform: AgentPlatform | None = None
) -> None:
    """Serve the node until asked to stop, or raise what went wrong. `api_server`: another than a pod's own; `platform`:
    another than that of the system that the process runs on.
    """
    endpoint = api_server or KubeEndpoint.in_cluster(os.environ)
    platform = platform or this_platform(settings.host)
    async with AsyncExitStack() as closing:
        closing.callback(platform.ended)
        closing.push_async_callback(platform.datapath.close)
        await Agent(settings, closing=closing, api_server=endpoint, platform=platform).run()


class Agent:
    """The node's use cases over their adapters, and the servers and watches around them. Built on the running loop."""

    def __init__(
        self, settings: AgentSettings, *, closing: AsyncExitStack, api_server: KubeEndpoint, platform: AgentPlatform
    ) -> None:
        self._settings = settings
        self._closing = closing
        self._stop = asyncio.Event()
        self._metrics = Metrics()
        self._platform = platform
        self._clock = platform.clock
        self._datapath = platform.datapath
        host = settings.host
        platform.prepare()
        store = SqliteLedgerStore(host.run_dir / "ledger.sqlite")
        closing.callback(store.close)
        self._api_server = api_server
        kube = KubeClient(api_server)
        closing.push_async_callback(kube.close)
        pools = KubePools(kube, node_name=settings.node_name)
        self._azure = azure_ports(
            settings.azure, settings.nic_writer, pools=pools, observer=self._metrics, closing=closing
        )
        self._audit = (
            AuditTrail(
                FileAuditStore(host.audit),
                clock=self._clock,
                node=settings.node_name,
                nic_writer=settings.nic_writer.value,
            )
            if host.audit
            else None
        )
        ports = self._ports(kube, pools, store)
        self._engine = None if settings.docker is None else self._engine_roll(settings.docker)
        self._node = node = Node(ports, settings.node, engine=self._engine)
        self._metrics.watch_pool(stored=node.stored, state=node.state, clock=self._clock)
        self._shown_pool = parse({})
        self._installation = installation_on(
            host,
            state=node.state,
            stored=node.stored,
            wake=node.reconciler.wake,
            node=ports.node,
            clock=self._clock,
            directories=platform.directories(() if settings.docker is None else _directories(settings.docker)),
            system=settings.system,
        )

    def _engine_roll(self, place: DockerPlace) -> EngineRoll | None:
        """What compares Docker's endpoints, and no pod, with the lists of an engine that may be asked for them."""
        if place.engine is None:
            return None
        from azure_cni.entrypoints.docker_comparison import engine_roll
        from azure_cni.host.docker_engine import DockerEngine

        engine = DockerEngine(place.engine, processes=self._settings.host.processes)
        return engine_roll(engine, clock=self._clock, audit=self._audit, registry=self._metrics.registry)

    def _ports(self, kube: KubeClient, pools: KubePools, store: SqliteLedgerStore) -> NodePorts:
        """Azure, Kubernetes and the host, as the node's use cases see them."""
        settings = self._settings
        return NodePorts(
            cloud=self._azure.cloud,
            nic_of=self._azure.nic_of,
            shown_addresses=self._azure.shown_addresses,
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
        self._platform.stop_on_request(self._stop)
        await self._recover()
        facts = {"node": self._settings.node_name}
        await run_until_stopped(self._works(), stop=self._stop, message="stopping; pods keep running", facts=facts)

    # The watcher (`node_watch.Watcher`).

    def pool_seen(self, pool: NodeIPPool) -> None:
        """The pool also shows the results of NIC operations."""
        self._shown_pool = pool
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
            **(self._docker_works(self._settings.docker) if self._settings.docker else {}),
            "host_watch": kept_up(self._node.host_watch.run, "host_watch", self._node.faults),
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
        await serve_cni(
            self._node,
            self._platform.door,
            observer=self._metrics,
            closing=self._closing,
            extend=self._add_introspection,
            system=self._settings.system,
            run_dir=str(self._settings.host.run_dir),
        )

    def _docker_works(self, place: DockerPlace) -> Mapping[str, Coroutine[Any, Any, None]]:
        """Docker's containers, from the same ledger and pool. Loaded here, for most agents serve none."""
        from azure_cni.entrypoints.docker_comparison import compare

        comparison = {"docker_engine": compare(self._engine, self._node)} if self._engine else {}
        return {"docker": self._serve_docker(place)} | comparison

    async def _serve_docker(self, place: DockerPlace) -> None:
        from azure_cni.entrypoints.docker_service import docker_networks, pool_document, serve_docker
        from azure_cni.linux.datapath import LinuxDatapath

        if not isinstance(self._datapath, LinuxDatapath):
            raise ConfigInvalid("cannot serve Docker: its containers are wired on Linux alone")
        networks = docker_networks(place.state_dir)
        await serve_docker(
            self._node,
            place.socket,
            networks=networks,
            datapath=self._datapath,
            clock=self._clock,
            observer=self._metrics,
            status=lambda: pool_document(self._shown_pool, self._node, networks, self._engine),
            extend=self._add_introspection,
            closing=self._closing,
            engine=self._engine,
        )

    def _add_introspection(self, app: Application) -> None:
        reconciler = self._node.reconciler
        add_introspection(
            app,
            reconciler.inspector,
            paths=reconciler.path_inspector,
            node_name=self._settings.node_name,
            faults=self._node.faults,
            audit=self._audit,
        )

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


def _directories(place: DockerPlace) -> tuple[Path, ...]:
    """Of the node, mounted for Docker."""
    return (place.socket.parent, place.state_dir, *([place.engine.parent] if place.engine else []))
